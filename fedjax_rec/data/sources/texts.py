"""Columns of a separated text: by array operations where it is all numbers, else line by line."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from fedjax_rec.data.sources.columns import Column, Lines, split_columns
from fedjax_rec.data.sources.layouts import SEPARATOR_WORDS, Layout
from fedjax_rec.data.sources.names import role_of
from fedjax_rec.data.sources.numbers import Numbers, read_numbers
from fedjax_rec.errors import UserError, did_you_mean

COMMENTS = (b"#", b"%", b"//")
_COMMENT = re.compile(rb"^[ \t]*(?:#|%|//)", re.MULTILINE)
QUOTED = (",", ";", "|", "\t")
"""Separators of tables whose fields may stand in quotes."""


@dataclass(frozen=True)
class Table:
    """Some columns of a file.

    Attributes:
      columns: role -> its texts, or its numbers.
      lines: number of each entry's line; a number where they follow each other from there.
      unused: names of the columns that no role has.
      passed_over: what was not read, and how often.
    """

    columns: dict[str, Column | Numbers]
    lines: Lines
    unused: tuple[str, ...] = ()
    passed_over: dict[str, int] = field(default_factory=dict)


def read_table(content: bytes, layout: Layout, label: str) -> Table:
    r"""The columns that a layout names.

    Args:
      content: the file, without a byte-order mark.
      layout: of the shape `table`.
      label: what to call the file in errors.

    Raises:
      UserError: no lines, a column that is not there, or names the line with a wrong number
        of them.

    >>> layout = Layout(name="mine", summary="", header="names", user="u", item="i")
    >>> read_table(b"i,x,u\n5,0,ann\n", layout, "f").columns
    {'user': [b'ann'], 'item': [b'5']}
    """
    body, first_line, names = part_header(content, layout, label)
    num_columns = len(names) or layout.num_columns or _num_columns(body, layout)
    places = _places(layout, names, num_columns, label, first_line - 1)
    unused = tuple(names[i] for i in range(len(names)) if i not in places.values())
    wanted = tuple(places.values())
    ids = tuple(places[role] for role in ("user", "item"))
    separator = (layout.separator or " ").encode()
    numbers = read_numbers(body, num_columns, separator, wanted, ids)
    if numbers is not None:
        return Table(dict(zip(places, numbers, strict=True)), first_line, unused)
    if layout.is_strict and not (layout.separator == "," and b'"' in body):
        expected = ", ".join(names) if layout.header == "typed" else _expected(layout)
        columns = split_columns(
            body,
            num_columns,
            label=label,
            expected=expected,
            first_line=first_line,
            separator=separator,
        )
        return Table({role: columns[i] for role, i in places.items()}, first_line, unused)
    if (plain := _plain_columns(body, layout, num_columns)) is not None:
        return Table({role: plain[i] for role, i in places.items()}, first_line, unused)
    return _lenient(body, layout, num_columns, places, label, first_line, unused)


def cells(line: bytes, separator: str) -> list[str]:
    r"""The fields of one line, without quotes and blanks around them.

    >>> cells(b'"User-ID";"ISBN" \n', ";"), cells(b"1  2\t3", "")
    (['User-ID', 'ISBN'], ['1', '2', '3'])
    """
    text = line.decode("utf-8", "replace").strip("\r\n")
    if not separator:
        return text.split()
    if separator in QUOTED:
        try:
            found = next(csv.reader([text], delimiter=separator), [])
        except csv.Error:
            found = text.split(separator)
    else:
        found = text.split(separator)
    return [cell.strip().strip("\ufeff") for cell in found]


def _expected(layout: Layout) -> str:
    words = dict(zip(("user", "item", "rating", "time"), layout.words, strict=True))
    return ", ".join(words[role].removesuffix(" id") for role in layout.columns)


def part_header(content: bytes, layout: Layout, label: str) -> tuple[bytes, int, list[str]]:
    """The text behind the header, the number of its first line, and the columns' names."""
    if layout.header == "none":
        return content, 1, []
    start, number = 0, 1
    while not layout.is_strict and _is_passed_over(_line_at(content, start)):
        following = content.find(b"\n", start) + 1
        if not following:
            break
        start, number = following, number + 1
    line = _line_at(content, start)
    names = cells(line, layout.separator)
    if layout.header == "maybe" and not looks_like_header(names, layout):
        return content, 1, []
    if layout.header == "typed":
        names = _typed(names, label)
    while names and not names[-1] and not layout.is_strict:
        names = names[:-1]  # a separator at the end of every line
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(
            f"{label}, line {number}: {twice.count(twice[0])} columns are called {twice[0]!r}; "
            "rename or remove all but one"
        )
    return content[start + len(line) + 1 :], number + 1, names


