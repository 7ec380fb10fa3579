"""A line a user: its id, then the items it has."""

import numpy as np

from fedjax_rec.data.sources.columns import Column
from fedjax_rec.data.sources.layouts import Layout
from fedjax_rec.data.sources.texts import Table
from fedjax_rec.errors import UserError


def read_lists(content: bytes, layout: Layout, label: str) -> Table:
    r"""Users and items of lines of `user item item ...`, between blanks or another separator.

    Where order is time, a user with two lines is refused, for which came first is not said.

    Args:
      content: the file.
      layout: of the shape `lists`.
      label: what to call the file in errors.

    Raises:
      UserError: no lines, or names the line of a user without items, or of one who has a line.

    >>> from fedjax_rec.data.sources.layouts import SEQUENCES
    >>> read_lists(b"7 30 4\n", SEQUENCES, "f").columns
    {'user': [b'7', b'7'], 'item': [b'30', b'4']}
    """
    separator = layout.separator.encode() or None
    users: Column = []
    counts: list[int] = []
    items: Column = []
    numbers: list[int] = []
    num_without = num_blank = 0
    first_line: dict[bytes, int] = {}
    for number, line in enumerate(content.splitlines(), 1):
        user, *sequence = line.split(separator) or [b""]
        if not user and not sequence:
            num_blank += 1
            continue
        if sequence and not sequence[-1].strip():
            sequence.pop()
        if first_line.setdefault(user, number) != number and layout.is_ordered:
            raise UserError(
                f"{label}, line {number}: user {user.decode('utf-8', 'replace')[:40]!r} has line "
                f"{first_line[user]} already; join the two"
            )
        if not sequence:
            num_without += 1
            if layout.is_ordered:
                raise UserError(f"{label}, line {number}: a user without items; remove the line")
            continue
        users.append(user)
        counts.append(len(sequence))
        items += sequence
        numbers.append(number)
    if not items:
        raise UserError(f"{label}: no events: the data set is empty; check the file")
    repeated = np.repeat(np.arange(len(users)), counts)
    passed_over = {"blank lines": num_blank, "lines of users without items": num_without}
    return Table(
        {"user": [users[i] for i in repeated], "item": items},
        np.array(numbers)[repeated].tolist(),
        passed_over={what: count for what, count in passed_over.items() if count},
    )
