"""Positives with uniform negatives: the objective of implicit feedback."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import jax.numpy as jnp

from fedjax_rec.base import Array, History, Inputs, Key, Objective, RowIds, Sampled, Sampler
from fedjax_rec.objectives.stream import (
    MOST_EVENTS,
    Stream,
    free_items,
    open_stream,
    order_of_positives,
)


class SampledPlan(NamedTuple):
    """One client's examples of a round.

    Attributes:
      stream: its random choices.
      place: `[L]` where each event's item lies in the rows.
      rows: `[S]` the excluded items, then the negatives; `None` where the client's view
        is cut to exactly these.
      first_negative: `[]` X, where the negatives begin.
      repeats: `[M]` where each negative lies among them; `None`: in their order.
    """

    stream: Stream
    place: Array
    rows: Array | None
    first_negative: Array
    repeats: Array | None


def sampled(
    sampler: Sampler,
    loss: Callable[[Array, Sampled], tuple[Array, Array]],
    *,
    is_pointwise: bool = True,
) -> Objective:
    """Training items as positives, uniform items that the client must not avoid as negatives.

    An epoch is a stream: each positive, in an order drawn for the epoch, followed by its
    negatives; a local step takes the next `batch_size` examples of it. Negatives are
    drawn without repeats over the client's whole round, until its pool is used up, and
    never from `history.excluded`. So each item has one place by construction: nothing is
    sorted or searched to find which rows a client touches. (With replacement it is.)

    Args:
      sampler: numbers of negatives, epochs, examples a step.
      loss: `(scores, examples) -> (loss, weight)`, per example; weights depend on labels
        and validity alone.
      is_pointwise: False if an example's loss reads other scores than its own: those of
        its group, a positive and its negatives. Batches then hold whole groups.

    Returns:
      An objective whose examples are `Sampled`.

    Raises:
      ValueError: `batch_size` cuts groups that the loss needs whole.

    Reference:
      The stream of He et al. (2017), "Neural collaborative filtering", section 3.1.
      Difference: negatives do not repeat within a client's round, unless the sampler says so.

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
    if not is_pointwise and sampler.batch_size % group:
        raise ValueError(
            f"batch_size must be a multiple of 1 + num_negatives = {group} for a loss of whole "
            f"groups, got {sampler.batch_size}"
        )

    def steps_per_epoch(num_positives: Array) -> Array:
        return (num_positives * group + sampler.batch_size - 1) // sampler.batch_size

    def prepare(key: Key, history: History) -> tuple[RowIds, SampledPlan]:
        num_excluded = history.excluded.shape[0]
        stream = open_stream(sampler, key, history.num_events, history.num_excluded, num_excluded)
        most_positives = min(history.items.shape[0], sampler.max_positives or MOST_EVENTS)
        num_places = most_positives * sampler.num_negatives * sampler.local_epochs
        if not sampler.with_replacement:
            num_places = min(num_places, sampler.num_items)
        negatives, repeats = draw_negatives(stream, history, sampler.num_items, num_places), None
        if sampler.with_replacement:
            most = min(num_places, sampler.num_items)
            distinct = jnp.unique(negatives, size=most, fill_value=sampler.num_items)
            negatives, repeats = distinct, jnp.searchsorted(distinct, negatives)
        rows = jnp.concatenate([history.excluded, negatives])
        is_sliced = sampler.is_sliced and rows.shape[0] < sampler.num_items
        plan = SampledPlan(
            stream,
            jnp.searchsorted(history.excluded, history.items).astype(jnp.int32),
            None if is_sliced else rows,
            jnp.int32(num_excluded),
            repeats,
        )
        return {sampler.table: rows if is_sliced else None}, plan

    def num_steps(plan: SampledPlan) -> Array:
        return sampler.local_epochs * steps_per_epoch(positives_of(sampler, plan.stream))

    def batch(plan: SampledPlan, step: Array) -> Sampled:
        num_positives, num_distinct = (
            positives_of(sampler, plan.stream),
            plan.stream.negatives.num_places,
        )
        steps = jnp.maximum(steps_per_epoch(num_positives), 1)
        epoch = step // steps
        example = (step % steps) * sampler.batch_size + jnp.arange(sampler.batch_size)
        number, member = example // group, example % group
        is_positive = member == 0
        is_valid = (number < num_positives) & (is_positive | (num_distinct > 0))
        order = order_of_positives(plan.stream, epoch, plan.place.shape[0])
        negative = (epoch * num_positives + number) * sampler.num_negatives + member - 1
        negative = negative % jnp.maximum(num_distinct, 1)
        if plan.repeats is not None:
            negative = plan.repeats.at[negative].get(mode="clip")
        ids = jnp.where(
            is_positive,
            plan.place.at[order.element(number)].get(mode="clip"),
            plan.first_negative + negative,
        )
        if plan.rows is not None:
            ids = plan.rows.at[ids].get(mode="clip")
        return Sampled(
            Inputs(jnp.where(is_valid, ids, 0), table=sampler.table),
            (is_positive & is_valid).astype(jnp.float32),
            is_valid,
        )

    return Objective(prepare, num_steps, batch, loss, sampler, is_pointwise)


