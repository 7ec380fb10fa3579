"""The one reader of files of events: by a layout, from bytes to interactions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedjax_rec.data import times as clock
from fedjax_rec.data.interactions import FileSplit, Interactions, from_events
from fedjax_rec.data.sources.columns import Column, Lines, floats, text_ids, whole_ids
from fedjax_rec.data.sources.files import Files
from fedjax_rec.data.sources.json_files import read_json_lines, read_json_lists
from fedjax_rec.data.sources.layouts import Layout
from fedjax_rec.data.sources.lists import read_lists
from fedjax_rec.data.sources.numbers import Numbers
from fedjax_rec.data.sources.parquet import read_parquet
from fedjax_rec.data.sources.parts import parts_beside
from fedjax_rec.data.sources.texts import Table, as_texts, read_table
from fedjax_rec.data.sources.titles import read_titles
from fedjax_rec.errors import UserError

SHAPES: dict[str, Callable[[bytes, Layout, str], Table]] = {
    "table": read_table,
    "lists": read_lists,
    "json": read_json_lists,
    "json_lines": read_json_lines,
    "parquet": read_parquet,
}


@dataclass(frozen=True)
class Part:
    """The checked columns of one file.

    Attributes:
      users: raw ids.
      items: likewise.
      values: `None` where there are none.
      times: seconds; `None` where there are none.
      notes: what there is to say of how the file was read.
    """

    users: Column | Numbers
    items: Column | Numbers
    values: NDArray[np.float64] | None
    times: NDArray[np.int64] | None
    notes: tuple[str, ...]


def read_layout(layout: Layout, files: Files, member: str, name: str) -> Interactions:
    """Reads a file, and what belongs to it beside it, as a layout says.

    Args:
      layout: of the file.
      files: the folder or zip that holds it.
      member: its name there.
      name: the data set's name.

    Returns:
      The events in the file's order; of a data set in parts those of training, validation and
      test, with the files' split.

    Raises:
      UserError: a malformed file, by file and line; or a part that lacks another.
    """
    members = parts_beside(files, member, layout)
    parts = [read_part(layout, files, one) for one in members.values()]
    label = files.label(member)
    events = from_events(
        _joined([part.users for part in parts]),
        _joined([part.items for part in parts]),
        _numbers([part.values for part in parts], [len(part.users) for part in parts]),
        _numbers([part.times for part in parts], [len(part.users) for part in parts]),
        name=name,
        catalogue=_further(layout, files, member),
        where=label,
        titles=read_titles(layout, files, member),
    )
    events = replace(events, notes=tuple(note for part in parts for note in part.notes))
    if layout.is_ordered:
        events = replace(events, times=places(events.users), is_order_only=True)
    if len(members) > 1:
        events = replace(events, file_split=_split(list(members), parts))
    return events


def places(users: NDArray[np.int32]) -> NDArray[np.int64]:
    """`[E]` which of its user's events each one is, from 1.

    >>> places(np.array([5, 3, 5, 5, 3], np.int32)).tolist()
    [1, 1, 2, 3, 2]
    """
    order = np.argsort(users, kind="stable")
    ordered = users[order]
    is_first = np.append(True, ordered[1:] != ordered[:-1])
    starts = np.flatnonzero(is_first)
    place = np.empty(len(users), np.int64)
    place[order] = np.arange(len(users)) - starts[np.cumsum(is_first) - 1] + 1
    return place


def read_part(layout: Layout, files: Files, member: str) -> Part:
    """The checked columns of one file, without what lies beside it.

    Raises:
      UserError: a malformed file, by file and line.
    """
    label = files.label(member)
    table = SHAPES[layout.shape](files.read(member), layout, label)
    words = dict(zip(("user", "item", "rating", "time"), layout.words, strict=True))
    check = whole_ids if layout.has_whole_ids else text_ids
    ids = [
        column
        if isinstance(column := table.columns[role], np.ndarray)
        else check(column, label=label, what=words[role], lines=table.lines)
        for role in ("user", "item")
    ]
    notes = [f"{count} {what}" for what, count in table.passed_over.items()]
    unused = ", ".join(map(repr, table.unused[:8]))
    notes = [f"{label}: passed over {' and '.join(notes)}"] if notes else []
    if unused and not layout.is_strict:
        notes.append(f"{label}: not used: {unused}{', ...' if len(table.unused) > 8 else ''}")
    values, seconds = table.columns.get("rating"), table.columns.get("time")
    if values is not None and not isinstance(values, np.ndarray):
        values = floats(values, label=label, what=words["rating"], lines=table.lines)
    if seconds is not None:
        seconds, unit = _seconds(seconds, label, words["time"], table.lines)
        if unit != "seconds":
            notes.append(f"{label}: times are {unit}")
    return Part(
        ids[0],
        ids[1],
        None if values is None else values.astype(np.float64),
        seconds,
        tuple(notes),
    )


def _seconds(
    column: Column | Numbers, label: str, what: str, lines: Lines
) -> tuple[NDArray[np.int64], str]:
    try:
        if isinstance(column, np.ndarray):
            return clock.from_numbers(column)
        if _is_number(column[0]):
            return clock.from_numbers(floats(column, label=label, what=what, lines=lines))
        return clock.from_texts([text.decode("utf-8", "replace") for text in column])
    except clock.NoTimeError as problem:
        if problem.row is None:
            raise UserError(f"{label}: {problem.reason}") from None
        row = problem.row
        line = lines + row if isinstance(lines, int) else lines[row]
        raise UserError(f"{label}, line {line}: {what} {problem.reason}") from None


def _is_number(text: bytes) -> bool:
    if not text.strip():
        return True  # refused as a number that is missing
    try:
        float(text)
    except ValueError:
        return False
    return True


def _joined(columns: Sequence[Column | Numbers]) -> Column | Numbers:
    """The ids of all parts, one behind the other."""
    if all(isinstance(column, np.ndarray) for column in columns):
        return np.concatenate(columns)
    return [text for column in columns for text in as_texts(column)]


def _numbers(
    columns: Sequence[NDArray[np.float64] | NDArray[np.int64] | None], counts: Sequence[int]
) -> NDArray[Any] | None:
    """The numbers of all parts; `None` where no part has any."""
    if all(column is None for column in columns):
        return None
    filled: list[NDArray[Any]] = [
        np.zeros(count, np.int64) if column is None else column
        for column, count in zip(columns, counts, strict=True)
    ]
    return filled[0] if len(filled) == 1 else np.concatenate(filled)


def _further(layout: Layout, files: Files, member: str) -> set[bytes]:
    """The items of a file that only adds to the catalogue."""
    found = files.beside(member, layout.further) if layout.further else None
    return set() if found is None else set(as_texts(read_part(layout, files, found).items))


def _split(names: Sequence[str], parts: Sequence[Part]) -> FileSplit:
    """What the parts hold out, by their names."""
    of: Mapping[str, NDArray[np.bool_]] = {
        name: np.repeat(
            np.array([one == name for one in names]), [len(part.users) for part in parts]
        )
        for name in ("test", "valid")
    }
    return FileSplit(of["test"], is_valid=of["valid"] if of["valid"].any() else None)
