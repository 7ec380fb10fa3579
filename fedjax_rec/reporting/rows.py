"""Runs that differ in the seed alone are one row: their means, and how sure these are."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedjax_rec.reporting.records import RunRecord
from fedjax_rec.reporting.significance import error_over_people
from fedjax_rec.reporting.tables import data_name

NO_SETTING = ("seed", "preset", "given", "made_by", "checkpoint", "execution")
"""Keys and sections of a configuration in which one method may differ from itself."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """One metric of a row.

    Attributes:
      mean: over seeds.
      sd_seeds: standard deviation over seeds, of one degree of freedom less; `None` for one seed.
      se_people: standard error over people; `None` where people's own values are not known.
    """

    mean: float
    sd_seeds: float | None
    se_people: float | None


@dataclass(frozen=True)
class Row:
    """The runs of one method with one choice of settings, over seeds.

    Attributes:
      records: a run a seed.
      settings: those that tell it from other rows of its name, by dotted key.
    """

    records: tuple[RunRecord, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The algorithm's."""
        return str((self.records[0].config.get("algorithm") or {}).get("name", "-"))

    @property
    def data(self) -> str:
        """The data's name and the start of their digest."""
        return data_name(self.records[0])

    @property
    def protocol(self) -> dict[str, Any]:
        """On what terms it was evaluated."""
        return dict(self.records[0].summary.get("protocol") or {})

    @property
    def seeds(self) -> list[Any]:
        """Of the runs, in order."""
        return [seed_of(record) for record in self.records]

    @property
    def runs(self) -> list[str]:
        """Folders of the runs."""
        return [Path(record.path).as_posix() for record in self.records]

    def values(self, key: str) -> Values | None:
        """People's own values of a metric `[S, N]`, whose mean over people is the metric.

        Of `rmse`, `v_u^2 / (2 RMSE)`, whose differences are those of RMSE to the first order.
        `None` where a run did not keep them, or where the metric is no mean over people.
        """
        found = [_values(record, key) for record in self.records]
        known = [values for values in found if values is not None]
        if len(known) < len(found) or len({values.shape for values in known}) != 1:
            return None
        return np.stack(known)

    def figure(self, key: str) -> Figure | None:
        """A metric's mean and errors; `None` where a run has not measured it."""
        found = [record.summary["metrics"].get(key) for record in self.records]
        if any(value is None or math.isnan(value) for value in found):
            return None
        values = self.values(key)
        error = math.nan if values is None else error_over_people(values)
        return Figure(
            mean=found[0] if len(found) == 1 else statistics.fmean(found),
            sd_seeds=statistics.stdev(found) if len(found) > 1 else None,
            se_people=None if math.isnan(error) else error,
        )


def rows_of(records: Sequence[RunRecord]) -> list[Row]:
    """Runs as rows, in the order in which the rows first appear.

    Runs are of one row where settings, data, protocol and others' code are the same, whatever
    seed, checkpoints and execution.
    """
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(_identity(record), []).append(record)
    rows = [Row(tuple(sorted(group, key=_seed_order))) for group in groups.values()]
    return [Row(row.records, _apart(row, rows)) for row in rows]


def same_runs(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Pairs of folders that hold one run, seed and all."""
    found = []
    for row in rows:
        by_seed: dict[Any, str] = {}
        for seed, folder in zip(row.seeds, row.runs, strict=True):
            if seed in by_seed:
                found.append((by_seed[seed], folder))
            by_seed.setdefault(seed, folder)
    return found


def seed_of(record: RunRecord) -> Any:
    """A run's seed; of one that Python made, the start of its key's digest.

    >>> seed_of(RunRecord(Path("a"), {"seed": 3}, {}))
    3
    """
    if "seed" in record.config:
        return record.config["seed"]
    digests = record.summary.get("identity") or {}
    return str(digests.get("key", Path(record.path).as_posix()))[:8]


def _seed_order(record: RunRecord) -> tuple[bool, Any]:
    seed = seed_of(record)
    return (True, seed) if isinstance(seed, str) else (False, seed)


def settings_of(record: RunRecord) -> dict[str, Any]:
    """What was asked for and changes results, by dotted key.

    >>> settings_of(RunRecord(Path("a"), {"seed": 3, "algorithm": {"dim": 4}}, {}))
    {'algorithm.dim': 4}
    """
    asked = {name: value for name, value in record.config.items() if name not in NO_SETTING}
    return dict(_flat(asked, ""))


def _flat(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(inner, f"{prefix}.{name}" if prefix else str(name))
    elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
        yield from _flat(dict(enumerate(value)), prefix)
    else:
        yield prefix, value


def _identity(record: RunRecord) -> str:
    summary = record.summary
    parts = (settings_of(record), data_name(record), summary.get("protocol"))
    plugins = summary.get("plugins") or {}
    return repr([sorted((part or {}).items()) for part in (parts[0], parts[2], plugins)]) + parts[1]


def _apart(row: Row, rows: Sequence[Row]) -> dict[str, Any]:
    """The settings in which the rows of a name differ."""
    own = settings_of(row.records[0])
    others = [settings_of(one.records[0]) for one in rows if one.name == row.name]
    return {
        key: value
        for key, value in own.items()
        if any(key not in other or other[key] != value for other in others)
    }


def _values(record: RunRecord, key: str) -> Values | None:
    values, reported = record.per_client.get(key), record.summary["metrics"].get(key)
    if values is None or reported is None:
        return None
    if key.endswith("/rmse") and reported > 0:
        values = values**2 / (2 * reported)
        reported = reported / 2
    known = values[np.isfinite(values)]
    is_mean = known.size > 0 and math.isclose(known.mean(), reported, rel_tol=1e-4)
    return values if is_mean else None  # of errors, people with more pairs count more
