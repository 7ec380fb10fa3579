"""Features of people and films, for the formats that list them beside the events."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedjax_rec.data.sources.columns import (
    Column,
    check_choice,
    decode,
    floats,
    split_columns,
)
from fedjax_rec.data.sources.files import Files
from fedjax_rec.data.sources.recbole import read_atomic
from fedjax_rec.errors import UserError

GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
"""The flags of `u.item`, in its order."""


@dataclass(frozen=True)
class Features:
    """What is known of people, or of items.

    Attributes:
      names: of the features, F of them.
      rows: raw id -> `[F]` float32.
      label: the file, for errors.
    """

    names: tuple[str, ...]
    rows: Mapping[str, NDArray[np.float32]]
    label: str

    def of(self, raw_ids: Sequence[str] | NDArray[np.str_]) -> NDArray[np.float32]:
        """`[B, F]` the features of some raw ids.

        Raises:
          UserError: one of them is not listed.

        >>> Features(("age",), {"7": np.array([0.2])}, "f").of(["7", "7"]).tolist()
        [[0.2], [0.2]]
        """
        for raw_id in raw_ids:
            if raw_id not in self.rows:
                raise UserError(f"{self.label}: no line for {str(raw_id)!r}; add it")
        return np.array([self.rows[raw_id] for raw_id in raw_ids])


Reader = Callable[[Files, str], tuple[Features, Features]]


def movielens_features(files: Files, member: str) -> tuple[Features, Features]:
    """Features of people from `u.user` and of films from `u.item`, beside `u.data`.

    A person's are its age in hundreds of years and whether it is male, a film's the 19
    flags of its genres, by name.

    Raises:
      UserError: a listing is missing, or names the line that is wrong.
    """
    users, user_label = _listing(files, member, "u.user", 5, "id|age|gender|occupation|zip")
    items, item_label = _listing(files, member, "u.item", 24, "id|title|three more|19 genres")
    for flags in items[5:]:
        check_choice(flags, (b"0", b"1"), label=item_label, what="genre flag")
    genres = [
        {genre for genre, flag in zip(GENRES, line, strict=True) if flag == b"1"}
        for line in zip(*items[5:], strict=True)
    ]
    ids, ages, genders, *_ = users
    return _people(ids, ages, genders, user_label), _films(items[0], genres, item_label)


def recbole_features(files: Files, member: str) -> tuple[Features, Features]:
    """The same from `NAME.user` and `NAME.item`, beside `NAME.inter`.

    Raises:
      UserError: a listing is missing or lacks a column, or names the line that is wrong.
    """
    stem = member.removesuffix(".gz").removesuffix(".inter").rpartition("/")[2]
    users, user_label = _atomic(files, member, f"{stem}.user", ("user_id", "age", "gender"))
    items, item_label = _atomic(files, member, f"{stem}.item", ("item_id", "class"))
    genres = [set(decode(words).split()) for words in items[1]]
    ids, ages, genders = users
    people = _people(ids, ages, genders, user_label, first_line=2)
    return people, _films(items[0], genres, item_label)


def _people(
    ids: Column, ages: Column, genders: Column, label: str, first_line: int = 1
) -> Features:
    years = floats(ages, label=label, what="age", lines=first_line)
    check_choice(genders, (b"M", b"F"), label=label, what="gender", lines=first_line)
    rows = np.stack([years / 100, [gender == b"M" for gender in genders]], axis=1)
    listed = dict(zip(map(decode, ids), rows.astype(np.float32), strict=True))
    return Features(("age / 100", "is male"), listed, label)


def _films(ids: Column, genres: Sequence[set[str]], label: str) -> Features:
    names = tuple(sorted(set().union(*genres)))  # by name: files order them differently
    rows = np.array([[name in found for name in names] for found in genres], np.float32)
    return Features(names, dict(zip(map(decode, ids), rows, strict=True)), label)


def _listing(
    files: Files, member: str, name: str, num_columns: int, expected: str
) -> tuple[list[Column], str]:
    found = _beside(files, member, name)
    label = files.label(found)
    return split_columns(
        files.read(found), num_columns, label=label, expected=expected, separator=b"|"
    ), label


def _atomic(
    files: Files, member: str, name: str, wanted: tuple[str, ...]
) -> tuple[list[Column], str]:
    found = _beside(files, member, name)
    columns, label = read_atomic(files, found), files.label(found)
    for field in wanted:
        if field not in columns:
            raise UserError(f"{label}, line 1: no column {field!r}, which records need")
    return [columns[field] for field in wanted], label


def _beside(files: Files, member: str, name: str) -> str:
    found = files.beside(member, name)
    if found is None:
        raise UserError(
            f"{files.label(member)}: no {name} beside it; records need it for their features"
        )
    return found
