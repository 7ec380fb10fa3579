"""Positives with uniform negatives: the objective of implicit feedback."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array, History, Inputs, Key, Objective, RowIds, Sampled, Sampler
from fedjax_rec.objectives.permutation import domain, permuted


class SampledPlan(NamedTuple):
    """One client's examples of a round.

    Attributes:
      ids: `[S]` what a slot stands for, local to the rows: first the excluded items,
        then the negatives.
      order: `[epochs, L]` slots of the positives, shuffled for each epoch.
      num_positives: `[]` positives an epoch.
      num_distinct: `[]` negatives before the first repeats.
      first_negative: the slot of negative number 0.
    """

    ids: Array
    order: Array
    num_positives: Array
    num_distinct: Array
    first_negative: Array


def sampled(sampler: Sampler, loss: Callable[[Array, Sampled], tuple[Array, Array]]) -> Objective:
    """Training items as positives, uniform items that the client must not avoid as negatives.

    An epoch is a stream: each positive, in an order shuffled for the epoch, followed by
    its negatives; a local step takes the next `batch_size` examples of it. Negatives are
    drawn without repeats over the client's whole round, until its pool is used up, and
    never from `history.excluded`. So each item has one slot by construction: nothing is
    sorted or searched to find which rows a client touches.

    Args:
      sampler: numbers of negatives, epochs, examples a step.
      loss: `(scores, examples) -> (loss, weight)`, per example.

    Returns:
      An objective whose examples are `Sampled`.

    Reference:
      The stream of He et al. (2017), "Neural collaborative filtering", section 3.1.
      Difference: negatives do not repeat within a client's round.

    >>> import jax, jax.numpy as jnp
    >>> from fedjax_rec.base import History
    >>> from fedjax_rec.objectives import binary_cross_entropy
    >>> items = jnp.array([7, 2, 90, 90])  # two events, padded with the number of items
    >>> history = History(items, items, items, jnp.int32(2), jnp.sort(items), jnp.int32(2))
    >>> objective = sampled(Sampler(90, num_negatives=2, batch_size=8), binary_cross_entropy)
    >>> rows, plan = objective.prepare(jax.random.key(0), history)
    >>> examples = objective.batch(plan, jnp.int32(0))
    >>> int(objective.num_steps(plan)), examples.label.tolist()
    (1, [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    >>> sorted(rows["item"][examples.inputs.ids[jnp.array([0, 3])]].tolist())
    [2, 7]
    """
    group = 1 + sampler.num_negatives

    def steps_per_epoch(num_positives: Array) -> Array:
        return (num_positives * group + sampler.batch_size - 1) // sampler.batch_size

    def prepare(key: Key, history: History) -> tuple[RowIds, SampledPlan]:
        key_order, key_negatives = jax.random.split(key)
        num_places = history.items.shape[0] * sampler.num_negatives * sampler.local_epochs
        negatives, num_distinct = draw_negatives(
            key_negatives, history, sampler.num_items, min(num_places, sampler.num_items)
        )
        rows = jnp.concatenate([history.excluded, negatives])
        is_sliced = sampler.is_sliced and rows.shape[0] < sampler.num_items
        plan = SampledPlan(
            ids=jnp.arange(rows.shape[0]) if is_sliced else rows,
            order=shuffled_positives(key_order, history, sampler.local_epochs),
            num_positives=history.num_events,
            num_distinct=num_distinct,
            first_negative=jnp.int32(history.excluded.shape[0]),
        )
        return {sampler.table: rows if is_sliced else None}, plan

    def num_steps(plan: SampledPlan) -> Array:
        return sampler.local_epochs * steps_per_epoch(plan.num_positives)

    def batch(plan: SampledPlan, step: Array) -> Sampled:
        steps = jnp.maximum(steps_per_epoch(plan.num_positives), 1)
        epoch = step // steps
        place = (step % steps) * sampler.batch_size + jnp.arange(sampler.batch_size)
        positive, member = place // group, place % group
        negative = (epoch * plan.num_positives + positive) * sampler.num_negatives + member - 1
        is_positive = member == 0
        slot = jnp.where(
            is_positive,
            plan.order.at[epoch, positive].get(mode="clip"),
            plan.first_negative + negative % jnp.maximum(plan.num_distinct, 1),
        )
        is_valid = (positive < plan.num_positives) & (is_positive | (plan.num_distinct > 0))
        ids = plan.ids.at[slot].get(mode="clip")
        return Sampled(
            Inputs(jnp.where(is_valid, ids, 0), table=sampler.table),
            (is_positive & is_valid).astype(jnp.float32),
            is_valid,
        )

    return Objective(prepare, num_steps, batch, loss)


def draw_negatives(
    key: Key, history: History, num_items: int, num_places: int
) -> tuple[Array, Array]:
    """Uniform items outside `history.excluded`, without repeats.

    Rank r among the items that may be drawn is item `r + #{j : x_j - j <= r}`, where
    `x_0 < x_1 < ...` are the excluded ones: exact, without rejection.

    Returns:
      `[num_places]` items, padding (the number of items) once the pool is used up, and
      how many are real.
    """
    place = jnp.arange(num_places)
    pool = num_items - history.num_excluded
    height, width = domain(pool)
    num_distinct = jnp.where(pool > 0, height * width, 0).astype(jnp.int32)
    rank = permuted(key, place, pool)
    gaps = history.excluded - jnp.arange(history.excluded.shape[0])
    gaps = jnp.where(jnp.arange(gaps.shape[0]) < history.num_excluded, gaps, num_items)
    item = rank + jnp.searchsorted(gaps, rank, side="right")
    is_real = place < num_distinct
    return jnp.where(is_real, item, num_items), num_distinct


def shuffled_positives(key: Key, history: History, local_epochs: int) -> Array:
    """`[epochs, L]` places in `history.excluded` of the training items, in random order."""
    place = jnp.arange(history.items.shape[0])
    slots = jnp.searchsorted(history.excluded, history.items)
    draws = jax.random.uniform(key, (local_epochs, place.shape[0]))
    draws = jnp.where(place < history.num_events, draws, jnp.inf)  # padding goes last
    return slots[jnp.argsort(draws, axis=1)]
