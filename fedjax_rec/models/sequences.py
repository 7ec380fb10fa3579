"""What models of sequences share: they read the last events, and score by item vectors."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array, History, Inputs, Key, Model, Part, PyTree, View, cut
from fedjax_rec.models.rows import gather

Read = Callable[[PyTree, Array, History, Inputs], Array]
"""`(dense, table, window, inputs) -> [L, D]`, what was made of the events up to each."""


def sequence_model(
    name: str,
    num_items: int,
    dim: int,
    max_length: int,
    init_stddev: float,
    init_dense: Callable[[Key, Array], PyTree],
    read: Read,
    *,
    keys_of: Callable[[Array], Array] = lambda vectors: vectors,
    appends: bool = False,
) -> Model:
    """A model whose score of item i is `f_t . k(q_i)`, f_t what it made of the events up to t.

    Args:
      name: for messages.
      num_items: size of the catalogue (I).
      dim: width of a vector (D).
      max_length: most events that are read.
      init_stddev: of the normal initial item vectors.
      init_dense: `(key, row [1, D]) -> dense` parameters.
      read: makes f; real events come first, and padding has the number of the view's rows.
      keys_of: k.
      appends: asked for what follows the last event, the model hides an event behind it; else
        f of the last event answers.

    Returns:
      A model with rows `{"item": [I, D]}`, `factors`, and scores at every place or the last. For
      a client without events the scores are finite and the same for all such clients.
    """

    def init(key: Key) -> tuple[Part, Part]:
        key_table, key_dense = jax.random.split(key)
        table = init_stddev * jax.random.normal(key_table, (num_items, dim))
        return Part({"item": table}, init_dense(key_dense, table[:1])), Part({}, ())

    def factors(view: View, inputs: Inputs) -> tuple[Array, Array]:
        table = view.shared.rows["item"]
        inputs, window = _asked(name, inputs, max_length, table.shape[0], appends=appends)
        hidden = read(view.shared.dense, table, window, inputs)
        if not inputs.is_every_position:
            hidden = hidden[jnp.maximum(window.num_events - 1, 0)]
        return hidden, keys_of(gather(table, inputs.ids))

    def score(view: View, inputs: Inputs) -> Array:
        queries, keys = factors(view, inputs)
        if keys.ndim == 3:  # other items at each place
            at_each: Array = jnp.einsum("ld,lbd->lb", queries, keys)
            return at_each
        return queries @ keys.T

    return Model({"item": num_items}, init, score, needs_history=True, factors=factors)


def _asked(
    name: str, inputs: Inputs, max_length: int, padding: int, *, appends: bool
) -> tuple[Inputs, History]:
    """The inputs, and the events that are read.

    Raises:
      ValueError: there is no history, or it is not what the model reads.
    """
    history = inputs.history
    if history is None:
        raise ValueError(f"{name} reads a history: use an objective that gives it: next_item")
    if not inputs.is_every_position:
        if not appends:
            return inputs, latest(history, max_length, padding)
        window = _with_one_more(history, max_length, padding)
        is_last = jnp.arange(window.items.shape[0]) == window.num_events - 1
        return replace(inputs, is_hidden=is_last), window
    length = history.items.shape[0]
    if length > max_length:
        raise ValueError(
            f"a history of {length} events is longer than the model's max_length = "
            f"{max_length}: cut it before asking for every position"
        )
    if appends and inputs.is_hidden is None:
        raise ValueError(f"{name} reads both sides of an event: use objective masked_item")
    return inputs, latest(history, max_length, padding)


def latest(history: History, max_length: int, padding: int) -> History:
    """The last `max_length` events, oldest first and padded at the end."""
    length = min(history.items.shape[0], max_length)
    num_events = jnp.minimum(history.num_events, length)
    return cut(history, history.num_events - num_events, num_events, length, padding)


def vectors_of(table: Array, items: Array) -> Array:
    """`[L, D]` rows of the events' items; padding reads zero."""
    vectors: Array = table.at[items].get(mode="fill", fill_value=0)
    return vectors


def _with_one_more(history: History, max_length: int, padding: int) -> History:
    """The last `max_length - 1` events and a place behind them."""
    window = latest(history, max(max_length - 1, 1), padding)

    def longer(values: Array, fill: int) -> Array:
        return jnp.pad(values, (0, 1), constant_values=fill)

    keeps = window.num_events if max_length > 1 else jnp.zeros_like(window.num_events)
    return window._replace(
        items=longer(window.items, padding)[:max_length],
        values=longer(window.values, 0)[:max_length],
        times=longer(window.times, 0)[:max_length],
        num_events=keeps + 1,
    )
