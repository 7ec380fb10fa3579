"""What a client knows: its training events, and the store of everybody's."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedjax_rec.base.parts import Array, Key


class History(NamedTuple):
    """One client's training events, oldest first, padded to the client's length class.

    Attributes:
      items: `[L]` item of each event; padding holds the number of items.
      values: `[L]` rating, count or 1.
      times: `[L]` seconds since the first event of the data set; 0 where unknown.
      num_events: `[]` how many events are real.
      excluded: `[X]` sorted distinct items that training negatives must avoid; padding
        holds the number of items. Always contains every training item.
      num_excluded: `[]` how many of `excluded` are real.
    """

    items: Array
    values: Array
    times: Array
    num_events: Array
    excluded: Array
    num_excluded: Array


def cut(history: History, first: Array, num_events: Array, length: int, padding: int) -> History:
    """`num_events` events from `first` on, padded to `length`."""
    place = jnp.arange(length)

    def read(values: Array, fill: int) -> Array:
        return jnp.where(place < num_events, values.at[first + place].get(mode="clip"), fill)

    return history._replace(
        items=read(history.items, padding),
        values=read(history.values, 0),
        times=read(history.times, 0),
        num_events=num_events,
    )


class LengthClass(NamedTuple):
    """Clients whose histories are padded to the same lengths (static facts).

    Clients are ranked by falling number of events; a class is a range of ranks.

    Attributes:
      start, stop: the range.
      num_events: the most that one of them has.
      num_excluded: likewise.
      is_distinct: none of them meets an item twice.
      total_events: of all of them together; `None` if not known.
    """

    start: int
    stop: int
    num_events: int
    num_excluded: int
    is_distinct: bool = False
    total_events: int | None = None

    @classmethod
    def covering(cls, classes: Sequence["LengthClass"]) -> "LengthClass":
        """One class for the clients of several, and of whatever lies between them.

        >>> LengthClass.covering([LengthClass(0, 4, 7, 9), LengthClass(6, 8, 3, 10)])[:4]
        (0, 8, 7, 10)
        """
        return cls(
            min(length.start for length in classes),
            max(length.stop for length in classes),
            max(length.num_events for length in classes),
            max(length.num_excluded for length in classes),
        )

    def most_events(self, num_clients: int) -> int:
        """An upper bound of the events of this many of the clients together.

        >>> LengthClass(0, 4, 7, 7, total_events=18).most_events(2)
        14
        >>> LengthClass(0, 4, 7, 7, total_events=18).most_events(3)
        18
        """
        num_clients = min(num_clients, self.stop - self.start)
        bound = num_clients * self.num_events
        return bound if self.total_events is None else min(bound, self.total_events)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ClientData:
    """Every client's history, ragged, on the device.

    Attributes:
      items, values, times: `[E]` events of all clients, client after client.
      offsets: `[N + 1]` where each client's events begin.
      excluded: `[X]` what each client's negatives avoid, client after client.
      excluded_offsets: `[N + 1]` where each client's exclusions begin.
      rank: `[N]` place of each client when sorted by falling number of events.
      is_distinct: `[N]` False where a client meets an item twice.
      first: `[]` the id of the first client here.
      classes: length classes, covering the ranks `0 .. N` in order.
      num_items: size of the catalogue.
      num_other: how many of the items, the last ones, are another domain's: they are trained
        on and never ranked. In a client's events they come last too.
      stride: from one client's id to the next one's here: the number of devices.
    """

    items: Array
    values: Array
    times: Array
    offsets: Array
    excluded: Array
    excluded_offsets: Array
    rank: Array
    is_distinct: Array
    first: Array
    classes: tuple[LengthClass, ...] = field(metadata={"static": True})
    num_items: int = field(metadata={"static": True})
    stride: int = field(default=1, metadata={"static": True})
    num_other: int = field(default=0, metadata={"static": True})

    @property
    def num_clients(self) -> int:
        """How many clients are here (N)."""
        return self.rank.shape[0]

    @property
    def num_ranked(self) -> int:
        """How many items are ranked: those of the domain that is asked for."""
        return self.num_items - self.num_other

    def place(self, client_id: Array) -> Array:
        """Where a client that is here stands in the arrays `[N]`."""
        return (client_id - self.first) // self.stride

    def is_here(self, client_id: Array) -> Array:
        """Whether this device holds the client's data."""
        return (client_id - self.first) % self.stride == 0

    def history(self, client_id: Array, length: LengthClass) -> History:
        """One client's history, padded to `length`."""
        client = self.place(client_id)

        def read(flat: Array, offsets: Array, size: int, fill: int) -> tuple[Array, Array]:
            begin = offsets[client]
            count = jnp.minimum(offsets[client + 1] - begin, size)
            place = jnp.arange(size)
            values = flat.at[begin + place].get(mode="fill", fill_value=0)
            return jnp.where(place < count, values, fill), count

        size = length.num_events
        items, num_events = read(self.items, self.offsets, size, self.num_items)
        values, _ = read(self.values, self.offsets, size, 0)
        times, _ = read(self.times, self.offsets, size, 0)
        excluded, num_excluded = read(
            self.excluded, self.excluded_offsets, length.num_excluded, self.num_items
        )
        return History(items, values, times, num_events, excluded, num_excluded)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Inputs:
    """What a model is asked to score.

    Attributes:
      ids: `[B]` rows of the view to score; `None` scores every row of the view. With
        `is_every_position` also `[L, B]`: other rows at each event.
      history: the client's past events, for models that read them; else `None`. Its items
        are rows of the view, and padding is past the end of the view's rows.
      is_hidden: `[L]` events whose items the model must not read, for models that read both
        sides of an event; `None` hides none.
      key: of dropout, in training; `None`: nothing is dropped.
      table: the table that `ids` index.
      is_every_position: the scores at each event of the history are wanted, `[L, B]` in
        place of `[B]`: row t reads events 0 .. t alone, or where events are hidden all that
        are not. For models that read a history.
    """

    ids: Array | None
    history: History | None = None
    is_hidden: Array | None = field(default=None, kw_only=True)
    key: Key | None = field(default=None, kw_only=True)
    table: str = field(default="item", metadata={"static": True})
    is_every_position: bool = field(default=False, metadata={"static": True})
