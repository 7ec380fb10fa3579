"""A fixed hold-out of implicit feedback, as published with DisenCDR: `train.txt`, `test.txt`.

Format: the dataset folder of https://github.com/cjx96/DisenCDR
"""

from dataclasses import replace

import numpy as np

from fedjax_rec.data.interactions import FileSplit, Interactions, from_events
from fedjax_rec.data.sources.columns import Column, floats, split_columns, whole_ids
from fedjax_rec.data.sources.files import VALIDATION_PARTS, Files
from fedjax_rec.errors import UserError


def read_disencdr(files: Files, member: str, name: str) -> Interactions:
    """Reads `train.txt` and `test.txt`: lines of user, item and 1, between tabs; no times.

    What is held out is `test.txt`, as in the paper's code. A `test_original.txt` beside it
    holds items that nobody trains on as well; of these only the ids are read, for they are
    part of the catalogue.

    Args:
      files: the folder or zip that holds them.
      member: the name of `train.txt` in it.
      name: the data set's name.

    Returns:
      Training events, then test events, each in their file's order, with the files'
      hold-out.

    Raises:
      UserError: no `test.txt`, or a `valid.txt` that would be left out; or names file and
        line of an id that is not a whole number >= 0, of a value that is not finite, or of a
        line without three columns.
    """
    label = files.label(member)
    test_member = files.beside(member, "test.txt")
    if test_member is None:
        raise UserError(f"{label}: no test.txt beside it; put it there")
    files.refuse_left_out(member, [f"{name}.txt" for name in VALIDATION_PARTS])
    users, items, values = _columns(files, member)
    test_users, test_items, test_values = _columns(files, test_member)
    original = files.beside(member, "test_original.txt")
    events = from_events(
        users + test_users,
        items + test_items,
        floats(values, label=label, what="value").tolist()
        + floats(test_values, label=files.label(test_member), what="value").tolist(),
        name=name,
        catalogue=() if original is None else set(_columns(files, original)[1]),
        where=label,
    )
    return replace(events, file_split=FileSplit(np.arange(events.num_events) >= len(users)))


def _columns(files: Files, member: str) -> list[Column]:
    label = files.label(member)
    columns = split_columns(files.read(member), 3, label=label, expected="user, item, 1")
    users = whole_ids(columns[0], label=label, what="user id")
    items = whole_ids(columns[1], label=label, what="item id")
    return [users, items, columns[2]]
