"""Events that are in memory already: data frames, tables, arrays and lists, ready to simulate."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np

from fedjax_rec.data.clients import FederatedData, parted
from fedjax_rec.data.filters import Filters, select
from fedjax_rec.data.interactions import Interactions, from_events
from fedjax_rec.data.reading import print_notice
from fedjax_rec.data.sources.guess import EARLIEST
from fedjax_rec.data.sources.names import roles_of
from fedjax_rec.errors import UserError, did_you_mean

Columns = dict[str, Any]

RULES = tuple(inspect.signature(parted).parameters)[1:-1]
"""How events are split: keywords of `load` that `load_events` takes too."""

LARGEST = 2.0**53
"""Whole numbers below are exact as floats."""

TAKEN = (
    "a data frame of pandas or polars, an Arrow table, a NumPy array, a dict of columns or a list "
    "of events"
)


def load_events(
    events: Any,
    *,
    user: str | int = "",
    item: str | int = "",
    rating: str | int = "",
    time: str | int = "",
    name: str = "mine",
    titles: Mapping[Any, str] | None = None,
    filters: Filters = Filters(),
    notice: Callable[[str], None] = print_notice,
    **rules: Any,
) -> FederatedData:
    """Events from memory as a data set ready to simulate; one user is one client.

    No library is needed: a column is whatever `numpy.asarray(table[name])` makes of it.

    Args:
      events: a data frame of pandas or polars, an Arrow table, a mapping of columns, a structured
        array, or a list of mappings, all with named columns; or an array `[E, 2..4]` or a list
        of tuples: user, item, and rating and time where there are such (a third number is a
        time from 100,000,000 on). A sparse matrix of SciPy holds ratings, users by items.
        `Interactions` are taken as they are.
      user: the column of users; by default known by its name, as in files.
      item: of items.
      rating: of ratings or counts; by default likewise, and 1 where only users and items are said.
      time: of times or dates; likewise, and unknown.
      name: the data set's name.
      titles: raw item id -> title.
      filters: which events are used.
      notice: gets what there is to say, a line each.
      **rules: how they are split: `holdout`, `validation`, `ties`, `split_seed`, `share`,
        `max_events`, `repeats`, `exclude`, `candidates_seed`, each as of `load`.

    Raises:
      UserError: something else than events, no such column, ids or numbers that are none, or
        an unknown rule.

    >>> data = load_events([("ann", "tea", 5, 1), ("ann", "jam", 4, 2), ("ann", "bun", 3, 3)])
    >>> data.num_clients, data.num_items, data.protocol["holdout"]
    (1, 3, 'leave_one_out')
    """
    for rule in rules:
        if rule not in RULES:
            hint = did_you_mean(rule, (*RULES, "user", "item", "rating", "time"))
            raise UserError(f"load_events: {rule!r} is no option{hint}")
    named = {"user": user, "item": item, "rating": rating, "time": time}
    said = {role: str(column) for role, column in named.items() if column != ""}
    if isinstance(events, Interactions):
        interactions = events
    else:
        columns = _columns(events, said)
        interactions = from_events(
            _as_ids(columns["user"], "user", name),
            _as_ids(columns["item"], "item", name),
            columns.get("rating"),
            columns.get("time"),
            name=name,
            titles=titles,
        )
    interactions, lines = select(interactions, filters)
    for line in lines:
        notice(line)
    return parted(interactions, **rules, notice=notice)


def _columns(events: Any, said: Mapping[str, str]) -> Columns:
    """Role -> column, whatever the events come as."""
    if isinstance(events, str | bytes | PathLike):
        raise UserError("load_events: a path is no event; load('mine', path=...) reads files")
    if hasattr(events, "collect") and not hasattr(events, "__len__"):
        raise UserError("load_events: the frame is lazy; collect it first")
    if (names := _names(events)) is not None:
        return _named(events, names, said)
    if hasattr(events, "tocoo"):
        found = events.tocoo()
        return {"user": found.row, "item": found.col, "rating": found.data}
    rows = _rows(events)
    if isinstance(rows, list) and rows and isinstance(rows[0], Mapping):
        keys = list(rows[0])
        if wrong := [n for n, row in enumerate(rows, 1) if not _has(row, keys)]:
            raise UserError(f"load_events: event {wrong[0]} has other keys than the first")
        return _named({key: [row[key] for row in rows] for key in keys}, keys, said)
    if said:
        role = next(iter(said))
        raise UserError(f"load_events: the events have no named columns; leave {role} out")
    return _in_order(rows)


def _has(row: Any, keys: Sequence[Any]) -> bool:
    return isinstance(row, Mapping) and row.keys() >= {*keys}


def _names(events: Any) -> list[Any] | None:
    """Names of the columns, which may be numbers; `None` where they have none."""
    if isinstance(events, np.ndarray):
        return list(events.dtype.names) if events.dtype.names else None
    for attribute in ("column_names", "columns"):  # Arrow's columns are no names
        names = getattr(events, attribute, None)
        if names is not None and not callable(names):
            return list(names)
    return list(events) if isinstance(events, Mapping) else None


def _named(table: Any, keys: Sequence[Any], said: Mapping[str, str]) -> Columns:
    """Role -> column of a table whose columns go by keys."""
    by_name = {str(key): key for key in keys}
    names = [*by_name]
    for role, column in said.items():
        if column not in names:
            raise UserError(
                f"load_events: no column {column!r} for {role}{did_you_mean(str(column), names)}"
            )
    found = dict(said)
    if not {"user", "item"} <= found.keys():
        try:
            found = roles_of([n for n in names if n not in said.values()], "load_events") | found
        except UserError as error:
            raise UserError(str(error).replace("--data.", "")) from None
    for role in ("user", "item"):
        if role not in found:
            raise UserError(
                f"load_events: which column is the {role} does not show; say it with {role}=..., "
                f"one of {', '.join(map(repr, names[:12]))}"
            )
    return {role: _as_column(table[by_name[column]], column) for role, column in found.items()}


def _as_column(values: Any, name: str) -> Any:
    try:
        column = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise UserError(f"load_events: column {name!r} is no column: {error}") from None
    if column.ndim != 1:
        raise UserError(
            f"load_events: column {name!r} has {column.ndim} dimensions, not 1; give one entry an "
            "event"
        )
    return column


def _rows(events: Any) -> Any:
    """An array, or a list of rows."""
    if hasattr(events, "__array__"):
        return np.asarray(events)
    if not isinstance(events, Iterable):
        raise UserError(f"load_events: expected {TAKEN}, got {type(events).__name__}")
    return list(events)


def _in_order(rows: Any) -> Columns:
    """Role -> column of rows of user, item, rating and time."""
    if isinstance(rows, np.ndarray):
        if rows.ndim != 2 or not 2 <= rows.shape[1] <= 4:
            raise UserError(
                f"load_events: an array of shape {rows.shape} is none of events; give [E, 2..4]: "
                "user, item, rating, time"
            )
        columns: list[Any] = list(rows.T)
    else:
        columns = _transposed(rows)
    if len(columns) == 3 and not _are_times(columns[2]):
        return dict(zip(("user", "item", "rating"), columns, strict=True))
    roles = ("user", "item", "time") if len(columns) == 3 else ("user", "item", "rating", "time")
    return dict(zip(roles, columns, strict=False))


def _transposed(rows: list[Any]) -> list[Any]:
    """Columns of a list of tuples that are all of one length."""
    if not rows:
        raise UserError("load_events: no events: the list is empty")
    for number, row in enumerate(rows, 1):
        is_row = isinstance(row, Sequence | np.ndarray) and not isinstance(row, str | bytes)
        if not is_row or not 2 <= len(row) <= 4 or len(row) != len(rows[0]):
            raise UserError(
                f"load_events: event {number} is {str(row)[:40]!r}; give (user, item), with rating "
                "and time behind them for all events or none"
            )
    return [list(column) for column in zip(*rows, strict=True)]


def _as_ids(column: Any, role: str, name: str) -> Any:
    """Ids that a missing one, or a table of one type, has made floats of, as whole numbers."""
    if not isinstance(column, np.ndarray) or column.dtype.kind != "f":
        return column
    if np.isnan(column).any():
        row = int(np.flatnonzero(np.isnan(column))[0]) + 1
        raise UserError(f"{name}: event {row}: {role} id is missing; leave the event out")
    is_whole = np.isfinite(column).all() and not (column % 1).any()
    return column.astype(np.int64) if is_whole and (np.abs(column) < LARGEST).all() else column


def _are_times(column: Any) -> bool:
    """Whether a third column is of times: dates, or numbers that are too large for ratings."""
    values = np.asarray(column)
    if values.dtype.kind in "iuf":
        return bool(len(values)) and bool((values >= EARLIEST).all())
    return values.dtype.kind in "MUO"