def looks_like_header(names: Sequence[str], layout: Layout) -> bool:
    """Whether a first line names columns: no number stands where the layout has numbers.

    Without a column of numbers, whether it names one of users and one of items.

    >>> layout = Layout(name="x", summary="", rating=3)
    >>> looks_like_header(["u", "i", "r"], layout), looks_like_header(["u", "i", "4"], layout)
    (True, False)
    """
    numeric = [getattr(layout, role) for role in ("rating", "time")]
    places = [i - 1 for i in numeric if isinstance(i, int) and i <= len(names)]
    if layout.has_whole_ids:
        places = [0, 1]
    if places:
        return not any(_is_value(names[i]) for i in places if i < len(names)) and len(names) > 1
    return {"user", "item"} <= {role_of(name) for name in names}


def _is_value(text: str) -> bool:
    """A number, a missing one, or a date."""
    return not text or any(letter.isdigit() for letter in text[:4]) or text[0] in "-+."


def _typed(names: list[str], label: str) -> list[str]:
    if not all(":" in name for name in names):
        raise UserError(
            f"{label}, line 1: {names[0][:40] if names else ''!r} is not a typed header of "
            "tab-separated fields such as user_id:token; add the header line"
        )
    return [name.split(":", 1)[0].strip() for name in names]


def _line_at(content: bytes, start: int) -> bytes:
    end = content.find(b"\n", start)
    return content[start : end if end >= 0 else len(content)]


def _is_passed_over(line: bytes) -> bool:
    stripped = line.strip()
    return not stripped or stripped.startswith(COMMENTS)


def _num_columns(body: bytes, layout: Layout) -> int:
    """How many columns the first lines have; an empty one behind each of them is none."""
    counts = []
    for line in body[:100_000].splitlines()[:20]:
        if not _is_passed_over(line):
            found = cells(line, layout.separator)
            counts.append((len(found), bool(found and not found[-1])))
    if not counts:
        return 2
    most = max(count for count, _ in counts)
    return most - 1 if all(is_empty for _, is_empty in counts) else most


def _places(
    layout: Layout, names: Sequence[str], num_columns: int, label: str, line: int
) -> dict[str, int]:
    """Role -> where its column is, from 0."""
    found: dict[str, int] = {}
    for role, column in layout.columns.items():
        if layout.is_strict and isinstance(column, str):
            column = next((name for name in names if name.lower() == column.lower()), column)
        if isinstance(column, str) and column in names:
            found[role] = list(names).index(column)
        elif isinstance(column, str):
            if layout.is_strict and role in ("rating", "time"):
                continue
            raise UserError(_no_column(layout, role, column, names, label, line))
        elif column > num_columns:
            raise UserError(
                f"{label}: no column {column} for data.{role}: a line has {num_columns} "
                f"{SEPARATOR_WORDS.get(layout.separator, layout.separator)}-separated ones; name "
                "another, or say --data.separator"
            )
        else:
            found[role] = column - 1
    return found


def _no_column(
    layout: Layout, role: str, column: str, names: Sequence[str], label: str, line: int
) -> str:
    if layout.header == "typed":
        return (
            f"{label}, line 1: no column {column!r}; "
            "the header of an .inter file begins user_id:token<tab>item_id:token"
        )
    if not names:
        return (
            f"{label}: no column {column!r} for data.{role}: its first line is no header; give the "
            "column's number, from 1"
        )
    shown = ", ".join(map(repr, names[:12]))
    return (
        f"{label}, line {line}: no column {column!r} for data.{role}"
        f"{did_you_mean(column, names)}; it has {shown}"
    )


