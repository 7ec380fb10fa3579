"""Which settings are chosen: by validation metrics, never by those of the test."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedjax_rec.errors import UserError
from fedjax_rec.reporting.comparison import ERRORS
from fedjax_rec.sweeps.cells import Cell
from fedjax_rec.sweeps.points import Point

Summaries = Mapping[Cell, Mapping[str, Any]]
"""The object in `summary.json` of each cell that is finished."""


@dataclass(frozen=True)
class Candidate:
    """One point of one preset.

    Attributes:
      preset: its name or file.
      point: the settings that are varied.
      cells: a cell a seed.
      num_finished: how many of them are.
      values: of the validation metric, of those that have it.
    """

    preset: str
    point: Point
    cells: tuple[Cell, ...]
    num_finished: int
    values: tuple[float, ...]

    @property
    def is_whole(self) -> bool:
        """Whether all seeds are finished and have the metric: only such a one can be chosen."""
        return len(self.values) == len(self.cells)

    @property
    def mean(self) -> float:
        """Of the values."""
        return statistics.fmean(self.values)


def validation_metric(asked: str, watched: str) -> str:
    """The metric that chooses.

    Args:
      asked: by `--metric`; "" where nothing is said.
      watched: `stop.metric` of the preset; of its validation items where it is of the test.

    Raises:
      UserError: the metric is not one of validation.

    >>> validation_metric("", "test/hit_rate@10"), validation_metric("valid/auc", "valid/rmse")
    ('valid/hit_rate@10', 'valid/auc')
    """
    if asked and not asked.startswith("valid/"):
        raise UserError(
            f"metric: {asked!r} is not of validation items, and settings that the test chooses "
            "make its figures too good; name one such as valid/ndcg@10"
        )
    return asked or f"valid/{watched.rpartition('/')[2]}"


def candidates(
    cells: Sequence[Cell], summaries: Summaries, metrics: Mapping[str, str]
) -> list[Candidate]:
    """The points of each preset with the values of their validation metric, in order.

    Args:
      cells: of the sweep.
      summaries: of those that are finished.
      metrics: preset -> key.
    """
    groups: dict[tuple[str, Point], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.preset, cell.point), []).append(cell)
    return [
        Candidate(
            preset,
            point,
            tuple(group),
            sum(cell in summaries for cell in group),
            _values(group, summaries, metrics[preset]),
        )
        for (preset, point), group in groups.items()
    ]


def chosen_of(found: Sequence[Candidate], metrics: Mapping[str, str]) -> dict[str, Candidate]:
    """Preset -> its point with the best mean, of equals the first; of whole ones alone.

    A preset's only point needs no metric, but all of its seeds.
    """
    best: dict[str, Candidate] = {}
    presets = [one.preset for one in found]
    for one in found:
        if presets.count(one.preset) == 1 and one.num_finished == len(one.cells):
            best[one.preset] = one
        if not one.is_whole:
            continue
        sign = _sign(metrics[one.preset])
        other = best.get(one.preset)
        if other is None or sign * one.mean > sign * other.mean:
            best[one.preset] = one
    return best


def outcomes(
    preset: str, cells: Sequence[Cell], summaries: Summaries, metrics: Mapping[str, str]
) -> list[tuple[Point, float | None]]:
    """The points of one preset in their order, each with its mean, higher is better.

    Args:
      preset: its name or file.
      cells: of the sweep so far.
      summaries: of those that are finished.
      metrics: preset -> key.

    Returns:
      `None` in place of a mean that is not whole: a seed diverged or is not finished.
    """
    own = [cell for cell in cells if cell.preset == preset]
    return [
        (one.point, _sign(metrics[preset]) * one.mean if one.is_whole else None)
        for one in candidates(own, summaries, metrics)
    ]


def _sign(key: str) -> int:
    """1 where more of a metric is better."""
    return -1 if key.rpartition("/")[2] in ERRORS else 1


def _values(cells: Sequence[Cell], summaries: Summaries, key: str) -> tuple[float, ...]:
    found = (summaries[cell]["metrics"].get(key) for cell in cells if cell in summaries)
    return tuple(float(value) for value in found if value is not None)
