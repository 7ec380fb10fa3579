"""Ratings: the objective of explicit feedback."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array, History, Inputs, Key, Objective, RowIds
from fedjax_rec.objectives.losses import squared_error


class Rated(NamedTuple):
    """Examples of `ratings`.

    Attributes:
      inputs: what to score, `[B]` ids.
      label: `[B]` the event's value.
      is_valid: `[B]` False for padding.
    """

    inputs: Inputs
    label: Array
    is_valid: Array


class RatingsPlan(NamedTuple):
    """One client's examples of a round.

    Attributes:
      ids: `[L]` item of each event, local to the rows.
      values: `[L]` value of each event.
      order: `[epochs, L]` places of the events, shuffled for each epoch, padding last.
      num_events: `[]` how many events are real.
    """

    ids: Array
    values: Array
    order: Array
    num_events: Array


def ratings(
    num_items: int,
    loss: Callable[[Array, Rated], tuple[Array, Array]] = squared_error,
    *,
    local_epochs: int = 1,
    batch_size: int = 256,
    is_sliced: bool = True,
) -> Objective:
    """A client's own events with their values as labels, each once an epoch.

    Args:
      num_items: size of the catalogue (I).
      loss: `(scores, examples) -> (loss, weight)`, per example.
      local_epochs: passes over the events in a round, at least 1.
      batch_size: examples of a local step, at least 1.
      is_sliced: False gives every client the whole table: for what declares the support
        `table`, and as the oracle of the sliced form.

    Returns:
      An objective whose examples are `Rated`. An item that was rated several times is an
      example each time.

    Raises:
      ValueError: a number is below 1.

    Reference:
      The rated entries of Koren, Bell and Volinsky (2009), "Matrix factorization techniques
      for recommender systems", equation 2. Difference: no penalty on the size of parameters.

    >>> items = jnp.array([7, 2, 90, 90])  # two events, padded with the number of items
    >>> values = jnp.array([4.0, 1.0, 0.0, 0.0])
    >>> history = History(items, values, items, jnp.int32(2), jnp.sort(items), jnp.int32(2))
    >>> objective = ratings(90, batch_size=3)
    >>> rows, plan = objective.prepare(jax.random.key(0), history)
    >>> examples = objective.batch(plan, jnp.int32(0))
    >>> rated = zip(rows["item"][examples.inputs.ids].tolist(), examples.label.tolist())
    >>> sorted(rated)[:2], examples.is_valid.tolist()
    ([(2, 0.0), (2, 1.0)], [True, True, False])
    """
    for name, count in (
        ("num_items", num_items),
        ("local_epochs", local_epochs),
        ("batch_size", batch_size),
    ):
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")

    def steps_per_epoch(num_events: Array) -> Array:
        return (num_events + batch_size - 1) // batch_size

    def prepare(key: Key, history: History) -> tuple[RowIds, RatingsPlan]:
        # Events may share an item and rows may not repeat: the excluded items are the
        # distinct ones, sorted.
        is_slice = is_sliced and history.excluded.shape[0] < num_items
        slots = jnp.searchsorted(history.excluded, history.items)
        plan = RatingsPlan(
            slots if is_slice else history.items,
            history.values,
            shuffled_events(key, history, local_epochs),
            history.num_events,
        )
        return {"item": history.excluded if is_slice else None}, plan

    def num_steps(plan: RatingsPlan) -> Array:
        return local_epochs * steps_per_epoch(plan.num_events)

    def batch(plan: RatingsPlan, step: Array) -> Rated:
        steps = jnp.maximum(steps_per_epoch(plan.num_events), 1)
        place = (step % steps) * batch_size + jnp.arange(batch_size)
        event = plan.order.at[step // steps, place].get(mode="clip")
        is_valid = place < plan.num_events
        ids, label = (
            jnp.where(is_valid, plan.ids[event], 0),
            jnp.where(is_valid, plan.values[event], 0),
        )
        return Rated(Inputs(ids), label, is_valid)

    return Objective(prepare, num_steps, batch, loss, rating_epochs=local_epochs)


def shuffled_events(key: Key, history: History, local_epochs: int) -> Array:
    """`[epochs, L]` places of the events in random order, padding last."""
    place = jnp.arange(history.items.shape[0])
    draws = jax.random.uniform(key, (local_epochs, place.shape[0]))
    return jnp.argsort(jnp.where(place < history.num_events, draws, jnp.inf), axis=1)
