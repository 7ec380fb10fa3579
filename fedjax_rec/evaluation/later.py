"""What a model reads of a client behind its training events."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from fedjax_rec.base import Array, History
from fedjax_rec.data import FederatedData, HeldOut
from fedjax_rec.data.clients import since_first
from fedjax_rec.data.domains import as_one_catalogue


class Later(NamedTuple):
    """Events that a client's history goes on with, oldest first; of one client or of all.

    Attributes:
      items: `[..., V]`, padded with the size of the catalogue.
      values: `[..., V]` rating, count or 1.
      times: `[..., V]` seconds since the first event that is trained on; 0 where unknown,
        below 0 where an event is older than that.
      num_events: `[...]` how many of them are real.
    """

    items: Array
    values: Array
    times: Array
    num_events: Array


def later_events(data: FederatedData, held_out: Sequence[HeldOut]) -> Later:
    """The held-out events of all clients `[N, V]`, those of each hold-out behind those before.

    V is the most that one of the clients has, at least 1.

    Args:
      data: whose training events they follow.
      held_out: of its split, with their events; one without is passed over.

    >>> from fedjax_rec.data import load
    >>> data = load("synthetic", num_users=4, num_items=30, mean_events=6)
    >>> later_events(data, [data.split.valid, data.split.test]).items.shape
    (4, 2)
    """
    parts = [held.events for held in held_out if held.events is not None]
    trained = as_one_catalogue(data.split.train).times
    users = np.concatenate([np.zeros(0, np.int64), *(part.users for part in parts)])
    order = np.argsort(users, kind="stable")
    users = users[order]
    counts = np.bincount(users, minlength=data.num_clients)
    place = np.arange(len(users)) - np.repeat(np.cumsum(counts) - counts, counts)
    shape = data.num_clients, max(int(counts.max(initial=0)), 1)

    def table(name: str, fill: int, dtype: Any) -> NDArray[Any]:
        column = np.concatenate([np.zeros(0, dtype), *(getattr(part, name) for part in parts)])
        filled = np.full(shape, fill, dtype)
        filled[users, place] = column[order]
        return filled

    times = since_first(table("times", 0, np.int64), trained)
    return Later(
        jnp.asarray(table("items", data.clients.num_items, np.int32)),
        jnp.asarray(table("values", 0, np.float32)),
        jnp.asarray(times, jnp.int32),
        jnp.asarray(counts, jnp.int32),
    )


def followed_by(history: History, later: Later, num_items: int) -> History:
    """One client's history with later events right behind its own; it is padded to `L + V`.

    What training negatives avoid stays as it is.

    Args:
      history: padded to L events.
      later: of this client, padded to V.
      num_items: size of the catalogue, which pads items.

    >>> own = jnp.array([4, 7, 9]), jnp.ones(3), jnp.zeros(3, int), jnp.int32(2)
    >>> history = History(*own, jnp.array([4, 7]), jnp.int32(2))
    >>> more = Later(jnp.array([5, 9]), jnp.ones(2), jnp.array([60, 0]), jnp.int32(1))
    >>> longer = followed_by(history, more, num_items=9)
    >>> longer.items.tolist(), longer.num_events.item()
    ([4, 7, 5, 9, 9], 3)
    """
    own_size, size = history.items.shape[0], later.items.shape[0]
    place = history.num_events + jnp.arange(size)

    def joined(own: Array, more: Array, fill: int) -> Array:
        padded = jnp.full(own_size + size, fill, own.dtype).at[:own_size].set(own)
        return padded.at[place].set(more)

    return history._replace(
        items=joined(history.items, later.items, num_items),
        values=joined(history.values, later.values, 0),
        times=joined(history.times, later.times, 0),
        num_events=history.num_events + later.num_events,
    )
