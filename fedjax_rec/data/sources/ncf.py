"""A fixed hold-out with candidates, as published with Neural Collaborative Filtering.

Format: https://github.com/hexiangnan/neural_collaborative_filtering
"""

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedjax_rec.data.interactions import FileSplit, Interactions, from_events
from fedjax_rec.data.sources.engine import read_part
from fedjax_rec.data.sources.files import VALIDATION_PARTS, Files
from fedjax_rec.data.sources.layouts import MOVIELENS
from fedjax_rec.data.sources.texts import as_texts
from fedjax_rec.errors import UserError

_TRAIN = ".train.rating"
_KEY = re.compile(rb"\(\s*(\d+)\s*,\s*(\d+)\s*\)")


def read_ncf(files: Files, member: str, name: str) -> Interactions:
    """Reads `NAME.train.rating`, `NAME.test.rating` and, if there, `NAME.test.negative`.

    The first two hold user, item, rating and time between tabs; a time of 0 is unknown. A
    line of the third is `(user,item)` of a test event, then the items to rank it among.
    These are kept as they are: for 156 of the 6,040 users of ml-1m the test item is among
    its own candidates, and `data.hold_out` takes it out of them.

    Args:
      files: the folder or zip that holds them.
      member: the name of the training file in it.
      name: the data set's name.

    Returns:
      Training events, then test events, each in their file's order, with the files'
      hold-out.

    Raises:
      UserError: no test file; or names file and line of an id that is not a whole number
        >= 0, of a rating or time that is not finite, of a line without four columns, or of
        candidates that belong to no test event.
    """
    label, stem = files.label(member), member.rsplit("/", 1)[-1].removesuffix(".gz")
    stem = stem.removesuffix(_TRAIN)
    test_member = files.beside(member, f"{stem}.test.rating")
    if test_member is None:
        raise UserError(f"{label}: no {stem}.test.rating beside it; put it there")
    files.refuse_left_out(member, [f"{stem}.{part}.rating" for part in VALIDATION_PARTS])
    train, test = (read_part(MOVIELENS, files, one) for one in (member, test_member))
    users, items = as_texts(test.users), as_texts(test.items)
    listing = files.beside(member, f"{stem}.test.negative")
    lists = {}
    if listing is not None:
        lists = _candidate_lists(files.read(listing), files.label(listing), users, items)
    events = from_events(
        as_texts(train.users) + users,
        as_texts(train.items) + items,
        np.append(train.values, test.values),  # type: ignore[arg-type]
        np.append(train.times, test.times),  # type: ignore[arg-type]
        name=name,
        catalogue={item for items in lists.values() for item in items},
        where=label,
    )
    is_test = np.arange(events.num_events) >= len(train.users)
    return replace(events, file_split=FileSplit(is_test, _table(events, lists)))


def _candidate_lists(
    content: bytes, label: str, users: list[bytes], items: list[bytes]
) -> dict[bytes, list[bytes]]:
    """User -> the items listed for its test events."""
    tested = set(zip(users, items, strict=True))
    lists: dict[bytes, list[bytes]] = {}
    for number, line in enumerate(content.rstrip(b"\r\n").splitlines(), 1):
        key, *others = map(bytes.strip, line.split(b"\t"))
        match = _KEY.fullmatch(key)
        if match is None or match.groups() not in tested:
            shown = key[:40].decode("utf-8", "replace")
            raise UserError(
                f"{label}, line {number}: {shown!r} is not the (user,item) of a test event; "
                "mend or remove the line"
            )
        if not all(map(bytes.isdigit, others)):
            raise UserError(
                f"{label}, line {number}: a candidate is not a whole number >= 0; "
                "mend or remove the line"
            )
        lists.setdefault(match[1], []).extend(others)
    return lists


def _table(events: Interactions, lists: Mapping[bytes, list[bytes]]) -> NDArray[np.int32] | None:
    """`[N, K]` dense ids of the listed items, padded with the number of items."""
    if not lists:
        return None
    number = {label: i for i, label in enumerate(events.item_labels.tolist())}
    table = np.full((events.num_users, max(map(len, lists.values()))), len(number), np.int32)
    for row, user in zip(table, events.user_labels.tolist(), strict=True):
        listed = lists.get(user.encode(), [])
        row[: len(listed)] = [number[item.decode()] for item in listed]
    return table
