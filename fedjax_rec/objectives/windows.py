"""What a model of sequences is asked about one client: events to read, and items to find."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array, History, Inputs, Key, cut


class Window(NamedTuple):
    """The last events of one client.

    Attributes:
      inputs: the events to read, W of them, and a key of dropout; every place is scored.
      label: `[W]` the item that is asked for at each place; 0 for padding.
      is_valid: `[W]` False where nothing is asked.
    """

    inputs: Inputs
    label: Array
    is_valid: Array


def next_events(history: History, max_length: int, padding: int) -> Window:
    """The last `max_length` pairs of an event and the one that follows it.

    Args:
      history: of the client.
      max_length: most events that are read (W is this or the length class).
      padding: the item of a place without an event.
    """
    length = min(history.items.shape[0], max_length)
    num_pairs = jnp.clip(history.num_events - 1, 0, length)
    place = jnp.arange(length)
    is_valid = place < num_pairs
    first = history.num_events - 1 - num_pairs
    events = cut(history, first, num_pairs, length, padding)
    label = jnp.where(is_valid, history.items.at[first + place + 1].get(mode="clip"), 0)
    return Window(Inputs(None, events, is_every_position=True), label, is_valid)


def hidden_events(
    key: Key,
    history: History,
    max_length: int,
    padding: int,
    probability: float,
) -> Window:
    """The last `max_length` events, some of them hidden and asked for.

    Each is hidden by itself with a probability; where none is, the last one.

    Args:
      key: of the choice.
      history: of the client.
      max_length: most events that are read.
      padding: the item of a place without an event.
      probability: with which an event is hidden.
    """
    length = min(history.items.shape[0], max_length)
    num_events = jnp.minimum(history.num_events, length)
    events = cut(history, history.num_events - num_events, num_events, length, padding)
    place = jnp.arange(length)
    is_real = place < num_events
    is_hidden = is_real & jax.random.bernoulli(key, probability, (length,))
    is_hidden |= is_real & (place == num_events - 1) & ~is_hidden.any()
    label = jnp.where(is_hidden, events.items, 0)
    inputs = Inputs(None, events, is_every_position=True, is_hidden=is_hidden)
    return Window(inputs, label, is_hidden)
