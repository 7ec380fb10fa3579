"""FedCMF: one private user vector for the catalogues of two domains.

Collective matrix factorisation of Singh and Gordon (2008), "Relational learning via
collective matrix factorization", KDD, whose user vectors stay on their clients.
"""

from dataclasses import replace
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from fedjax_rec.algorithms.fedavg import fedavg
from fedjax_rec.base import (
    AggregateTransform,
    Array,
    FederatedAlgorithm,
    History,
    Inputs,
    Key,
    Model,
    Objective,
    Part,
    PyTree,
    RowIds,
    Sampled,
    Sampler,
    View,
)
from fedjax_rec.clients import by_role, local_training
from fedjax_rec.models import matrix_factorization
from fedjax_rec.models.rows import gather
from fedjax_rec.objectives import binary_cross_entropy, sampled
from fedjax_rec.optimizers import named_optimizer
from fedjax_rec.transforms import mean

OTHER = 2
"""Names the other domain's random key; a stream of examples splits off numbers 0 and 1."""


class _Plan(NamedTuple):
    """A client's examples of a round: a plan for each domain, and where the other's rows begin."""

    target: PyTree
    other: PyTree
    first_other: Array


class _Examples(NamedTuple):
    """Examples of one domain, and the weight of their loss."""

    sampled: Sampled
    scale: Array

    @property
    def inputs(self) -> Inputs:
        return self.sampled.inputs


def fedcmf(
    num_items: int,
    *,
    num_other: int,
    dim: int = 32,
    init_stddev: float = 0.1,
    num_negatives: int = 4,
    batch_size: int = 256,
    local_epochs: int = 1,
    local_optimizer: str = "sgd",
    user_learning_rate: float = 5.0,
    item_learning_rate: float = 50.0,
    other_weight: float = 1.0,
    bridge: Literal["none", "linear"] = "none",
    bridge_learning_rate: float = 0.5,
    is_sliced: bool = True,
    aggregate: AggregateTransform | None = None,
    server_optimizer: optax.GradientTransformation | None = None,
) -> FederatedAlgorithm:
    """Federated collective matrix factorisation of two domains' implicit feedback.

    Client u keeps one vector p_u. An item i of the target domain scores `p_u . q_i`, an item
    j of the other one `(p_u + M p_u) . q_j`. M is shared, `[D, D]`, and starts at zero; it
    stays there without a bridge, and both domains read the same vector. The client minimises

        mean of l(target) + lambda * mean of l(other),  l = binary cross-entropy

    each mean over the batch of a local step. An epoch goes through the batches of the other
    domain and then through those of the target, so that p_u ends on the domain that is
    ranked. Negatives of a domain are drawn from its own catalogue.

    Args:
      num_items: size of both catalogues together (I).
      num_other: how many of these, the last ones, are the other domain's: 1 to I - 1.
      dim: width of a vector (D), at least 1.
      init_stddev: standard deviation of the initial vectors.
      num_negatives: negatives to each positive, at least 1.
      batch_size: examples of a local step, positives and negatives together.
      local_epochs: passes over a client's items in a round, at least 1.
      local_optimizer: any optax optimizer by name, started afresh each round.
      user_learning_rate: of p_u. Losses are means over a batch, so rates are large.
      item_learning_rate: of q, on the client.
      other_weight: lambda, at least 0; with 0, plain SGD and no momentum this is `fedmf` of
        the target alone.
      bridge: `linear` learns M; `none` leaves it out.
      bridge_learning_rate: of M, on the client.
      is_sliced: False gives every client the whole table: the oracle of the slices.
      aggregate: what happens to updates; `mean("row")` by default.
      server_optimizer: `optax.sgd(1.0)` by default.

    Returns:
      The algorithm's filled slots.

    Raises:
      UserError: an unknown optimizer, or a learning rate that is not positive.
      ValueError: there is one domain only, an unknown bridge, or a number out of range.

    Reference:
      Singh and Gordon (2008), section 4, for the vector shared by two factorisations. The map
      between domains is that of Man et al. (2017), "Cross-domain recommendation: an embedding
      and mapping approach" (EMCDR), equation 7, linear and trained together with the vectors
      and not after them. Chen et al. (2023), "Win-win: a privacy-preserving federated framework
      for dual-target cross-domain recommendation" (P2FCDR), map user vectors by an orthogonal
      matrix, blur them and send them from one business to another; here clients are people,
      who have both histories, and no user vector is sent at all.

    >>> fedcmf(num_items=100, num_other=40, dim=8).model.num_rows
    {'item': 100}
    """
    if not 0 < num_other < num_items:
        raise ValueError(
            f"needs a data set of two domains, such as disencdr-phone+electronic; {num_other} of "
            f"{num_items} items are another domain's; for one domain use fedmf"
        )
    if bridge not in ("none", "linear"):
        raise ValueError(f"bridge must be none or linear, got {bridge!r}")
    if other_weight < 0:
        raise ValueError(f"other_weight must be at least 0, got {other_weight}")
    model = matrix_factorization(num_items, dim, init_stddev=init_stddev)
    if bridge == "linear":
        model = _bridged(model, dim, num_items - num_other)
    in_target, in_other = (
        Sampler(size, num_negatives, local_epochs, batch_size, is_sliced=is_sliced)
        for size in (num_items - num_other, num_other)
    )
    objective = _in_turn(in_target, in_other, other_weight)
    optimizer = by_role(
        shared=named_optimizer(local_optimizer, item_learning_rate),
        private=named_optimizer(local_optimizer, user_learning_rate),
        dense=named_optimizer(local_optimizer, bridge_learning_rate),
    )
    client_update = local_training(model, objective, optimizer)
    return fedavg(model, objective, client_update, aggregate or mean("row"), server_optimizer)


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

    return replace(model, init=init, score=score, score_vjp=None)