def _plain_columns(body: bytes, layout: Layout, num_columns: int) -> list[Column] | None:
    """The columns at once; `None` where a line is no plain event: blank, a comment, in quotes."""
    separator = layout.separator.encode()
    if not separator or (layout.separator in QUOTED and b'"' in body) or _COMMENT.search(body):
        return None
    lines = body.rstrip(b"\r\n").splitlines()
    if not lines or any(line.count(separator) != num_columns - 1 for line in lines):
        return None
    if num_columns == 1 or (num_columns == 2 and separator.isspace()):
        return None  # a blank line would pass for an event
    fields = separator.join(lines).split(separator)
    return [fields[i::num_columns] for i in range(num_columns)]


def _lenient(
    body: bytes,
    layout: Layout,
    num_columns: int,
    places: dict[str, int],
    label: str,
    first_line: int,
    unused: tuple[str, ...],
) -> Table:
    """Line by line: quotes, blank lines, lines of comment and separators at the end of lines."""
    rows: list[Sequence[bytes]] = []
    lines: list[int] = []
    passed_over: dict[str, int] = {}
    for number, row in _rows(body, layout, label, first_line, passed_over):
        if len(row) == num_columns + 1 and not row[-1].strip():
            row = row[:-1]
        if len(row) != num_columns:
            raise UserError(
                f"{label}, line {number}: {len(row)} "
                f"{SEPARATOR_WORDS.get(layout.separator, repr(layout.separator))}-separated "
                f"columns instead of {num_columns} ({_expected(layout)}"
                f"{', ...' if num_columns > len(places) else ''}); mend or remove the line"
            )
        rows.append(row)
        lines.append(number)
    if not rows:
        raise UserError(f"{label}: no events: the data set is empty; check the file")
    columns = list(zip(*rows, strict=True))
    return Table({role: list(columns[i]) for role, i in places.items()}, lines, unused, passed_over)


def _rows(
    body: bytes, layout: Layout, label: str, first_line: int, passed_over: dict[str, int]
) -> Iterator[tuple[int, Sequence[bytes]]]:
    """Number and fields of each line that is no blank or comment; those are counted."""
    if layout.separator in QUOTED and b'"' in body:
        yield from _quoted(body, layout, label, first_line, passed_over)
        return
    separator = layout.separator.encode() or None
    for number, line in enumerate(body.splitlines(), first_line):
        if _is_passed_over(line):
            _count(line, passed_over)
        else:
            yield number, line.split(separator)


def _quoted(
    body: bytes, layout: Layout, label: str, first_line: int, passed_over: dict[str, int]
) -> Iterator[tuple[int, Sequence[bytes]]]:
    # What is not UTF-8 goes through unchanged, to be refused as an id, with its line.
    stream = io.StringIO(body.decode("utf-8", "surrogateescape"), newline="")
    reader = csv.reader(stream, delimiter=layout.separator, strict=True)
    before = 0
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(
                f"{label}, line {first_line + before}: a quote is not closed, or a field is too "
                f"long ({error}); mend or remove the line"
            ) from error
        number, before = first_line + before, reader.line_num
        raw = [cell.encode("utf-8", "surrogateescape") for cell in row]
        if _is_passed_over(layout.separator.encode().join(raw)):
            _count(raw[0] if raw else b"", passed_over)
        else:
            yield number, raw


def _count(line: bytes, passed_over: dict[str, int]) -> None:
    what = "lines of comment" if line.strip() else "blank lines"
    passed_over[what] = passed_over.get(what, 0) + 1


def as_texts(column: Column | Numbers) -> Column:
    """A column as texts.

    >>> as_texts(np.array([7, 12])), as_texts([b"a"])
    ([b'7', b'12'], [b'a'])
    """
    if isinstance(column, np.ndarray):
        return [str(number).encode() for number in column.tolist()]
    return column
