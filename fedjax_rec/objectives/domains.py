"""Examples of two domains whose items share one range of ids."""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array, History, Inputs, Key, Objective, PyTree, RowIds, Sampler
from fedjax_rec.objectives.implicit import sampled
from fedjax_rec.objectives.losses import squared_error

OTHER = 2
"""Names the other domain's random key; a stream of examples splits off numbers 0 and 1."""


class DomainExamples(NamedTuple):
    """Examples of one domain.

    Attributes:
      inputs: what to score, `[B]` ids.
      label: `[B]` 1 for a training item, 0 for a sampled negative.
      is_valid: `[B]` False for padding.
      scale: `[]` the weight of this domain's loss.
    """

    inputs: Inputs
    label: Array
    is_valid: Array
    scale: Array


class DomainsPlan(NamedTuple):
    """One client's examples of a round.

    Attributes:
      target: those of the target, a plan of `sampled`.
      other: those of the other domain, likewise.
      first_other: `[]` how many rows belong to the target.
    """

    target: PyTree
    other: PyTree
    first_other: Array


def two_domains(in_target: Sampler, in_other: Sampler, other_weight: float = 1.0) -> Objective:
    """Each epoch the batches of the other domain, then those of the target.

    Each domain's are those of `sampled`: its training items, with negatives from its own
    catalogue. No batch holds both. The target comes last, so that what a client keeps is fresh
    for the domain that is ranked. Item j of the other domain has number `I + j`, with I items
    in the target, and comes behind the target's in histories (see `ClientData.num_other`).

    Args:
      in_target: how examples of the target are drawn; its `num_items` is I.
      in_other: how those of the other domain are; both make as many local epochs.
      other_weight: weight of the other domain's loss.

    Returns:
      An objective whose examples are `DomainExamples`. It promises no `sampler` and brings no
      loss: whoever trains weighs it by `scale`.

    Reference:
      Singh and Gordon (2008), "Relational learning via collective matrix factorization", KDD:
      the loss is a weighted sum over relations. Difference: by turns, batch after batch.

    >>> objective = two_domains(Sampler(50, 1), Sampler(40, 1), other_weight=0.5)
    >>> items = jnp.array([7, 50 + 3, 90, 90])  # one event in each, padded with all items
    >>> history = History(items, items, items, jnp.int32(2), items, jnp.int32(2))
    >>> rows, plan = objective.prepare(jax.random.key(0), history)
    >>> int(objective.num_steps(plan))
    2
    >>> for step in range(2):
    ...     examples = objective.batch(plan, jnp.int32(step))
    ...     print(rows["item"][examples.inputs.ids[:1]].tolist(), float(examples.scale))
    [53] 0.5
    [7] 1.0
    """
    target, other = sampled(in_target, squared_error), sampled(in_other, squared_error)
    batch_of_target, batch_of_other = target.batch, other.batch
    assert batch_of_target is not None
    assert batch_of_other is not None
    first = in_target.num_items
    num_items = first + in_other.num_items

    def prepare(key: Key, history: History) -> tuple[RowIds, DomainsPlan]:
        own = _of_domain(history, 0, first)
        rows, plan = target.prepare(key, own)
        own = _of_domain(history, first, in_other.num_items)
        other_rows, other_plan = other.prepare(jax.random.fold_in(key, OTHER), own)
        near, far = rows["item"], other_rows["item"]
        if near is None and far is None:
            return {"item": None}, DomainsPlan(plan, other_plan, jnp.int32(first))
        near = jnp.arange(first) if near is None else jnp.where(near < first, near, num_items)
        far = jnp.arange(in_other.num_items) if far is None else far
        both = jnp.concatenate([near, first + far])
        return {"item": both}, DomainsPlan(plan, other_plan, jnp.int32(near.shape[0]))

    def num_steps(plan: DomainsPlan) -> Array:
        return jnp.add(target.num_steps(plan.target), other.num_steps(plan.other))

    def batch(plan: DomainsPlan, step: Array) -> DomainExamples:
        num_target = target.num_steps(plan.target) // in_target.local_epochs
        num_other = other.num_steps(plan.other) // in_other.local_epochs
        epoch, place = jnp.divmod(step, jnp.maximum(num_other + num_target, 1))
        is_other = place < num_other
        far = batch_of_other(plan.other, epoch * num_other + place)
        near = batch_of_target(plan.target, epoch * num_target + place - num_other)
        chosen = jax.tree.map(lambda one, two: jnp.where(is_other, one, two), far, near)
        ids = chosen.inputs.ids + jnp.where(is_other, plan.first_other, 0)
        return DomainExamples(
            replace(chosen.inputs, ids=ids),
            chosen.label,
            chosen.is_valid,
            jnp.where(is_other, other_weight, 1.0),
        )

    return Objective(prepare, num_steps, batch)


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
