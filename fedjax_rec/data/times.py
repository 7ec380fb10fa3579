"""Times as tables write them: seconds, finer units, and dates; all become seconds since 1970."""

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNITS = (("nanoseconds", 1e17), ("microseconds", 1e14), ("milliseconds", 1e11))
"""A unit, and the least number that is a time in it; smaller ones are seconds."""

PER_SECOND = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}

DATES = (
    "%m %d, %Y",  # as in the Amazon reviews
    "%b %d, %Y",
    "%B %d, %Y",
    "%d %b %Y",
    "%d %B %Y",
    "%a %b %d %H:%M:%S %z %Y",  # as in tweets
    "%a, %d %b %Y %H:%M:%S %z",  # as in mails
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%d.%m.%Y",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
)
"""Ways to write a date that mean one day only, beside ISO 8601."""

CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
LARGEST = 1e20


class NoTimeError(ValueError):
    """What a column of times holds is none.

    Attributes:
      row: of the first entry that is none; `None` where it is about the whole column.
      reason: what is wrong with it.
    """

    def __init__(self, row: int | None, reason: str) -> None:
        super().__init__(reason)
        self.row, self.reason = row, reason


def unit_of(numbers: NDArray[Any]) -> str:
    """The unit of a column of times, by the largest of them: no date is after the year 5138.

    Raises:
      NoTimeError: some are in another unit than others.

    >>> unit_of(np.array([0, 1_600_000_000])), unit_of(np.array([1_600_000_000_000]))
    ('seconds', 'milliseconds')
    """
    largest = float(np.abs(numbers).max()) if len(numbers) else 0.0
    for unit, least in UNITS:
        if least <= largest < LARGEST:
            coarser = (numbers != 0) & (np.abs(numbers) < least / 10)
            if coarser.any():
                row = int(np.flatnonzero(coarser)[0])
                raise NoTimeError(
                    row,
                    f"time {numbers[row]:.0f} is in a coarser unit than the {unit} of others; "
                    "write all in one",
                )
            return unit
    return "seconds"


def from_numbers(numbers: NDArray[Any]) -> tuple[NDArray[np.int64], str]:
    """Seconds, fractions cut off, and the unit that the numbers were in.

    Args:
      numbers: `[E]` finite; 0 is unknown.

    Raises:
      NoTimeError: numbers in different units.

    >>> from_numbers(np.array([1_600_000_000_999, 0]))
    (array([1600000000,          0]), 'milliseconds')
    """
    if (days := _days(numbers)) is not None:
        return days, "dates (year, month and day in eight digits)"
    unit = unit_of(numbers)
    seconds = numbers if unit == "seconds" else numbers // PER_SECOND[unit]
    return np.asarray(seconds).astype(np.int64), unit


def _days(numbers: NDArray[Any]) -> NDArray[np.int64] | None:
    """Seconds of whole numbers such as 20200901; `None` where one of them is no such day."""
    if not len(numbers) or numbers.min() < 19000101 or numbers.max() > 21001231:
        return None
    days, number = np.unique(numbers, return_inverse=True)
    try:
        seconds = [datetime.strptime(f"{day:.0f}", "%Y%m%d") for day in days]
    except ValueError:
        return None
    if (days % 1).any():
        return None
    return np.array([int(_in_utc(one).timestamp()) for one in seconds], np.int64)[number]


def from_texts(texts: Sequence[str]) -> tuple[NDArray[np.int64], str]:
    """Seconds of a column of dates in one way of writing, and that way in words.

    ISO 8601 with any offset (without one: UTC), and what `DATES` lists. Of `3/4/2020` day and
    month are told apart by the column's other dates.

    Args:
      texts: `[E]` dates.

    Raises:
      NoTimeError: names the first that is no date, or says that day and month cannot be told
        apart.

    >>> from_texts(["2020-09-01T10:00:00Z", "2020-09-01T12:00:00+02:00"])[0].tolist()
    [1598954400, 1598954400]
    >>> from_texts(["3/4/2020", "13/4/2020"])[1]
    'dates (day/month/year)'
    """
    distinct = dict.fromkeys(text.strip() for text in texts)
    read, words = _way(list(distinct))
    for row, text in enumerate(texts):
        text = text.strip()
        if distinct[text] is None:
            try:
                distinct[text] = math.floor(read(text).timestamp())
            except (ValueError, OverflowError):
                raise NoTimeError(
                    row, f"{text[:40]!r} is neither a number nor a date like the others"
                ) from None
    found: Iterable[Any] = (distinct[text.strip()] for text in texts)
    return np.fromiter(found, np.int64, len(texts)), words


def _way(distinct: list[str]) -> tuple[Callable[[str], datetime], str]:
    """How to read the dates: the first way that the first of them is written in."""
    sample = distinct[0] if distinct else ""
    for read, words in ((_iso, "dates (ISO 8601)"), *_listed()):
        if _reads(read, sample):
            return read, words
    ways = [
        (reads, words)
        for order, words in (("%d/%m/%Y", "day/month/year"), ("%m/%d/%Y", "month/day/year"))
        for reads in (_by(f"{order}{clock}") for clock in CLOCKS)
        if all(_reads(reads, text) for text in distinct)
    ]
    if len(ways) == 1:
        return ways[0][0], f"dates ({ways[0][1]})"
    if ways:
        raise NoTimeError(
            None,
            f"dates such as {sample[:40]!r} may be day/month/year or month/day/year; write them as "
            "year-month-day",
        )
    raise NoTimeError(0, f"{sample[:40]!r} is neither a number nor a date; write it as 2020-09-01")


def _listed() -> list[tuple[Callable[[str], datetime], str]]:
    return [(_by(form), f"dates ({form})") for form in DATES]


def _reads(read: Callable[[str], datetime], text: str) -> bool:
    try:
        read(text)
    except ValueError:
        return False
    return True


def _iso(text: str) -> datetime:
    return _in_utc(datetime.fromisoformat(text.removesuffix(" UTC")))


def _by(form: str) -> Callable[[str], datetime]:
    return lambda text: _in_utc(datetime.strptime(text, form))


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
