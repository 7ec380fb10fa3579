"""GPFedRec: a graph of clients with like tables, and a pull of each to its neighbours' mean.

Zhang et al. (2024), "GPFedRec: graph-guided personalization for federated recommendation",
KDD.
"""

from dataclasses import replace
from typing import Literal

import jax.numpy as jnp
import optax

from fedjax_rec.algorithms.checks import refuse_outside
from fedjax_rec.algorithms.fedavg import fedavg
from fedjax_rec.algorithms.likeness import cosines
from fedjax_rec.algorithms.personalise import personalise
from fedjax_rec.base import (
    AggregateTransform,
    Array,
    Cohort,
    Entry,
    FederatedAlgorithm,
    Key,
    Message,
    Part,
    RowIds,
    Sampler,
    ServerState,
    ServerUpdate,
    View,
    nothing_private,
    parametric,
)
from fedjax_rec.clients import local_training, trained_view
from fedjax_rec.models import common_user, ncf
from fedjax_rec.objectives import binary_cross_entropy, sampled, saturating_cross_entropy
from fedjax_rec.optimizers import named_optimizer
from fedjax_rec.tree import take, zeros_like


@parametric
def gpfedrec(
    num_items: int,
    *,
    num_slots: int,
    dim: int = 32,
    init_stddev: float = 1.0,
    num_negatives: int = 4,
    batch_size: int = 256,
    local_epochs: int = 1,
    learning_rate: float = 0.1,
    rate_factor: float = 80.0,
    regularization: float = 1.0,
    threshold: float = 1.0,
    graph_layers: int = 1,
    variant: Literal["clean", "as_released"] = "clean",
    server_optimizer: optax.GradientTransformation | None = None,
) -> FederatedAlgorithm:
    """Graph-guided personalisation.

    Client u scores by a tower over `[p_u; v_i]` and keeps p_u and the tower, which start alike
    everywhere. It starts a round from the table V of all and minimises
    `BCE + gamma mean (V_u - R_u)^2`, a mean over the whole table, by V_u, p_u and the tower
    together. The server links u to every w with
    `cos(V_u, V_w) > threshold * mean cos`, A_uw = 1 / degree, and sets `R = A^l (V_u)_u` and
    `V = mean_u R_u`. Recommendations come from the client's own V_u, after it has trained on
    what it received; `test_global` are those of V.

    Args:
      num_items: size of the catalogue (I).
      num_slots: N, places of clients, at least 1; the server keeps a table for each.
      dim: width of a vector (D), at least 1; the tower is 2D-D-D/2-D/4-1.
      init_stddev: standard deviation of the initial vectors.
      num_negatives: negatives to each positive, at least 1.
      batch_size: examples of a local step.
      local_epochs: passes over a client's items in a round, at least 1.
      learning_rate: eta, of the tower.
      rate_factor: the rate of p_u in units of eta, and that of V_u in units of `eta I`.
      regularization: gamma, at least 0. A step takes `2 eta rate_factor gamma / D` of the way
        from V_u to R_u: above 2 it overshoots for good.
      threshold: in units of the mean over pairs; a client without neighbours is its own.
      graph_layers: l, at least 1.
      variant: `as_released` links by `1 - cos`, so that neighbours are those least alike, its
        cross-entropy has no slope at saturated probabilities, and negatives recur; `clean`
        links by cos, takes the loss of the logits, and negatives recur only once the client's
        pool is used up.
      server_optimizer: of V; `optax.sgd(1.0)` by default.

    Returns:
      The algorithm's filled slots. Every client receives V and R_u and sends a whole table;
      a round's memory is that of `C + N` tables.

    Raises:
      ValueError: a number is out of range, or an unknown variant.

    Reference:
      Zhang et al. (2024), Algorithm 1, and its released code for rates and graph. Differences:
      any cohort will do: the graph is that of the clients who took part, and the R_u of
      others keep their distance from V; no noise on what is sent; the table that a client is
      judged by is the one it would train next.

    >>> gpfedrec(num_items=100, num_slots=5, dim=8).client_update.support
    'table'
    """
    losses = {"clean": binary_cross_entropy, "as_released": saturating_cross_entropy}
    if variant not in losses:
        raise ValueError(f"variant must be one of {', '.join(losses)}, got {variant!r}")
    refuse_outside("[0, inf)", regularization=regularization)
    refuse_outside("[1, inf)", num_slots=num_slots, graph_layers=graph_layers)
    model = common_user(ncf(num_items, dim, init_stddev=init_stddev))
    sampler = Sampler(
        num_items,
        num_negatives,
        local_epochs,
        batch_size,
        is_sliced=False,
        with_replacement=variant == "as_released",
    )
    objective = sampled(sampler, losses[variant])
    optimizer = optax.partition(
        {
            "table": named_optimizer("sgd", learning_rate * num_items * rate_factor),
            "user": named_optimizer("sgd", learning_rate * rate_factor),
            "tower": named_optimizer("sgd", learning_rate),
        },
        (Part({"item": "table"}, ("tower", "user")), nothing_private()),
    )

    def broadcast(state: ServerState, entry: Entry, row_ids: RowIds) -> tuple[Part, Part]:
        own = Part({"item": state.extra.dense[entry.client_id]}, ())
        return take(state.shared, row_ids), take(own, row_ids)

    def pull(view: View, shared: Part) -> Part:
        """The gradient of `gamma mean (V_u - R_u)^2`."""
        target = view.shared.rows["item"] + view.extra.rows["item"]
        distance = shared.rows["item"] - target
        return Part({"item": 2 * regularization / target.size * distance}, zeros_like(shared.dense))

    train = local_training(model, objective, optimizer, pull=pull, support="table")
    averaging = fedavg(model, objective, train, server_optimizer=server_optimizer)
    server = averaging.server_update

    def mix(state: ServerState, total: Message, cohort: Cohort) -> ServerState:
        """R of who took part, and V; all as distances from the V that clients received."""
        sent, is_in = total.update.rows["item"], total.weight > 0
        graph = _graph(state.shared.rows["item"] + sent, is_in, threshold, variant == "as_released")
        own = jnp.tensordot(jnp.linalg.matrix_power(graph, graph_layers), sent, 1)
        share = is_in / jnp.maximum(jnp.sum(is_in), 1)
        mean = Part({"item": jnp.tensordot(share, own, 1)}, total.update.dense)
        moved = server.apply(state, total._replace(update=mean), cohort)
        step = moved.shared.rows["item"] - state.shared.rows["item"]
        places = jnp.where(is_in, cohort.client_id, num_slots)  # past the end: dropped
        kept = state.extra.dense.at[places].set(own - step, mode="drop")
        return moved._replace(extra=Part({}, kept))

    def init_extra(key: Key, shared: Part) -> Part:
        """`[N, I, D]` R_u - V."""
        return Part({}, jnp.zeros((num_slots, num_items, dim)))

    return replace(
        personalise(replace(averaging, adapt=trained_view(train)), "dense"),
        aggregate=AggregateTransform(is_stacked=True),
        server_update=ServerUpdate(server.init, mix),
        broadcast=broadcast,
        init_extra=init_extra,
        without_own=lambda view: view,
    )


def _graph(tables: Array, is_in: Array, threshold: float, is_released: bool) -> Array:
    """`[C, C]` A, whose rows sum to 1, of tables `[C, I, D]`; 0 beside who is not in."""
    flat, itself = tables.reshape(len(tables), -1), jnp.eye(len(tables))
    cosine = cosines(flat)
    likeness = jnp.where(itself, 0, 1 - cosine) if is_released else jnp.where(itself, 1, cosine)
    pairs = is_in & is_in[:, None]
    mean = jnp.sum(likeness, where=pairs) / jnp.maximum(jnp.sum(pairs), 1)
    is_near = pairs & (likeness > threshold * mean)
    degree = jnp.sum(is_near, axis=1, keepdims=True)
    return jnp.where(degree > 0, is_near / jnp.maximum(degree, 1), itself)
