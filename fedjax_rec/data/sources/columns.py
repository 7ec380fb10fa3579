"""Separated text, read by columns: fast, and exact about the line that is wrong."""

from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from fedjax_rec.data.labels import LONGEST, bare, is_missing
from fedjax_rec.errors import UserError

Column = list[bytes]
Lines = Sequence[int] | int
"""The number of each entry's line, or of the first where they follow each other."""

SEPARATORS = {b"\t": "tab", b",": "comma", b"::": "'::'", b"|": "'|'", b";": "semicolon"}
"""Separator -> what errors call it."""

_LARGEST = float(np.finfo(np.float32).max)
_MEND = "mend or remove the line"
_POINT = "write a decimal point, and nothing between thousands"


def split_columns(
    content: bytes,
    num_columns: int,
    *,
    label: str,
    expected: str,
    first_line: int = 1,
    separator: bytes = b"\t",
) -> list[Column]:
    r"""The columns of a text; blank lines at its end are dropped.

    Args:
      content: lines, without a header.
      num_columns: columns each line has to have.
      label: what to call the file in errors.
      expected: what the columns should be, for errors.
      first_line: number of the first line of `content` in its file.
      separator: what stands between columns, one of `SEPARATORS`.

    Raises:
      UserError: no lines, or one with another number of columns.

    >>> split_columns(b"1\t5\n2\t4\n", 2, label="f", expected="user item")
    [[b'1', b'2'], [b'5', b'4']]
    """
    lines = content.rstrip(b"\r\n").splitlines()
    if not lines:
        raise UserError(f"{label}: no events: the data set is empty; check the file")
    for number, line in enumerate(lines, first_line):
        found = line.count(separator) + 1
        if found != num_columns:
            raise UserError(
                f"{label}, line {number}: {found} {SEPARATORS[separator]}-separated columns "
                f"instead of {num_columns} ({expected}); mend or remove the line"
            )
    fields = separator.join(lines).split(separator)
    return [fields[i::num_columns] for i in range(num_columns)]


def floats(column: Column, *, label: str, what: str, lines: Lines = 1) -> NDArray[np.float64]:
    """A column of numbers that are finite in float32.

    Raises:
      UserError: names the first line that holds something else.

    >>> floats([b"1", b"2.5"], label="f", what="rating")
    array([1. , 2.5])
    """
    try:
        numbers = np.fromiter(map(float, column), np.float64, len(column))
        if (np.abs(numbers) <= _LARGEST).all():
            return numbers
    except (ValueError, OverflowError):
        pass
    mend = _POINT if any(b"," in field for field in column) else _MEND
    return _refuse_first(column, _is_finite, "a finite float32 number", label, what, lines, mend)


def whole_ids(column: Column, *, label: str, what: str, lines: Lines = 1) -> Column:
    """Raw ids that have to be whole numbers, without blanks around them.

    Raises:
      UserError: names the first line whose id is another text.

    >>> whole_ids([b"7", b" 12"], label="f", what="user id")
    [b'7', b'12']
    """
    column = _stripped(column)
    _check_each(column, _is_whole, "a whole number >= 0", label, what, lines)
    return column


def text_ids(
    column: Column,
    *,
    label: str,
    what: str,
    lines: Lines = 1,
) -> Column:
    """Raw ids that may be any text, without blanks around them.

    Args:
      column: the ids.
      label: what to call the file in errors.
      what: what to call an id in errors.
      lines: number of each id's line, or of the first where they follow each other.

    Raises:
      UserError: names the first line whose id is empty, another word for a missing value, not
        UTF-8, or too long.

    >>> text_ids([b"ann", b" ann", b"7"], label="f", what="user id")
    [b'ann', b'ann', b'7']
    """
    column = _stripped(column)
    _check_each(column, _is_text, "UTF-8 text", label, what, lines, "save the file as UTF-8")
    _check_each(column, _is_short, f"of at most {LONGEST} characters", label, what, lines)
    _check_each(column, _is_id, "an id but a missing value", label, what, lines)
    return column


def _stripped(column: Column) -> Column:
    """Without blanks at the ends, those of other scripts included."""
    changed = {}
    for field in set(column):
        stripped = field.strip() if field.isascii() else _strip_text(field)
        if stripped != field:
            changed[field] = stripped
    return [changed.get(field, field) for field in column] if changed else column


def _strip_text(field: bytes) -> bytes:
    try:
        return bare(field.decode()).encode()
    except UnicodeDecodeError:
        return field.strip()


def check_choice(
    column: Column, choices: tuple[bytes, ...], *, label: str, what: str, lines: Lines = 1
) -> None:
    """Checks a column that may hold a few values.

    Raises:
      UserError: names the first line that holds something else.

    >>> check_choice([b"M", b"F"], (b"M", b"F"), label="f", what="gender")
    """
    should_be = b" or ".join(choices).decode()
    _check_each(column, choices.__contains__, should_be, label, what, lines)


def decode(text: bytes) -> str:
    """Text for people to read: UTF-8, or latin-1 where it is not.

    >>> decode("Café".encode()), decode("Café".encode("latin-1"))
    ('Café', 'Café')
    """
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _check_each(
    column: Column,
    is_valid: Callable[[bytes], bool],
    should_be: str,
    label: str,
    what: str,
    lines: Lines,
    mend: str = _MEND,
) -> None:
    if not all(map(is_valid, set(column))):  # each distinct one once
        _refuse_first(column, is_valid, should_be, label, what, lines, mend)


def _is_whole(field: bytes) -> bool:
    return field.isdigit() and len(field) <= LONGEST


def _is_text(field: bytes) -> bool:
    try:
        field.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_short(field: bytes) -> bool:
    return len(field.decode()) <= LONGEST


def _is_id(field: bytes) -> bool:
    return b"\0" not in field and not is_missing(field.decode())


def _is_finite(field: bytes) -> bool:
    try:
        number = float(field)
    except ValueError:
        return False
    return abs(number) <= _LARGEST


def _refuse_first(
    column: Sequence[bytes],
    is_valid: Callable[[bytes], bool],
    should_be: str,
    label: str,
    what: str,
    lines: Lines,
    mend: str,
) -> NoReturn:
    row = next(row for row, field in enumerate(column) if not is_valid(field))
    shown = column[row][:40].decode("utf-8", "replace")
    line = lines + row if isinstance(lines, int) else lines[row]
    raise UserError(f"{label}, line {line}: {what} {shown!r} is not {should_be}; {mend}")
