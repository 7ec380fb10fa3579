"""Who did what with which item and when: the events of a data set, in file order."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedjax_rec.data.labels import as_labels, bare, is_missing, natural_sort
from fedjax_rec.data.times import LARGEST, NoTimeError, from_numbers, from_texts
from fedjax_rec.errors import UserError

LONGEST_SPAN = 2**31 - 1
"""Longest time between first and last event, in seconds: times fit int32 on device."""


@dataclass(frozen=True, eq=False)
class FileSplit:
    """What the files of a data set prescribe to be held out.

    Attributes:
      is_test: `[E]` which events are held out.
      candidates: `[N, K]` int32, dense ids of the items that each user's held-out ones
        are to be ranked among, as the files list them: repeats and held-out items are
        possible; padded with the number of items. `None` without such lists.
      is_valid: `[E]` which events are to choose a model by; `None` where the files name none.
    """

    is_test: NDArray[np.bool_]
    candidates: NDArray[np.int32] | None = None
    is_valid: NDArray[np.bool_] | None = None

    @property
    def is_held(self) -> NDArray[np.bool_]:
        """`[E]` which events are not to be trained on."""
        return self.is_test if self.is_valid is None else self.is_test | self.is_valid

    def of(self, events: NDArray[np.intp] | NDArray[np.bool_]) -> "FileSplit":
        """What it says of some events."""
        is_valid = None if self.is_valid is None else self.is_valid[events]
        return replace(self, is_test=self.is_test[events], is_valid=is_valid)


@dataclass(frozen=True, eq=False)
class Interactions:
    """The events of a data set, in the order of its file.

    Dense ids follow the natural sort of the raw ids (see `natural_sort`). The catalogue
    may hold items without any event.

    Attributes:
      users: `[E]` int32, dense id of each event's user, `0 .. N - 1`.
      items: `[E]` int32, dense id of each event's item, `0 .. I - 1`.
      values: `[E]` float32, rating, count or 1; finite.
      times: `[E]` int64, seconds; 0 where unknown. Places in time where order is all that is known.
      user_labels: `[N]` raw user ids, as text.
      item_labels: `[I]` raw item ids, as text.
      item_titles: a name for people to read, for each item; `None` without titles.
      name: the data set's name.
      file_split: the hold-out that the files prescribe; `None` where they prescribe none.
      other: the same users' events in another domain, to train on beside these, numbered by
        themselves (see `domains.beside`); `None` where there is one domain.
      notes: what there is to say of how the files were read, a line each.
      is_order_only: whether `times` are no seconds: 1 for a user's oldest event, 2 for the next.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    values: NDArray[np.float32]
    times: NDArray[np.int64]
    user_labels: NDArray[np.str_]
    item_labels: NDArray[np.str_]
    item_titles: tuple[str, ...] | None
    name: str
    file_split: FileSplit | None = None
    other: "Interactions | None" = None
    is_order_only: bool = False
    notes: tuple[str, ...] = ()

    @property
    def num_users(self) -> int:
        """How many users there are (N)."""
        return len(self.user_labels)

    @property
    def num_items(self) -> int:
        """Size of the catalogue (I)."""
        return len(self.item_labels)

    @property
    def num_events(self) -> int:
        """How many events there are (E)."""
        return len(self.users)


def pick(interactions: Interactions, events: NDArray[np.intp] | NDArray[np.bool_]) -> Interactions:
    """Some events, in the order they are named; users and items keep their numbers."""
    return replace(
        interactions,
        users=interactions.users[events],
        items=interactions.items[events],
        values=interactions.values[events],
        times=interactions.times[events],
        file_split=None,
    )


def from_events(
    users: Sequence[Hashable] | ArrayLike,
    items: Sequence[Hashable] | ArrayLike,
    values: ArrayLike | None = None,
    times: ArrayLike | None = None,
    *,
    name: str = "custom",
    titles: Mapping[Any, str] | None = None,
    catalogue: Iterable[Hashable] = (),
    where: str | PurePath = "",
) -> Interactions:
    """Interactions from columns of raw ids: gives dense ids and checks the values.

    Args:
      users: `[E]` raw user ids: text, whole numbers or bytes (UTF-8). The number 7 and the
        text "7" are one id. What stands for a missing value in tables (`MISSING`) is none.
      items: `[E]` raw item ids.
      values: `[E]` ratings or counts; `None` is 1 for every event.
      times: `[E]` seconds since 1970, or milli-, micro- or nanoseconds, which shows in their size;
        fractions are cut off; 0 is unknown, `None` is 0 for all. Or dates: `datetime64`,
        `datetime`, or text such as 2020-09-01T10:00:00Z.
      name: the data set's name.
      titles: raw item id, text or number, -> title; items without one go by their id.
      catalogue: raw ids of further items, which may have no event.
      where: what error messages call the origin; by default the name.

    Returns:
      The events in the given order.

    Raises:
      UserError: no events, columns of unequal length, ids that are missing or ambiguous
        (`labels.as_labels`), a value or time that is not finite, times in several units or
        further apart than 68 years, or titles of other items.

    >>> events = from_events(["ann", "bob"], [30, 4], times=[5, 9])
    >>> events.users.tolist(), events.items.tolist(), events.item_labels.tolist()
    ([0, 1], [1, 0], ['4', '30'])
    """
    origin = str(where) or name
    user_ids, user_labels = _dense(users, (), "user", origin)
    item_ids, item_labels = _dense(items, catalogue, "item", origin)
    num_events = len(user_ids)
    if num_events == 0:
        raise UserError(f"{origin}: no events: the data set is empty; check the file")
    ratings = np.ones(num_events) if values is None else _as_values(values, origin)
    seconds = np.zeros(num_events, np.int64) if times is None else _as_numbers(times, origin)
    if {len(item_ids), len(ratings), len(seconds)} != {num_events}:
        raise UserError(f"{origin}: the columns have unequal lengths; give one entry an event")
    _check_finite(origin, "value", ratings, float(np.finfo(np.float32).max))
    seconds = _as_seconds(origin, seconds)
    return Interactions(
        users=user_ids,
        items=item_ids,
        values=ratings.astype(np.float32),
        times=seconds,
        user_labels=np.array(user_labels),
        item_labels=np.array(item_labels),
        item_titles=_titles(titles, item_labels, origin),
        name=name,
    )


