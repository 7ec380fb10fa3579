"""Items of a sequence by the softmax over the whole catalogue: the next one, or hidden ones."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from fedjax_rec.base import Array, History, Key, Objective, RowIds, is_concrete
from fedjax_rec.objectives.softmax import chunked_cross_entropy
from fedjax_rec.objectives.windows import Window, hidden_events, next_events

Choose = Callable[[Key, History], Window]


class Sequence(NamedTuple):
    """One client's sequence, and the key of its round."""

    history: History
    key: Key


def next_item(
    num_items: int,
    max_length: int = 50,
    *,
    local_epochs: int = 1,
    items_at_once: int = 0,
) -> Objective:
    """Item t + 1 from items 1 .. t, for every t: full softmax cross-entropy.

    `-log softmax(s_t)[x_{t+1}]`, s_t the scores of the whole catalogue from events 1 .. t.
    A client with T events is one batch of the last T - 1 of these pairs, at most
    `max_length`; it takes one step an epoch, and none with fewer than two events.

    Args:
      num_items: size of the catalogue (I).
      max_length: most events that are read (W is this or the length class), at least 1, and at
        most the model's.
      local_epochs: local steps in a round, at least 1.
      items_at_once: 0 makes all `[W, I]` scores at once; else so many columns of them, for
        large catalogues and models with `factors`. The loss is the same.

    Returns:
      An objective whose examples are `windows.Window`, for models that read a history and give
      `[W, I]` scores for `Inputs(is_every_position=True)`.

    Raises:
      ValueError: a number is out of its range.

    Reference:
      Klenitskiy and Vasilev (2023), "Turning dross into gold loss: is BERT4Rec really better
      than SASRec?", the cross-entropy over all items of SASRec+.

    >>> import jax
    >>> items = jnp.array([7, 2, 5, 90])  # three events, padded with the number of items
    >>> history = History(items, items, items, jnp.int32(3), jnp.sort(items), jnp.int32(3))
    >>> objective = next_item(90)
    >>> rows, plan = objective.prepare(jax.random.key(0), history)
    >>> examples = objective.batch(plan, jnp.int32(0))
    >>> examples.inputs.history.items.tolist(), examples.label.tolist()
    ([7, 2, 90, 90], [2, 5, 0, 0])
    >>> rows, examples.is_valid.tolist()
    ({'item': None}, [True, True, False, False])
    """
    refuse_below_one(num_items=num_items, max_length=max_length, local_epochs=local_epochs)

    def choose(key: Key, history: History) -> Window:
        return next_events(history, max_length, num_items)

    return _over_all(choose, max_length + 1, 2, local_epochs, items_at_once)


def masked_item(
    num_items: int,
    max_length: int = 50,
    *,
    mask_probability: float = 0.2,
    local_epochs: int = 1,
    items_at_once: int = 0,
) -> Objective:
    """Hidden items from the events on both sides of them (Cloze): full softmax cross-entropy.

    `-log softmax(s_t)[x_t]` for every hidden t. Each of a client's last `max_length` events is
    hidden with a probability, by a fresh choice in each step; where none is, the last one.

    Args:
      num_items: size of the catalogue (I).
      max_length: most events that are read, at least 1, and at most the model's.
      mask_probability: with which an event is hidden, above 0 and at most 1.
      local_epochs: local steps in a round, at least 1.
      items_at_once: as of `next_item`.

    Returns:
      An objective whose examples are `windows.Window`, for models that read `is_hidden`.

    Raises:
      ValueError: a number is out of its range.

    Reference:
      Sun et al. (2019), "BERT4Rec: sequential recommendation with bidirectional encoder
      representations from transformer", equation 8. Difference: a hidden item always shows
      the mask, and no further copies of sequences hide the last item alone.

    >>> masked_item(90).sampler is None
    True
    """
    refuse_below_one(num_items=num_items, max_length=max_length, local_epochs=local_epochs)
    refuse_improbable(mask_probability)

    def choose(key: Key, history: History) -> Window:
        return hidden_events(key, history, max_length, num_items, mask_probability)

    return _over_all(choose, max_length, 1, local_epochs, items_at_once)


def _over_all(
    choose: Choose, window: int, least_events: int, local_epochs: int, items_at_once: int
) -> Objective:
    """The objective of windows that are chosen afresh in each step."""
    if items_at_once < 0:
        raise ValueError(f"items_at_once must be at least 0, got {items_at_once}")

    def prepare(key: Key, history: History) -> tuple[RowIds, Sequence]:
        return {"item": None}, Sequence(history, key)

    def num_steps(plan: Sequence) -> Array:
        return jnp.where(plan.history.num_events >= least_events, local_epochs, 0)

    def batch(plan: Sequence, step: Array) -> Window:
        return at_step(choose, plan.key, plan.history, step)

    chunked = partial(_factored_cross_entropy, items_at_once) if items_at_once else None
    return Objective(
        prepare, num_steps, batch, softmax_cross_entropy, factored_loss=chunked, window=window
    )


def at_step(choose: Choose, key: Key, history: History, step: Array) -> Window:
    """The window of a local step, with a key of its own for what the model drops."""
    chosen, dropped = jax.random.split(jax.random.fold_in(key, step))
    window = choose(chosen, history)
    return window._replace(inputs=replace(window.inputs, key=dropped))


def softmax_cross_entropy(scores: Array, examples: Window) -> tuple[Array, Array]:
    """`-log softmax(s_t)[x]` for `[W, I]` scores, and `[W]` weights, 0 for padding."""
    loss = optax.softmax_cross_entropy_with_integer_labels(scores, examples.label)
    return loss, examples.is_valid.astype(loss.dtype)


def _factored_cross_entropy(
    items_at_once: int, queries: Array, keys: Array, examples: Window
) -> tuple[Array, Array]:
    loss = chunked_cross_entropy(queries, keys, examples.label, items_at_once)
    return loss, examples.is_valid.astype(loss.dtype)


def refuse_below_one(**counts: int) -> None:
    """Raises `ValueError` for a count below 1."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")


def refuse_improbable(mask_probability: float) -> None:
    """Raises `ValueError` for what is no probability of hiding an event."""
    if is_concrete(mask_probability) and not 0 < mask_probability <= 1:
        raise ValueError(f"mask_probability must be above 0 and at most 1, got {mask_probability}")
