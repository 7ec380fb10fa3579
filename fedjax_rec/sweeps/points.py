"""Which settings are tried: every combination, or some at random."""

import itertools
import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_origin

from fedjax_rec.config.schema import OPTIONS
from fedjax_rec.errors import UserError

Point = tuple[tuple[str, str], ...]
"""A choice of settings: key and word of each."""

NO_AXIS = ("data.path", "data.other")
"""Keys whose words may hold a comma."""

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
DIGITS = 3
"""Significant digits of a number that is drawn: folders are named after it."""


@dataclass(frozen=True)
class Axis:
    """One setting that is varied.

    Attributes:
      key: of the configuration, `algorithm.item_learning_rate`.
      words: the values that are named; empty where a range is.
      low, high: the ends of a range of numbers, to draw from.
    """

    key: str
    words: tuple[str, ...] = ()
    low: str = ""
    high: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether it is a range of whole numbers."""
        return _is_whole(self.low) and _is_whole(self.high)

    def draw(self, numbers: random.Random) -> str:
        """A word at random: of those named, or of the range.

        Between whole numbers a whole number, uniform; else log-uniform, for rates and strengths.
        """
        if self.words:
            return numbers.choice(self.words)
        if self.is_whole:
            return str(numbers.randint(int(self.low), int(self.high)))
        low, high = math.log(float(self.low)), math.log(float(self.high))
        return f"{math.exp(numbers.uniform(low, high)):.{DIGITS}g}"


def axes_of(words: Sequence[str]) -> tuple[list[Axis], list[str]]:
    """The settings that are varied, and the words that are the same for all.

    Args:
      words: of the command line, `--key value` or `--key=value`. A value with commas names
        several, and `A..B` a range: of whole numbers each of them, of others what may be drawn.

    Raises:
      UserError: a key without values, twice the same one, or a range that is none.

    >>> axes, rest = axes_of(["--algorithm.dim", "4,8", "--rounds=3", "--evaluate.at_k", "5,10"])
    >>> axes[0].key, axes[0].words, rest
    ('algorithm.dim', ('4', '8'), ['--rounds', '3', '--evaluate.at_k', '5,10'])
    """
    axes: dict[str, Axis] = {}
    rest: list[str] = []
    for key, word in _pairs(words):
        kind = OPTIONS[key][0] if key in OPTIONS else None
        found = None if get_origin(kind) is tuple or key in NO_AXIS else _axis(key, word)
        if found is None:
            rest += [f"--{key}", *([] if word is None else [word])]
        elif key in axes:
            raise UserError(f"{key}: its values are given twice; give one list of them")
        else:
            axes[key] = found
    return list(axes.values()), rest


def grid(axes: Sequence[Axis]) -> list[Point]:
    """Every combination, the last setting varying fastest.

    Raises:
      UserError: a range of numbers that are not whole has no end of values.

    >>> grid([Axis("a", ("1", "2")), Axis("b", low="3", high="4")])[1]
    (('a', '1'), ('b', '4'))
    """
    return list(itertools.product(*([(axis.key, word) for word in _every(axis)] for axis in axes)))


def random_points(axes: Sequence[Axis], trials: int, seed: int = 0) -> list[Point]:
    """Distinct combinations at random, the same ones for the same request; more begin as fewer.

    Args:
      axes: of settings.
      trials: how many combinations; all of them where there are no more.
      seed: of the draws.

    >>> points = random_points([Axis("rate", low="0.1", high="10.0")], 3)
    >>> points[:2] == random_points([Axis("rate", low="0.1", high="10.0")], 2)
    True
    """
    numbers = random.Random(seed)
    points: dict[Point, None] = {}
    for _ in range(100 * trials):
        if len(points) == trials:
            break
        points[tuple((axis.key, axis.draw(numbers)) for axis in axes)] = None
    return list(points)


def _pairs(words: Sequence[str]) -> list[tuple[str, str | None]]:
    """Keys with their words; `None` where there is none, to be refused as `run` does."""
    pairs: list[tuple[str, str | None]] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise UserError(f"unexpected {word!r}: expected --key value (on the command line)")
        key, equals, value = word[2:].partition("=")
        key = key.replace("-", "_")
        if equals:
            pairs.append((key, value))
        elif rest and not rest[0].startswith("--"):
            pairs.append((key, rest.pop(0)))
        else:
            pairs.append((key, None))
    return pairs


def _axis(key: str, word: str | None) -> Axis | None:
    """The axis that a word names, if it names one."""
    if word is None:
        return None
    if found := re.fullmatch(rf"({NUMBER})\.\.({NUMBER})", word):
        low, high = found.groups()
        is_whole = _is_whole(low) and _is_whole(high)
        if float(low) > float(high) or not (is_whole or float(low) > 0):
            raise UserError(f"{key}: {word} is no range; its ends rise, and rates are above 0")
        return Axis(key, low=low, high=high)
    if "," not in word:
        return None
    values = tuple(each.strip() for each in word.split(","))
    if "" in values or len(set(values)) < len(values):
        raise UserError(f"{key}: expected distinct values with commas between, got {word!r}")
    return Axis(key, values)


def _every(axis: Axis) -> list[str]:
    if axis.words:
        return list(axis.words)
    if not axis.is_whole:
        raise UserError(
            f"{axis.key}: {axis.low}..{axis.high} has no end of values; name some with commas "
            "between, or give --search random or tpe"
        )
    return [str(number) for number in range(int(axis.low), int(axis.high) + 1)]


def _is_whole(word: str) -> bool:
    return re.fullmatch(r"[-+]?\d+", word) is not None
