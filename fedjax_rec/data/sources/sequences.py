"""Events in order of time, without times: pairs line by line, or a person's items in one line.

Formats: https://github.com/kang205/SASRec and https://github.com/RUCAIBox/CIKM2020-S3Rec
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedjax_rec.data.interactions import Interactions, from_events
from fedjax_rec.data.sources.columns import Column, text_ids
from fedjax_rec.data.sources.files import Files
from fedjax_rec.errors import UserError


def read_pairs(files: Files, member: str, name: str) -> Interactions:
    """Reads lines of `user item`, between blanks or tabs; of a user's lines the last is latest.

    Args:
      files: the folder or zip that holds the file.
      member: its name there.
      name: the data set's name.

    Returns:
      The events in the file's order, with places in time for times (`is_order_only`).

    Raises:
      UserError: names the line that has other than two columns, or an id that is none.
    """
    label = files.label(member)
    users: Column = []
    items: Column = []
    lines: list[int] = []
    for number, fields in _lines(files.read(member), label):
        if len(fields) != 2:
            raise UserError(
                f"{label}, line {number}: {len(fields)} columns instead of 2 (user, item); mend "
                "or remove the line"
            )
        users.append(fields[0])
        items.append(fields[1])
        lines.append(number)
    return in_order(users, items, lines, label=label, name=name)


def read_sequences(files: Files, member: str, name: str) -> Interactions:
    """Reads lines of `user item item item ...`, between blanks or tabs, a person's oldest first.

    A user with two lines is refused, for which came first is not said.

    Args:
      files: the folder or zip that holds the file.
      member: its name there.
      name: the data set's name.

    Returns:
      The events in the file's order, with places in time for times (`is_order_only`).

    Raises:
      UserError: names the line without an item, of a user who has one already, or with an id
        that is none.
    """
    label = files.label(member)
    first_line: dict[bytes, int] = {}
    users: Column = []
    items: Column = []
    lines: list[int] = []
    for number, (user, *sequence) in _lines(files.read(member), label):
        if not sequence:
            raise UserError(f"{label}, line {number}: a user without items; remove the line")
        if first_line.setdefault(user, number) != number:
            raise UserError(
                f"{label}, line {number}: user {user.decode('utf-8', 'replace')[:40]!r} has line "
                f"{first_line[user]} already; join the two"
            )
        users += [user] * len(sequence)
        items += sequence
        lines += [number] * len(sequence)
    return in_order(users, items, lines, label=label, name=name)


def in_order(
    users: Column, items: Column, lines: list[int], *, label: str, name: str
) -> Interactions:
    """Events whose order is all that is known of their times.

    Args:
      users: raw ids, checked here.
      items: likewise.
      lines: of each event, for errors.
      label: what to call the file in errors.
      name: the data set's name.

    >>> events = in_order([b"a", b"b", b"a"], [b"x"] * 3, [1, 2, 3], label="f", name="mine")
    >>> events.times.tolist(), events.is_order_only
    ([1, 1, 2], True)
    """
    events = from_events(
        text_ids(users, label=label, what="user id", lines=lines),
        text_ids(items, label=label, what="item id", lines=lines),
        name=name,
        where=label,
    )
    return replace(events, times=places(events.users), is_order_only=True)


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


def _lines(content: bytes, label: str) -> list[tuple[int, list[bytes]]]:
    """Number and fields of every line that holds any."""
    numbered = ((number, line.split()) for number, line in enumerate(content.splitlines(), 1))
    found = [(number, fields) for number, fields in numbered if fields]
    if not found:
        raise UserError(f"{label}: no events: the data set is empty; check the file")
    return found
