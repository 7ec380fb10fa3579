"""Separated text, read by columns: fast, and exact about the line that is wrong."""

from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from fedjax_rec.errors import UserError

Column = list[bytes]
_LARGEST = float(np.finfo(np.float32).max)


def split_columns(
    content: bytes, num_columns: int, *, label: str, expected: str, first_line: int = 1
) -> list[Column]:
    r"""The tab-separated columns of a text; blank lines at its end are dropped.

    Args:
      content: lines, without a header.
      num_columns: columns each line has to have.
      label: what to call the file in errors.
      expected: what the columns should be, for errors.
      first_line: number of the first line of `content` in its file.

    Raises:
      UserError: no lines, or one with another number of columns.

    >>> split_columns(b"1\t5\n2\t4\n", 2, label="f", expected="user item")
    [[b'1', b'2'], [b'5', b'4']]
    """
    lines = content.rstrip(b"\r\n").splitlines()
    if not lines:
        raise UserError(f"{label}: no events: the data set is empty; check the file")
    for number, line in enumerate(lines, first_line):
        found = line.count(b"\t") + 1
        if found != num_columns:
            raise UserError(
                f"{label}, line {number}: {found} tab-separated columns instead of "
                f"{num_columns} ({expected}); mend or remove the line"
            )
    fields = b"\t".join(lines).split(b"\t")
    return [fields[i::num_columns] for i in range(num_columns)]


def floats(column: Column, *, label: str, what: str, first_line: int = 1) -> NDArray[np.float64]:
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
    return _refuse_first(column, _is_finite, "a finite float32 number", label, what, first_line)


def check_ids(
    column: Column,
    is_valid: Callable[[bytes], bool],
    should_be: str,
    *,
    label: str,
    what: str,
    first_line: int = 1,
) -> None:
    """Checks raw ids, each distinct one once.

    Raises:
      UserError: names the first line whose id is not valid.
    """
    if not all(map(is_valid, set(column))):
        _refuse_first(column, is_valid, should_be, label, what, first_line)


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
    first_line: int,
) -> NoReturn:
    row = next(row for row, field in enumerate(column) if not is_valid(field))
    shown = column[row][:40].decode("utf-8", "replace")
    raise UserError(
        f"{label}, line {first_line + row}: {what} {shown!r} is not {should_be}; "
        "mend or remove the line"
    )
