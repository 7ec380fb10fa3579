"""What a file's first lines show of its layout; what they do not show is asked for."""

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fedjax_rec.data.sources.files import Files
from fedjax_rec.data.sources.known import known_layouts
from fedjax_rec.data.sources.layouts import (
    JSON_LISTS,
    LIGHTGCN,
    MOVIELENS,
    MOVIELENS_DAT,
    PAIRS,
    SELFREC,
    SEPARATOR_WORDS,
    SEQUENCES,
    Layout,
)
from fedjax_rec.data.sources.names import roles_of
from fedjax_rec.data.sources.parquet import parquet_head
from fedjax_rec.data.sources.parts import parts_beside
from fedjax_rec.data.sources.texts import COMMENTS, QUOTED, cells
from fedjax_rec.errors import UserError

SEPARATORS = ("\t", "::", ",", ";", "|")
SAMPLE = 50
"""Lines that are looked at."""

EARLIEST = 1e8
"""Whole numbers from here on are times: seconds in 1973, and milliseconds and so on later."""

_SAY = "say which columns they are with --data.user and --data.item"


@dataclass(frozen=True)
class Columns:
    """What is said of a file's columns, each by name or by number from 1; empty: not said.

    Attributes:
      user: of users.
      item: of items.
      rating: of ratings, counts or whatever tells how much.
      time: of times.
      separator: between columns; `tab` and `blank` may be said in words.
    """

    user: str = ""
    item: str = ""
    rating: str = ""
    time: str = ""
    separator: str = ""

    def __bool__(self) -> bool:
        """Whether anything is said."""
        return any((self.user, self.item, self.rating, self.time, self.separator))


