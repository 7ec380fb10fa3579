"""Targets with their histories, parted by time, as published with MiniOneRec.

Format: the folder data/Amazon of https://github.com/AkaliKong/MiniOneRec
"""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from fedjax_rec.data.interactions import FileSplit, Interactions, from_events
from fedjax_rec.data.sources.engine import places
from fedjax_rec.data.sources.files import Files, open_files
from fedjax_rec.errors import UserError

FIELDS = ("user_id", "history_item_id", "item_id")
PARTS = ("train", "valid", "test")


def read_minionerec(files: Files, member: str, name: str) -> Interactions:
    """Reads `valid/NAME.csv` and `test/NAME.csv`, and `train/NAME.csv` where there is one.

    A line is a target with up to ten items that its user had before. An item of a user is a test
    item where a line of `test` has it as its target, a validation item where a line of `valid`
    has, and is trained on otherwise. Events are in the order in which the lines tell them:
    files from train to test, line by line, history before target, each item of a user once.

    Args:
      files: the folder that holds one of the files.
      member: its name there.
      name: the data set's name.

    Returns:
      The events, with the files' hold-out and places in time for times (`is_order_only`).

    Raises:
      UserError: no such files, or names the line without the columns or without a list.
    """
    own = member.rpartition("/")[2]
    root = files.where.parent
    part_of: dict[tuple[str, str], int] = {}
    found = 0
    for number, part in enumerate(PARTS):
        folder = root / part
        place = next((folder / one for one in _spellings(own) if (folder / one).is_file()), None)
        if place is None:
            continue
        found += 1
        for user, history, target in _lines(place):
            for item in history:
                part_of.setdefault((user, item), 0)
            part_of[user, target] = max(part_of.get((user, target), 0), number)
    if not found:
        raise UserError(
            f"{files.label(member)}: lies in no folder train, valid or test; put it there"
        )
    users, items = zip(*part_of, strict=True)
    events = from_events(users, items, name=name, where=files.label(member))
    parts = np.fromiter(part_of.values(), np.int64, len(part_of))
    return replace(
        events,
        times=places(events.users),
        is_order_only=True,
        file_split=FileSplit(parts == 2, is_valid=parts == 1),
    )


def _spellings(name: str) -> tuple[str, str]:
    plain = name.removesuffix(".gz")
    return plain, f"{plain}.gz"


def _lines(place: Path) -> Iterator[tuple[str, list[str], str]]:
    """User, history and target of each line."""
    text = open_files(place.parent).read(place.name).decode("utf-8", "replace")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if not set(FIELDS) <= set(reader.fieldnames or ()):
        raise UserError(f"{place}, line 1: no header with {', '.join(FIELDS)}; add it")
    for row in reader:
        try:
            history = json.loads(row["history_item_id"])
            if not all(isinstance(item, int) for item in history):
                raise ValueError
        except (TypeError, ValueError):
            shown = str(row["history_item_id"])[:40]
            raise UserError(
                f"{place}, line {reader.line_num}: {shown!r} is no list of item ids; mend or "
                "remove the line"
            ) from None
        yield row["user_id"], list(map(str, history)), row["item_id"]