def positives_of(sampler: Sampler, stream: Stream) -> Array:
    """`[]` how many of a client's positives come in an epoch."""
    return jnp.minimum(stream.num_positives, sampler.max_positives or MOST_EVENTS)


def draw_negatives(stream: Stream, history: History, num_items: int, num_places: int) -> Array:
    """The client's negatives in the order in which they come.

    Returns:
      `[num_places]` items; padding (the number of items) once the pool is used up.
    """
    place = jnp.arange(num_places)
    item = free_items(
        stream.negatives.element(place),
        history.excluded,
        0,
        history.num_excluded,
        history.excluded.shape[0].bit_length(),
    )
    return jnp.where(place < stream.negatives.num_places, item, num_items)


def with_history(objective: Objective) -> Objective:
    """A `sampled` objective whose examples also show the model the client's events.

    For models that read a history and score slices: its items are rows of the client's view.

    Args:
      objective: of `sampled`.

    Returns:
      The objective; `inputs.history` of its examples holds all training events, `items` local
      to the rows and padded with the number of items.

    Raises:
      ValueError: the objective is not `sampled`.

    >>> import jax
    >>> from fedjax_rec.objectives import binary_cross_entropy
    >>> items = jnp.array([7, 2, 7, 90])  # three events, padded with the number of items
    >>> excluded = jnp.array([2, 7, 90, 90])
    >>> history = History(items, items, items, jnp.int32(3), excluded, jnp.int32(2))
    >>> objective = with_history(sampled(Sampler(90, num_negatives=2), binary_cross_entropy))
    >>> rows, plan = objective.prepare(jax.random.key(0), history)
    >>> seen = objective.batch(plan, jnp.int32(0)).inputs.history
    >>> seen.items.tolist(), rows["item"][seen.items[:3]].tolist()
    ([1, 0, 1, 90], [7, 2, 7])
    """
    sampler, plain_batch = objective.sampler, objective.batch
    if sampler is None or plain_batch is None:
        raise ValueError("with_history needs a sampled objective")

    def prepare(key: Key, history: History) -> tuple[RowIds, tuple[SampledPlan, History]]:
        row_ids, plan = objective.prepare(key, history)
        items = history.items if row_ids[sampler.table] is None else plan.place
        is_real = jnp.arange(items.shape[0]) < history.num_events
        return row_ids, (plan, history._replace(items=jnp.where(is_real, items, sampler.num_items)))

    def num_steps(plan: tuple[SampledPlan, History]) -> Array | int:
        return objective.num_steps(plan[0])

    def batch(plan: tuple[SampledPlan, History], step: Array) -> Sampled:
        examples: Sampled = plain_batch(plan[0], step)
        return examples._replace(inputs=replace(examples.inputs, history=plan[1]))

    return replace(objective, prepare=prepare, num_steps=num_steps, batch=batch)