def guess(files: Files, member: str, said: Columns = Columns()) -> Layout:
    """The layout of a file, by what is said of its columns and by its first lines.

    Args:
      files: the folder or zip that holds it.
      member: its name there.
      said: of the columns.

    Raises:
      UserError: the lines do not show which columns are users and items, or are no text.
    """
    label, head = files.label(member), files.head(member)
    if head.startswith(b"PAR1"):
        return _named(parquet_head(files.read(member), label, SAMPLE), said, label, "parquet")
    if b"\0" in head:
        raise UserError(f"{label}: is no text; give a table of text, JSON or parquet")
    lines = [line for line in head.splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{label}: no events: the data set is empty; check the file")
    if lines[0].lstrip().startswith((b"{", b"[")):
        return _json(files, member, lines, said, label)
    lines = [line for line in lines if not line.lstrip().startswith(COMMENTS)]
    if not lines:
        raise UserError(f"{label}: no events: the data set is empty; check the file")
    separator = _separator(lines) if not said.separator else as_separator(said.separator)
    rows = _rows(lines, separator)
    if not (said.user or said.item) and separator == "":
        is_part = len(parts_beside(files, member, SEQUENCES)) > 1
        found = _blanks(rows, is_part=is_part)
        if found is not None:
            return found
    return _table(rows, separator, said, label)


def in_words(layout: Layout, label: str) -> str:
    """What was understood, in one line.

    >>> in_words(Layout(name="", summary="", header="names", user="u", item="i", time="t"), "f")
    "f: comma-separated table with a header: user 'u', item 'i', time 't'"
    """
    if layout.summary:
        return f"{label}: read as {layout.name} ({layout.summary})"
    kinds = {"parquet": "parquet", "json_lines": "JSON, an object a line", "lists": "lists"}
    what = kinds.get(layout.shape) or f"{SEPARATOR_WORDS[layout.separator]}-separated table"
    if layout.shape == "table":
        what += " with a header" if layout.header == "names" else " without a header"
    columns = ", ".join(
        f"{role} {column!r}" if isinstance(column, str) else f"{role} in column {column}"
        for role, column in layout.columns.items()
    )
    return f"{label}: {what}: {columns}"


def as_separator(text: str) -> str:
    r"""A separator as it is said on the command line.

    Raises:
      UserError: it is none.

    >>> as_separator("tab"), as_separator("\\t"), as_separator(";"), as_separator("blank")
    ('\t', '\t', ';', '')
    """
    words = {"tab": "\t", "\\t": "\t", "blank": "", "blanks": "", "space": "", " ": ""}
    words |= {"comma": ",", "semicolon": ";", "pipe": "|"}
    found = words.get(text, text)
    if found not in SEPARATOR_WORDS:
        raise UserError(
            f"data.separator: {text!r} is none; choose from tab, comma, semicolon, blank, '|', '::'"
        )
    return found


def _rows(lines: Sequence[bytes], separator: str) -> list[list[str]]:
    """The fields of the first lines; in quotes a field may go over several."""
    sample = lines[: SAMPLE + 1]
    if separator not in QUOTED or not any(b'"' in line for line in sample):
        return [cells(line, separator) for line in sample]
    text = b"\n".join(sample).decode("utf-8", "replace")
    found = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    whole = found[:-1] if len(found) > 1 and len(lines) > len(sample) else found
    return [[cell.strip() for cell in row] for row in whole]


def _separator(lines: Sequence[bytes]) -> str:
    """The one by which most lines have the same number of columns, two at least; else blanks."""
    best, most = "", 0.0
    for separator in SEPARATORS:
        rows = _rows(lines, separator)
        counts = Counter(map(len, rows))
        count, times = max(counts.items(), key=lambda one: (one[0] > 1, one[1]))
        share = times / len(rows)
        if count > 1 and share > most:
            best, most = separator, share
    return best if most >= 0.5 else ""


def _blanks(rows: Sequence[Sequence[str]], *, is_part: bool) -> Layout | None:
    """The layouts of published files with blanks; `None` where it is a table like others."""
    counts = {len(row) for row in rows}
    if {"user", "item"} <= set(roles_of(rows[0], "").keys()):
        return None
    if is_part:
        is_triple = counts == {3} and len({row[2] for row in rows}) == 1
        return SELFREC if is_triple else LIGHTGCN
    if counts == {2}:
        return PAIRS
    if len(counts) > 1 and min(counts) >= 2:
        return SEQUENCES
    return None


def _table(rows: Sequence[Sequence[str]], separator: str, said: Columns, label: str) -> Layout:
    first = list(rows[0])
    while first and not first[-1]:
        first = first[:-1]  # a separator at the end
    layout = Layout(name="", summary="", separator=separator)
    wanted = [column for column in (said.user, said.item, said.rating, said.time) if column]
    by_name = any(not column.isdigit() for column in wanted) or (
        not wanted and {"user", "item"} <= roles_of(first, label).keys()
    )
    if by_name:
        return replace(_named(_below(rows, first), said, label, "table"), separator=separator)
    if wanted:
        numbers = {role: int(getattr(said, role)) for role in _given(said)}
        return replace(layout, header=_header(rows, first), **numbers)  # type: ignore[arg-type]
    if _header(rows, first) == "names":
        raise UserError(
            f"{label}: which of the columns {', '.join(map(repr, first[:12]))} are users and items "
            f"does not show; {_SAY}"
        )
    return _by_place(rows, layout, label)


def _given(said: Columns) -> list[str]:
    if not (said.user and said.item):
        missing = "user" if not said.user else "item"
        raise UserError(f"data.{missing}: the column is missing; say it with --data.{missing}")
    return [role for role in ("user", "item", "rating", "time") if getattr(said, role)]


def _header(rows: Sequence[Sequence[str]], first: Sequence[str]) -> str:
    """`names` where the first line has a text above a column of numbers or dates, else `none`."""
    roles = roles_of(first, "")
    if {"user", "item"} <= roles.keys():
        return "names"
    for place, name in enumerate(first):
        below = [row[place] for row in rows[1:] if len(row) > place]
        if below and all(_is_number(text) for text in below) and not _is_number(name) and name:
            return "names"
    return "none"


def _named(columns: Mapping[str, Sequence[str]], said: Columns, label: str, shape: str) -> Layout:
    """By the names of columns: those that are said, or those that show where none is.

    Args:
      columns: name -> its first values.
      said: of the columns.
      label: what to call the file in errors.
      shape: of the layout.
    """
    layout = Layout(
        name="",
        summary="",
        shape=shape,  # type: ignore[arg-type]
        header="names",
    )
    if said.user or said.item or said.rating or said.time:
        roles = {role: getattr(said, role) for role in _given(said)}
        as_numbers = {
            role: int(column) if column.isdigit() and shape != "json_lines" else column
            for role, column in roles.items()
        }
        return replace(layout, **as_numbers)  # type: ignore[arg-type]
    found = roles_of(list(columns), label)
    if not {"user", "item"} <= found.keys():
        shown = ", ".join(map(repr, list(columns)[:12]))
        raise UserError(f"{label}: which of {shown} are users and items does not show; {_SAY}")
    return replace(layout, **_numeric(found, columns))  # type: ignore[arg-type]


def _below(rows: Sequence[Sequence[str]], names: Sequence[str]) -> dict[str, list[str]]:
    """Name -> what stands below it."""
    return {name: [row[i] for row in rows[1:] if len(row) > i] for i, name in enumerate(names)}


def _numeric(roles: Mapping[str, str], below: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Without ratings and times that are words, such as the kind of an event."""
    return {
        role: name
        for role, name in roles.items()
        if role in ("user", "item")
        or not all(below[name])
        or any(letter.isdigit() for text in below[name] for letter in text)
    }


def _by_place(rows: Sequence[Sequence[str]], layout: Layout, label: str) -> Layout:
    """Without names: user, item, and what numbers there are behind them."""
    count = Counter(len(row) for row in rows).most_common(1)[0][0]
    whole = [row for row in rows if len(row) == count]
    if count > 2 and not any(row[-1] for row in whole):
        whole, count = [row[:-1] for row in whole], count - 1
    kinds = [_kind([row[place] for row in whole]) for place in range(2, count)]
    shapes = {
        (): layout,
        ("number",): replace(layout, rating=3),
        ("time",): replace(layout, time=3),
        ("number", "time"): replace(layout, rating=3, time=4),
        ("number", "number"): replace(layout, rating=3, time=4),
        ("time", "number"): replace(layout, rating=4, time=3),
    }
    found = shapes.get(tuple(kinds))
    if found is None or count < 2:
        shown = layout.separator.join(rows[0])[:60] or " ".join(rows[0])[:60]
        raise UserError(
            f"{label}: lines such as {shown!r} do not show which columns are users and items; say "
            f"so with --data.user 1 --data.item 2, or name the layout with --data.layout: "
            f"{known_layouts()}"
        )
    titles = {"\t": MOVIELENS.titles, "::": MOVIELENS_DAT.titles}.get(layout.separator)
    return replace(found, titles=titles)


def _kind(texts: Sequence[str]) -> str:
    if all(_is_number(text) for text in texts):
        known = [abs(float(text)) for text in texts if float(text)]
        return "time" if known and min(known) >= EARLIEST else "number"
    is_date = all(text[:1].isalnum() and any(map(str.isdigit, text)) for text in texts)
    return "time" if is_date and any(mark in texts[0] for mark in "-/.: ") else "text"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _json(files: Files, member: str, lines: Sequence[bytes], said: Columns, label: str) -> Layout:
    if lines[0].lstrip().startswith(b"["):
        raise UserError(f"{label}: is a JSON list; write one object a line, or a table")
    entries = [entry for line in lines[:SAMPLE] if (entry := _object(line)) is not None]
    is_lists = all(isinstance(value, list) for entry in entries[:1] for value in entry.values())
    if is_lists and not said:
        return JSON_LISTS
    columns: dict[str, list[str]] = {}
    for entry in entries:
        for name, value in entry.items():
            columns.setdefault(name, []).append(str(value))
    return _named(columns, said, label, "json_lines")


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
