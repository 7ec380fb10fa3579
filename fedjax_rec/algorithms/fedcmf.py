"""FedCMF: one private user vector for the catalogues of two domains.

Collective matrix factorisation of Singh and Gordon (2008), "Relational learning via
collective matrix factorization", KDD, whose user vectors stay on their clients.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from fedjax_rec.algorithms.fedavg import fedavg
from fedjax_rec.base import (
    AggregateTransform,
    Array,
    ClientOutput,
    ClientUpdate,
    FederatedAlgorithm,
    Inputs,
    Key,
    Model,
    Objective,
    Part,
    Private,
    Sampled,
    Sampler,
    Stat,
    Task,
    View,
    decided,
    parametric,
)
from fedjax_rec.clients import masked_loop
from fedjax_rec.clients.gradients import rows_of
from fedjax_rec.models import matrix_factorization
from fedjax_rec.models.rows import gather
from fedjax_rec.objectives import DomainExamples, sampled, squared_error, two_domains
from fedjax_rec.transforms import mean
from fedjax_rec.tree import subtract


class _Rates(NamedTuple):
    """Learning rates of q, p and M."""

    item: float
    user: float
    bridge: float


@parametric
def fedcmf(
    num_items: int,
    *,
    num_other: int,
    dim: int = 32,
    init_stddev: float = 0.1,
    num_negatives: int = 8,
    batch_size: int = 256,
    local_epochs: int = 1,
    user_learning_rate: float = 1.0,
    item_learning_rate: float = 5.0,
    regularization: float = 0.03,
    other_weight: float = 1.0,
    bridge: Literal["none", "linear"] = "none",
    bridge_learning_rate: float = 0.1,
    is_sliced: bool = True,
    aggregate: AggregateTransform | None = None,
    server_optimizer: optax.GradientTransformation | None = None,
) -> FederatedAlgorithm:
    """Federated collective matrix factorisation of two domains' implicit feedback.

    Client u keeps one vector p_u. An item i of the target domain scores `s = p_u . q_i`, an
    item j of the other one `s = (p_u + M p_u) . q_j`. M is shared, `[D, D]`, and starts at
    zero; it stays there without a bridge, and both domains read the same vector. The client
    minimises

        mean of l over the target + lambda * mean of l over the other domain,
        l = (y - s)^2 + gamma (|p_u|^2 + |q|^2),  y = 1 for its items, 0 for negatives

    each mean over the batch of a local step. An epoch goes through the batches of the other
    domain and then through those of the target, so that p_u ends on the domain that is
    ranked. Negatives of a domain are drawn from its own catalogue.

    Args:
      num_items: size of both catalogues together (I).
      num_other: how many of these, the last ones, are the other domain's: 0 to I - 1; with
        none this is regularised federated matrix factorisation of the target.
      dim: width of a vector (D), at least 1.
      init_stddev: standard deviation of the initial vectors.
      num_negatives: negatives to each positive, at least 1.
      batch_size: examples of a local step, positives and negatives together.
      local_epochs: passes over a client's items in a round, at least 1.
      user_learning_rate: of p_u, above 0. Losses are means over a batch, so rates are large.
      item_learning_rate: of q, on the client, above 0. The default suits a mean by row.
      regularization: gamma, at least 0.
      other_weight: lambda, at least 0; with 0 the target is learnt as if it were alone.
      bridge: `linear` learns M; `none` leaves it out.
      bridge_learning_rate: of M, on the client, above 0.
      is_sliced: False gives every client the whole table: the oracle of the slices.
      aggregate: what happens to updates; `mean("row")` by default.
      server_optimizer: `optax.sgd(1.0)` by default.

    Returns:
      The algorithm's filled slots.

    Raises:
      ValueError: a number is out of range, or an unknown bridge.

    Reference:
      Singh and Gordon (2008), section 4, for the vector shared by two factorisations. The map
      between domains is that of Man et al. (2017), "Cross-domain recommendation: an embedding
      and mapping approach" (EMCDR), linear, and trained together with the vectors and not
      after them. Chen et al. (2023), "Win-win: a privacy-preserving federated framework for
      dual-target cross-domain recommendation" (P2FCDR), map user vectors by an orthogonal
      matrix, blur them and send them from one business to another; here clients are people,
      who have both histories, and no user vector is sent at all.

    >>> fedcmf(num_items=100, num_other=40, dim=8).model.num_rows
    {'item': 100}
    """
    if not 0 <= num_other < num_items:
        raise ValueError(f"num_other must be 0 to num_items - 1, got {num_other} of {num_items}")
    if bridge not in ("none", "linear"):
        raise ValueError(f"bridge must be none or linear, got {bridge!r}")
    if decided(lambda: regularization < 0 or other_weight < 0):
        raise ValueError("regularization and other_weight must be at least 0")
    rates = _Rates(item_learning_rate, user_learning_rate, bridge_learning_rate)
    if decided(lambda: min(rates) <= 0):
        raise ValueError(f"learning rates must be above 0, got {tuple(rates)}")

    def sampler(size: int) -> Sampler:
        return Sampler(size, num_negatives, local_epochs, batch_size, is_sliced=is_sliced)

    model = matrix_factorization(num_items, dim, init_stddev=init_stddev)
    if bridge == "linear":
        model = _bridged(model, dim, num_items - num_other)
    in_target = sampler(num_items - num_other)
    if num_other:
        objective = two_domains(in_target, sampler(num_other), other_weight)
    else:
        objective = sampled(in_target, squared_error)
    client_update = _descent(model, objective, rates, regularization)
    return fedavg(model, objective, client_update, aggregate or mean("row"), server_optimizer)


def _descent(
    model: Model, objective: Objective, rates: _Rates, regularization: float
) -> ClientUpdate:
    """Gradient descent on the batches of both domains; an example moves its own row alone."""
    batch = objective.batch
    assert batch is not None

    def batch_loss(
        trained: tuple[Part, Private], view: View, examples: Sampled | DomainExamples
    ) -> tuple[Array, Stat]:
        """What a step minimises, and what is shown: the same as a sum and its weight."""
        shared, private = trained
        scores = model.score(view._replace(shared=shared, private=private), Inputs(None))
        errors, weight = squared_error(scores, examples)
        sizes = jnp.sum(shared.rows["item"] ** 2, axis=1) + jnp.sum(private.dense**2)
        cost, count = jnp.sum(weight * (errors + regularization * sizes)), jnp.sum(weight)
        scale = examples.scale if isinstance(examples, DomainExamples) else 1.0
        return scale * cost / jnp.maximum(count, 1), Stat(cost, count)

    def run(key: Key, view: View, task: Task) -> ClientOutput:
        def step(number: Array, carry: tuple[Part, Private, Stat]) -> tuple[Part, Private, Stat]:
            shared, private, seen = carry
            examples = batch(task.plan, number)
            ids = examples.inputs.ids
            near = rows_of(view._replace(shared=shared, private=private), "item", ids)
            (by_shared, by_private), shown = jax.grad(batch_loss, has_aux=True)(
                (near.shared, near.private), near, examples
            )
            rows = shared.rows["item"].at[ids].add(-rates.item * by_shared.rows["item"])
            bridge = jax.tree.map(lambda m, g: m - rates.bridge * g, shared.dense, by_shared.dense)
            user = private.dense - rates.user * by_private.dense
            return Part({"item": rows}, bridge), Private({}, user), seen.merge(shown)

        start = view.shared, view.private, Stat(jnp.float32(0), jnp.float32(0))
        shared, private, seen = masked_loop(step, start, task)
        update = subtract(shared, view.shared)
        return ClientOutput(update, private, view.memory, seen.weight, {"loss": seen})

    return ClientUpdate(run)


def _bridged(model: Model, dim: int, first_other: int) -> Model:
    """The factor model whose items of the other domain read `p + M p`; a frozen row knows which."""

    def init(key: Key) -> tuple[Part, Part]:
        shared, _ = model.init(key)
        is_other = (jnp.arange(model.num_rows["item"]) >= first_other).astype(jnp.float32)
        return shared._replace(dense=jnp.zeros((dim, dim))), Part({"item": is_other}, ())

    def score(view: View, inputs: Inputs) -> Array:
        items = gather(view.shared.rows["item"], inputs.ids)
        is_other = gather(view.frozen.rows["item"], inputs.ids)
        user = view.private.dense
        scores: Array = items @ user + is_other * (items @ (view.shared.dense @ user))
        return scores

    return model.with_score(score, init=init, is_row_wise=True)
