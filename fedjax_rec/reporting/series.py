"""What the figures of a report show, read from the files of runs: numbers, and where from."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fedjax_rec.reporting.comparison import Comparison
from fedjax_rec.reporting.records import RunRecord
from fedjax_rec.reporting.rows import Row
from fedjax_rec.reporting.words import settings_words

Line = Mapping[str, Any]
"""A line of `metrics.jsonl`."""


@dataclass(frozen=True)
class Series:
    """One line of a figure.

    Attributes:
      name: of the row.
      x: where the points are.
      y: their means over seeds.
      low, high: a deviation over seeds below and above; the mean itself with one seed.
      sources: the files that they are of.
      row: its number among the rows, which its colour follows in every figure.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    sources: tuple[str, ...]
    row: int = 0


def row_name(row: Row) -> str:
    """A row's method and what tells it from others of its name."""
    return ", ".join([row.name, *settings_words(row)])


def over_rounds(comparison: Comparison, key: str) -> list[Series]:
    """A metric by rounds, at those at which all seeds of a row were evaluated."""
    return _over(comparison, key, lambda record, lines: [line["round"] for line in lines])


UNITS = ("MB", "GB", "TB", "PB")


def over_bytes(comparison: Comparison, key: str) -> tuple[list[Series], str]:
    """A metric by what all clients have sent and received so far, and the unit of that.

    The unit keeps the largest number below 1,000, from megabytes on.
    """
    found = _over(comparison, key, _megabytes)
    largest = max((one.x[-1] for one in found), default=0.0)
    power = next((n for n in range(len(UNITS)) if largest < 1000.0 ** (n + 1)), len(UNITS) - 1)
    scaled = [replace(one, x=tuple(x / 1000.0**power for x in one.x)) for one in found]
    return scaled, UNITS[power]


def over_people(comparison: Comparison, key: str) -> list[Series]:
    """A metric of people, from the worst served to the best: by the share of people below.

    Each is the mean over a row's seeds; rows without people's own values are left out.
    """
    found = []
    for number, row in enumerate(comparison.rows):
        values = row.values(key)
        if values is None:
            continue
        by_seed = np.sort(values[:, np.isfinite(values).all(axis=0)], axis=1)
        size = by_seed.shape[1]
        shares = tuple(100 * (n + 1) / size for n in range(size))
        sources = tuple(f"{run}/per_client.npz" for run in row.runs)
        found.append(_series(number, row, shares, by_seed.T.tolist(), sources))
    return found


def read_lines(record: RunRecord) -> list[Line]:
    """The lines of a run's `metrics.jsonl`."""
    try:
        text = (Path(record.path) / "metrics.jsonl").read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.splitlines()]


def _over(
    comparison: Comparison, key: str, places: Callable[[RunRecord, Sequence[Line]], list[float]]
) -> list[Series]:
    found = []
    for number, row in enumerate(comparison.rows):
        of_seeds = []
        at: dict[int, list[float]] = {}
        for record in row.records:
            lines = read_lines(record)
            pairs = zip(lines, places(record, lines), strict=True)
            known = {one["round"]: (x, one[key]) for one, x in pairs if one.get(key) is not None}
            of_seeds.append({end: y for end, (_, y) in known.items()})
            for end, (x, _) in known.items():
                at.setdefault(end, []).append(x)
        shared = sorted(set.intersection(*map(set, of_seeds))) if of_seeds else []
        if shared:
            means = tuple(statistics.fmean(at[end]) for end in shared)
            values = [[seed[end] for seed in of_seeds] for end in shared]
            sources = tuple(f"{run}/metrics.jsonl" for run in row.runs)
            found.append(_series(number, row, means, values, sources))
    return found


def _series(
    number: int,
    row: Row,
    x: tuple[float, ...],
    values: Sequence[Sequence[float]],
    sources: tuple[str, ...],
) -> Series:
    """Means and deviations of the seeds' values at each point."""
    means = [statistics.fmean(each) for each in values]
    spread = [statistics.stdev(each) if len(each) > 1 else 0.0 for each in values]
    low = tuple(mean - sd for mean, sd in zip(means, spread, strict=True))
    high = tuple(mean + sd for mean, sd in zip(means, spread, strict=True))
    return Series(row_name(row), x, tuple(means), low, high, sources, number)


def _megabytes(record: RunRecord, lines: Sequence[Line]) -> list[float]:
    sent = record.summary.get("communication") or {}
    names = ("bytes_up_per_client_round", "bytes_down_per_client_round")
    a_client = sum(sent.get(name) or 0.0 for name in names)
    total, found = 0.0, []
    for line in lines:
        total += a_client * (line.get("train/clients") or 0.0) / 1e6
        found.append(total)
    return found