def _in_turn(in_target: Sampler, in_other: Sampler, other_weight: float) -> Objective:
    """Examples of the other domain, then of the target, each epoch: `sampled` for each."""
    target, other = (sampled(one, binary_cross_entropy) for one in (in_target, in_other))
    batch_of_target, batch_of_other = target.batch, other.batch
    assert batch_of_target is not None
    assert batch_of_other is not None
    first = in_target.num_items
    num_items = first + in_other.num_items

    def prepare(key: Key, history: History) -> tuple[RowIds, _Plan]:
        own = _of_domain(history, 0, first)
        rows, plan = target.prepare(key, own)
        own = _of_domain(history, first, in_other.num_items)
        other_rows, other_plan = other.prepare(jax.random.fold_in(key, OTHER), own)
        near, far = rows["item"], other_rows["item"]
        if near is None and far is None:
            return {"item": None}, _Plan(plan, other_plan, jnp.int32(first))
        near = jnp.arange(first) if near is None else jnp.where(near < first, near, num_items)
        far = jnp.arange(in_other.num_items) if far is None else far
        both = jnp.concatenate([near, first + far])
        return {"item": both}, _Plan(plan, other_plan, jnp.int32(near.shape[0]))

    def num_steps(plan: _Plan) -> Array:
        return jnp.add(target.num_steps(plan.target), other.num_steps(plan.other))

    def batch(plan: _Plan, step: Array) -> _Examples:
        num_target = target.num_steps(plan.target) // in_target.local_epochs
        num_other = other.num_steps(plan.other) // in_other.local_epochs
        epoch, place = jnp.divmod(step, jnp.maximum(num_other + num_target, 1))
        is_other = place < num_other
        far = batch_of_other(plan.other, epoch * num_other + place)
        near = batch_of_target(plan.target, epoch * num_target + place - num_other)
        chosen = jax.tree.map(lambda one, two: jnp.where(is_other, one, two), far, near)
        ids = chosen.inputs.ids + jnp.where(is_other, plan.first_other, 0)
        chosen = chosen._replace(inputs=replace(chosen.inputs, ids=ids))
        return _Examples(chosen, jnp.where(is_other, other_weight, 1.0))

    def loss(scores: Array, examples: _Examples) -> tuple[Array, Array]:
        losses, weight = binary_cross_entropy(scores, examples.sampled)
        return examples.scale * losses, weight

    return Objective(prepare, num_steps, batch, loss)


def _of_domain(history: History, first: int, size: int) -> History:
    """The history in the domain of items `first .. first + size - 1`, numbered from 0.

    Events and exclusions are in the order of domains, so that a domain's lie together.
    """

    def cut(values: Array, items: Array, fill: int) -> Array:
        is_own = (items >= first) & (items < first + size)
        values = jnp.roll(values, -jnp.argmax(is_own))
        return jnp.where(jnp.arange(items.shape[0]) < jnp.sum(is_own), values, fill)

    items = cut(history.items - first, history.items, size)
    excluded = cut(history.excluded - first, history.excluded, size)
    return History(
        items,
        cut(history.values, history.items, 0),
        cut(history.times, history.items, 0),
        jnp.sum(items < size),
        excluded,
        jnp.sum(excluded < size),
    )