def _check_finite(origin: str, what: str, numbers: NDArray[Any], largest: float) -> None:
    bad = np.flatnonzero(~(np.abs(numbers) <= largest))  # NaN compares false
    if bad.size:
        raise UserError(
            f"{origin}: event {bad[0] + 1}: {what} {numbers[bad[0]]} is not a finite number, "
            "or is too large; remove the event or mend it"
        )


def _as_values(values: ArrayLike, origin: str) -> NDArray[np.float64]:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise UserError(f"{origin}: a value is no number; give ratings or counts") from None


def _as_numbers(times: ArrayLike, origin: str) -> NDArray[np.float64] | NDArray[np.int64]:
    """Times as numbers: whole ones as they are, to the last digit; dates as seconds."""
    numbers = np.asarray(times)
    if numbers.dtype.kind == "M":
        if np.isnat(numbers).any():
            row = int(np.flatnonzero(np.isnat(numbers))[0]) + 1
            raise UserError(f"{origin}: event {row}: time is missing; give 0 where it is unknown")
        return numbers.astype("datetime64[s]").astype(np.int64)
    if numbers.dtype.kind in "UO":
        try:
            return numbers.astype(np.float64)
        except (TypeError, ValueError):
            pass  # dates, or an error of its own
        try:
            return from_texts([str(time) for time in numbers.tolist()])[0]
        except NoTimeError as problem:
            event = "" if problem.row is None else f"event {problem.row + 1}: time "
            raise UserError(f"{origin}: {event}{problem.reason}") from None
    return numbers.astype(np.int64) if numbers.dtype.kind in "iu" else numbers.astype(np.float64)


