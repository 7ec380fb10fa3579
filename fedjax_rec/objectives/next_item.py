"""The next item of a sequence, at every position at once."""

from typing import NamedTuple

import jax.numpy as jnp
import optax

from fedjax_rec.base import Array, History, Inputs, Key, Objective, RowIds


class NextItem(NamedTuple):
    """One client's sequence.

    Attributes:
      inputs: the history without its last event, and every position to score from.
      label: `[W]` the item that follows each event.
      is_valid: `[W]` False for padding.
    """

    inputs: Inputs
    label: Array
    is_valid: Array


def next_item(
    num_items: int, max_length: int = 50, *, local_epochs: int = 1, table: str = "item"
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
      table: the table of rows that items index; every client gets all of it.

    Returns:
      An objective whose examples are `NextItem`, for models that read a history and give
      `[W, I]` scores for `Inputs(is_every_position=True)`.

    Raises:
      ValueError: a number is below 1.

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
    for name, count in (
        ("num_items", num_items),
        ("max_length", max_length),
        ("local_epochs", local_epochs),
    ):
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")

    def prepare(key: Key, history: History) -> tuple[RowIds, NextItem]:
        return {table: None}, one_sequence(history, num_items, max_length, table)

    def num_steps(plan: NextItem) -> Array:
        return jnp.where(jnp.any(plan.is_valid), local_epochs, 0)

    def batch(plan: NextItem, step: Array) -> NextItem:
        return plan

    return Objective(prepare, num_steps, batch, softmax_cross_entropy)


def one_sequence(history: History, num_items: int, max_length: int, table: str) -> NextItem:
    """The last `max_length` pairs of an event and the one that follows it."""
    length = min(history.items.shape[0], max_length)
    num_pairs = jnp.clip(history.num_events - 1, 0, length)
    place = jnp.arange(length)
    is_valid = place < num_pairs
    event = history.num_events - 1 - num_pairs + place

    def read(values: Array, event: Array, fill: int) -> Array:
        return jnp.where(is_valid, values.at[event].get(mode="clip"), fill)

    inputs = history._replace(
        items=read(history.items, event, num_items),
        values=read(history.values, event, 0),
        times=read(history.times, event, 0),
        num_events=num_pairs,
    )
    label = read(history.items, event + 1, 0)
    return NextItem(Inputs(None, inputs, table, is_every_position=True), label, is_valid)


def softmax_cross_entropy(scores: Array, examples: NextItem) -> tuple[Array, Array]:
    """`-log softmax(s_t)[x_{t+1}]` for `[W, I]` scores, and `[W]` weights, 0 for padding."""
    loss = optax.softmax_cross_entropy_with_integer_labels(scores, examples.label)
    return loss, examples.is_valid.astype(loss.dtype)
