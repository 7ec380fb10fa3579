"""Lines of whole numbers and decimals, read by array operations: many millions in seconds.

Reads nothing but what can be read in one way only. Everything else is left to the reader of
texts, which is slower and knows what to say.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 25
"""Bytes that are read at a time."""

MOST_DIGITS = 18
_ZERO, _DOT, _NEWLINE = ord("0"), ord("."), ord("\n")
Bytes = NDArray[np.uint8]
Numbers = NDArray[np.int64] | NDArray[np.float64]


def read_numbers(
    content: bytes, num_columns: int, separator: bytes, wanted: Sequence[int], ids: Sequence[int]
) -> list[Numbers] | None:
    r"""Some columns of a text of numbers; `None` where a line is anything but numbers.

    Args:
      content: lines without a header.
      num_columns: how many each line has to have.
      separator: what stands between them.
      wanted: the columns to return, from 0.
      ids: those of them that are ids: of no sign, no fraction and no leading zero.

    Returns:
      int64 for columns of whole numbers, float64 for others; or `None`.

    >>> read_numbers(b"7,30,4.5\n12,4,5\n", 3, b",", (0, 2), (0,))
    [array([ 7, 12]), array([4.5, 5. ])]
    >>> read_numbers(b"07,30,4.5\n", 3, b",", (0, 2), (0,)) is None
    True
    """
    content = _plain(content, separator)
    blocks = []
    for block in _blocks(content):
        columns = _read_block(block, num_columns, ord("\t"), wanted, ids)
        if columns is None:
            return None
        blocks.append(columns)
    if not blocks:
        return None
    return [np.concatenate(parts) for parts in zip(*blocks, strict=True)]


def _plain(content: bytes, separator: bytes) -> bytes:
    """The same with tabs between columns and one newline behind each line, the last included.

    What holds a tab that parts no columns becomes a line with too many of them.
    """
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n")
    if separator != b"\t":
        content = content.replace(b"\t", b"x").replace(separator, b"\t")
    content = content.rstrip(b"\n")
    return content + b"\n" if content else content


def _blocks(content: bytes) -> Iterator[Bytes]:
    """The lines in blocks of whole ones."""
    start = 0
    while start < len(content):
        end = content.find(b"\n", min(start + BLOCK, len(content) - 1)) + 1
        yield np.frombuffer(content, np.uint8, end - start, start)
        start = end


def _read_block(
    block: Bytes, num_columns: int, separator: int, wanted: Sequence[int], ids: Sequence[int]
) -> list[Numbers] | None:
    ends = np.flatnonzero((block == separator) | (block == _NEWLINE))
    if len(ends) % num_columns:
        return None
    is_newline = (block[ends] == _NEWLINE).reshape(-1, num_columns)
    if is_newline[:, :-1].any() or not is_newline[:, -1].all():
        return None
    starts = np.append(0, ends[:-1] + 1)
    found = []
    for column in wanted:
        numbers = _numbers(
            block, starts[column::num_columns], ends[column::num_columns], column in ids
        )
        if numbers is None:
            return None
        found.append(numbers)
    return found


def _numbers(
    block: Bytes, starts: NDArray[np.int64], ends: NDArray[np.int64], is_id: bool
) -> Numbers | None:
    """The numbers between two positions each."""
    lengths = ends - starts
    longest = int(lengths.max())
    if lengths.min() < 1 or longest > MOST_DIGITS + 1:
        return None
    if is_id and ((block[starts] == _ZERO) & (lengths > 1)).any():
        return None
    value = np.zeros(len(starts), np.int64)
    decimals = np.full(len(starts), -1, np.int8)  # digits behind the point; -1 without one
    for place in range(longest):
        within = lengths > place
        digit = block[np.minimum(starts + place, ends)]
        is_point = within & (digit == _DOT)
        if is_point.any():
            if is_id or (decimals[is_point] >= 0).any():
                return None
            decimals[is_point] = 0
            within &= ~is_point
        digit -= _ZERO  # wraps around below "0"
        if (digit[within] > 9).any():
            return None
        value = np.where(within, value * 10 + digit, value)
        decimals += within & (decimals >= 0)
    if (decimals >= 0).any():
        digits = lengths - (decimals >= 0)
        if digits.min() < 1 or digits.max() > 15:  # up to 15 the division is rounded once
            return None
        return value / 10.0 ** np.maximum(decimals, 0)
    return None if longest > MOST_DIGITS else value