def _as_seconds(origin: str, times: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Seconds from times in any unit, checked."""
    _check_finite(origin, "time", times, LARGEST)
    try:
        seconds, _ = from_numbers(times)
    except NoTimeError as problem:
        event = "" if problem.row is None else f"event {problem.row + 1}: "
        raise UserError(f"{origin}: {event}{problem.reason}") from None
    known = seconds[seconds != 0]
    if known.size and known.max() - known.min() > LONGEST_SPAN:
        raise UserError(
            f"{origin}: times lie more than 68 years apart, from {known.min():.0f} to "
            f"{known.max():.0f}: give seconds, and 0 where a time is unknown"
        )
    return seconds


def _titles(
    titles: Mapping[Any, str] | None, item_labels: Sequence[str], origin: str
) -> tuple[str, ...] | None:
    """A title for each item: its own id where there is none."""
    if titles is None:
        return None
    known = {
        bare(raw.decode() if isinstance(raw, bytes) else str(raw)): str(title)
        for raw, title in titles.items()
    }
    if known and not any(label in known for label in item_labels):
        raise UserError(
            f"{origin}: no title is of one of the items: ids of titles are such as "
            f"{next(iter(known))!r}, those of items such as {item_labels[0]!r}; write both alike"
        )
    found = ((label, known.get(label, "")) for label in item_labels)
    return tuple(label if is_missing(title) else title for label, title in found)


def _dense(
    column: Sequence[Hashable] | ArrayLike,
    further: Iterable[Hashable],
    what: str,
    where: str,
) -> tuple[NDArray[np.int32], list[str]]:
    """Dense ids `[E]` and the sorted labels they stand for, with further ones."""
    if hasattr(column, "__array__"):  # a device's numbers, or a column of a data frame
        column = np.asarray(column)
    if isinstance(column, np.ndarray) and column.dtype.kind in "iu" and not (further := [*further]):
        return _dense_numbers(column)
    try:
        raw_ids: list[Any] = column.tolist() if isinstance(column, np.ndarray) else list(column)  # type: ignore[arg-type]
        labels = as_labels(raw_ids, further, what=what, where=where)
    except TypeError:  # of what is no column, or cannot be hashed, such as lists
        raise UserError(
            f"{where}: {what} ids must be text or whole numbers, one for each event"
        ) from None
    ordered = natural_sort(set(labels.values()))
    place = {label: i for i, label in enumerate(ordered)}
    dense = {raw: place[label] for raw, label in labels.items()}
    ids = np.fromiter(map(dense.__getitem__, raw_ids), np.int32, len(raw_ids))
    return ids, ordered


def _dense_numbers(column: NDArray[Any]) -> tuple[NDArray[np.int32], list[str]]:
    """The same of whole numbers, without a step for each event."""
    if not len(column):
        return column.astype(np.int32), []
    lowest, highest = int(column.min()), int(column.max())
    if lowest >= 0 and highest < 4 * len(column) + 1_000_000:
        is_there = np.zeros(highest + 1, bool)
        is_there[column] = True
        numbers = np.flatnonzero(is_there)
        ids = (np.cumsum(is_there, dtype=np.int32) - 1)[column]
    else:
        numbers, ids = np.unique(column, return_inverse=True)
    labels = list(map(str, numbers.tolist()))
    if lowest >= 0:
        return ids.astype(np.int32), labels  # their natural sort
    ordered = natural_sort(labels)
    place = {label: i for i, label in enumerate(ordered)}
    new = np.array([place[label] for label in labels], np.int32)
    return new[ids], ordered


def describe(interactions: Interactions) -> dict[str, float | int | str]:
    """Statistics of a data set.

    Returns:
      `users`, `items` (the catalogue), `items_with_events`, `events`, `density`,
      `events_per_user_min`, `_median`, `_mean`, `_max`, `events_per_user` (how many users
      have how many), `popularity_gini` (0 all items
      alike, towards 1 few items have all events), `popularity_top_10_percent` (share of
      the events on the most popular tenth of the items), `last_two_tied` (share of
      users whose last two events have the same known time), `repeated_events` (of an item the
      user already had), `unknown_times`, `first_time`, `last_time` (seconds, 0 if no time is
      known).

    >>> describe(from_events([1, 1, 2], [7, 8, 7], times=[3, 3, 4]))["last_two_tied"]
    0.5
    """
    per_user = np.bincount(interactions.users, minlength=interactions.num_users)
    per_item = np.sort(np.bincount(interactions.items, minlength=interactions.num_items))
    pairs = interactions.users.astype(np.int64) * interactions.num_items + interactions.items
    known = interactions.times[(interactions.times != 0) & (not interactions.is_order_only)]
    top = -(-interactions.num_items // 10)
    return {
        "name": interactions.name,
        "users": interactions.num_users,
        "items": interactions.num_items,
        "items_with_events": int(np.count_nonzero(per_item)),
        "events": interactions.num_events,
        "density": interactions.num_events / (interactions.num_users * interactions.num_items),
        "events_per_user_min": int(per_user.min()),
        "events_per_user_median": float(np.median(per_user)),
        "events_per_user_mean": float(per_user.mean()),
        "events_per_user_max": int(per_user.max()),
        "events_per_user": histogram(per_user),
        "popularity_gini": _gini(per_item),
        "popularity_top_10_percent": float(per_item[-top:].sum() / per_item.sum()),
        "last_two_tied": _last_two_tied(interactions),
        "repeated_events": int(len(pairs) - len(np.unique(pairs))),
        "unknown_times": int((interactions.times == 0).sum()),
        "first_time": int(known.min()) if known.size else 0,
        "last_time": int(known.max()) if known.size else 0,
    }


def histogram(counts: NDArray[np.int64]) -> str:
    """How many numbers lie between 0, 1, 2, 5, 10, 20, 50 and so on, as a text.

    >>> histogram(np.array([1, 3, 3, 120]))
    '1: 1, 2-4: 2, 100-199: 1'
    """
    edges = [0, *(base * 10**power for power in range(10) for base in (1, 2, 5))]
    found = np.histogram(counts, edges)[0]
    parts = []
    for low, high, count in zip(edges, edges[1:], found.tolist(), strict=False):
        if count:
            parts.append(f"{low}: {count}" if high == low + 1 else f"{low}-{high - 1}: {count}")
    return ", ".join(parts)


def _gini(ascending: NDArray[np.int64]) -> float:
    """Gini coefficient of counts sorted upwards: `sum (2i - n - 1) x_i / (n sum x)`."""
    size = len(ascending)
    position = 2 * np.arange(1, size + 1) - size - 1
    return float(position @ ascending / (size * ascending.sum()))


def _last_two_tied(interactions: Interactions) -> float:
    order = np.lexsort((interactions.times, interactions.users))
    users, times = interactions.users[order], interactions.times[order]
    is_last = np.append(users[1:] != users[:-1], True)
    is_tied = np.append(False, (users[1:] == users[:-1]) & (times[1:] == times[:-1]))
    return float(np.count_nonzero(is_last & is_tied & (times != 0)) / interactions.num_users)
