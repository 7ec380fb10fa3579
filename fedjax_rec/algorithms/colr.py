"""CoLR: clients train and send a factor of low rank, on a basis that a round's clients share.

Nguyen et al. (2024), "Towards efficient communication and secure federated recommendation
system via low-rank training", WWW.
"""

import jax
import jax.numpy as jnp
import optax

from fedjax_rec.algorithms.fedavg import optax_server
from fedjax_rec.base import (
    SERVER,
    TRAIN,
    AggregateTransform,
    Array,
    ClientOutput,
    ClientUpdate,
    Cohort,
    Entry,
    FederatedAlgorithm,
    Key,
    Message,
    Part,
    Private,
    RowIds,
    Sampler,
    ServerState,
    ServerUpdate,
    Stat,
    Task,
    View,
    decided,
    derive_key,
    parametric,
)
from fedjax_rec.clients import masked_loop
from fedjax_rec.models import matrix_factorization
from fedjax_rec.objectives import binary_cross_entropy, sampled
from fedjax_rec.transforms import chain, mean
from fedjax_rec.tree import take


@parametric
def colr(
    num_items: int,
    *,
    dim: int = 64,
    rank: int = 4,
    num_negatives: int = 4,
    batch_size: int = 256,
    local_epochs: int = 2,
    learning_rate: float = 0.5,
    weight_decay: float = 5e-4,
    is_sliced: bool = True,
    aggregate: AggregateTransform | None = None,
    server_optimizer: optax.GradientTransformation | None = None,
) -> FederatedAlgorithm:
    """Correlated low-rank updates of matrix factorisation.

    In a round all clients share a random orthonormal basis Q `[R, D]` of the round's seed.
    Client u scores by `p_u . (q_i + sqrt(D / R) a_i Q)` and trains p_u and A, which starts at
    zero, with q frozen; it sends A, `R / D` of the table. The server adds
    `sqrt(D / R) mean(A) Q`, the mean of a row over those who changed it. With `rank = dim`
    this is federated matrix factorisation, up to the rotation Q.

    Steps are means by row: in a batch, p_u moves by the mean of its examples' gradients, and
    a row by the mean of those of its own.

    Args:
      num_items: size of the catalogue (I).
      dim: width of a vector (D), at least 1; vectors start with standard deviation
        `1 / sqrt(D)`.
      rank: R, 1 to `dim`.
      num_negatives: negatives to each positive, at least 1.
      batch_size: examples of a local step.
      local_epochs: passes over a client's items in a round, at least 1.
      learning_rate: of p_u and A, above 0.
      weight_decay: gamma of `gamma (|p|^2 + |q|^2)` in an example's loss, at least 0.
      is_sliced: False gives every client the whole table: the oracle of the slices.
      aggregate: what happens to updates; `mean("row")` by default.
      server_optimizer: `optax.sgd(1.0)` by default.

    Returns:
      The algorithm's filled slots.

    Raises:
      ValueError: a number is out of range.

    Reference:
      Nguyen et al. (2024), Algorithm 1, and the released code for steps and scales.
      Differences: negatives do not recur within a client's round while others are left.

    >>> algorithm = colr(num_items=100, dim=8, rank=2)
    >>> shared, _ = algorithm.model.init(jax.random.key(0))
    >>> algorithm.template(shared).rows["item"].shape
    (100, 2)
    """
    if not decided(lambda: 1 <= rank <= dim and learning_rate > 0 and weight_decay >= 0):
        raise ValueError("rank must be 1 to dim, learning_rate above 0, weight_decay at least 0")
    sampler = Sampler(num_items, num_negatives, local_epochs, batch_size, is_sliced=is_sliced)
    objective = sampled(sampler, binary_cross_entropy)
    batch = objective.batch
    assert batch is not None

    def basis(state: ServerState) -> Array:
        """`[R, D]` of the round: orthonormal rows times sqrt(D / R)."""
        key = derive_key(state.key, state.round, SERVER, TRAIN)
        return jnp.sqrt(dim / rank) * _orthonormal(jax.random.normal(key, (rank, dim)))

    def broadcast(state: ServerState, entry: Entry, row_ids: RowIds) -> tuple[Part, Part]:
        return take(state.shared, row_ids), Part({}, basis(state))

    def run(key: Key, view: View, task: Task) -> ClientOutput:
        table, span = view.shared.rows["item"], view.extra.dense
        project = span.T * jnp.sqrt(rank / dim)  # gradients: on the orthonormal basis itself

        def step(number: Array, carry: tuple[Array, Array, Stat]) -> tuple[Array, Array, Stat]:
            factor, user, seen = carry
            examples = batch(task.plan, number)
            ids, is_valid = examples.inputs.ids, examples.is_valid.astype(table.dtype)
            rows = table[ids] + factor[ids] @ span
            losses, weight = binary_cross_entropy(rows @ user, examples)
            error = is_valid * (jax.nn.sigmoid(rows @ user) - examples.label)
            by_rows = error[:, None] * user + 2 * weight_decay * is_valid[:, None] * rows
            by_user = error @ rows / jnp.maximum(is_valid.sum(), 1) + 2 * weight_decay * user
            count = jnp.zeros(table.shape[0], table.dtype).at[ids].add(is_valid)
            change = by_rows / jnp.maximum(count[ids], 1)[:, None]
            factor = factor.at[ids].add(-learning_rate * change @ project)
            seen = seen.merge(Stat(jnp.sum(losses * weight), jnp.sum(weight)))
            return factor, user - learning_rate * by_user, seen

        start = (
            jnp.zeros((table.shape[0], rank), table.dtype),
            view.private.dense,
            Stat(jnp.float32(0), jnp.float32(0)),
        )
        factor, user, seen = masked_loop(step, start, task)
        update = Part({"item": factor}, ())
        return ClientOutput(update, Private({}, user), view.memory, seen.weight, {"loss": seen})

    server = optax_server(server_optimizer or optax.sgd(1.0))

    def add(state: ServerState, total: Message, cohort: Cohort) -> ServerState:
        rows = {"item": total.update.rows["item"] @ basis(state)}
        return server.apply(state, total._replace(update=Part(rows, ())), cohort)

    def template(shared: Part) -> Part:
        table = shared.rows["item"]
        return Part({"item": jnp.zeros((table.shape[0], rank), table.dtype)}, ())

    return FederatedAlgorithm(
        matrix_factorization(num_items, dim, init_stddev=dim**-0.5),
        objective,
        ClientUpdate(run),
        chain(aggregate or mean("row")),
        ServerUpdate(server.init, add),
        broadcast=broadcast,
        template=template,
    )


def _orthonormal(rows: Array) -> Array:
    """Rows of the same span, by Gram and Schmidt, each freed twice of those before it.

    Clients call it while other devices may wait for their sum: hence without LAPACK (see
    `clients.solve_positive_definite`).
    """

    def add_row(place: Array, basis: Array) -> Array:
        row = rows[place]
        for _ in range(2):
            row = row - (basis @ row) @ basis
        return basis.at[place].set(row / jnp.linalg.norm(row))

    basis: Array = jax.lax.fori_loop(0, rows.shape[0], add_row, jnp.zeros_like(rows))
    return basis
