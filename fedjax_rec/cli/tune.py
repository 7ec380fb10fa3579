"""`fedjax-rec run --tune`: a search on validation items, whose choice the run then takes."""

import contextlib
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedjax_rec.cli.telling import Told
from fedjax_rec.config import RunConfig, load_preset
from fedjax_rec.errors import UserError
from fedjax_rec.sweeps.cells import Cell, cells_of
from fedjax_rec.sweeps.points import Axis, Point, random_points

if TYPE_CHECKING:
    from fedjax_rec.cli.sweep_runs import SweepRuns
    from fedjax_rec.sweeps.selection import Candidate

FOLDER = "tune"
"""Below the run's own: a folder for each trial."""

CHOSEN = "chosen.json"
TUNED = ("learning_rate", "regularization", "strength", "alpha", "mu", "shrinkage", "weight_decay")
"""Settings whose names end so are varied, where they are numbers above 0."""

SPAN = 8.0
"""Values are drawn, log-uniformly, from the preset's own over this to that times this."""


@dataclass(frozen=True)
class Tuning:
    """A search that comes before a run.

    Attributes:
      preset: of the run, and `overrides` its keys.
      folder: of the run.
      trials: how many settings are tried, the preset's own among them.
      minutes: after which no trial is started; those of earlier sessions count.
      plugins: as they were given.
    """

    preset: str
    overrides: tuple[str, ...]
    folder: Path
    trials: int
    minutes: float
    plugins: tuple[str, ...]

    def chosen(self, told: Told, host_memory: int | None, *, no_resume: bool) -> Point | None:
        """The settings that validation chooses; `None` where Ctrl-C came before.

        A choice that was made stands: the run that goes on is of the same settings.

        Raises:
          UserError: there is nothing to tune, or privacy forbids it; the folder holds a search
            for something else.
        """
        if self.trials < 2 or not self.minutes > 0:
            raise UserError("tune: a search needs --tune.trials of at least 2 and some minutes")
        home = self.folder / FOLDER
        axes, metric = self._axes(told), self._metric()
        if no_resume:
            shutil.rmtree(home, ignore_errors=True)
        if (home / CHOSEN).exists():
            return self._earlier(home / CHOSEN, told)
        points = [(), *random_points(axes, self.trials - 1)]
        cells = cells_of([self.preset], points, [self._config().seed], home)
        runs = self._runs(cells, told, host_memory)
        for axis in axes:
            told.progress_line(f"tune: {axis.key} from {axis.low} to {axis.high}")
        with _hushed(told):
            if not self._run(cells, runs):
                return None
        return self._choose(cells, runs, metric, home, told)

    def _config(self, *words: str) -> RunConfig:
        return load_preset(self.preset, [*self.overrides, *words])

    def _metric(self) -> str:
        from fedjax_rec.sweeps.selection import validation_metric

        config = self._config()
        if config.split.validation == "none":
            raise UserError(
                "tune: there are no validation items to choose by; set split.validation"
            )
        return validation_metric("", config.stop.metric)

    def _axes(self, told: Told) -> list[Axis]:
        """What is varied: rates and strengths that the command line leaves open."""
        from fedjax_rec.experiment import resolve

        config = self._config()
        if config.privacy.is_on or any("noise" in link.name for link in config.aggregate.chain):
            raise UserError(
                "tune: every trial reads the clients' data, and no noise covers what the choice "
                "tells of them; give the settings, and leave --tune out"
            )
        config = resolve(config, told.notice)
        given = {word[2:].partition("=")[0].replace("-", "_") for word in self.overrides}
        settings = {f"algorithm.{key}": value for key, value in config.algorithm.settings.items()}
        if config.server.optimizer != "sgd":
            settings["server.learning_rate"] = config.server.learning_rate
        axes = [
            Axis(key, low=_number(value / SPAN), high=_number(value * SPAN))
            for key, value in settings.items()
            if isinstance(value, float) and value > 0 and key.endswith(TUNED) and key not in given
        ]
        if not axes:
            raise UserError(
                f"tune: {config.algorithm.name} has no rate or strength that is left open; leave "
                "--tune out"
            )
        return axes

    def _runs(self, cells: Sequence[Cell], told: Told, host_memory: int | None) -> "SweepRuns":
        from fedjax_rec.cli.sweep_runs import SweepRuns
        from fedjax_rec.reporting import open_console

        configs = {cell: self._config(*cell.overrides) for cell in cells}
        console = open_console(is_stderr=True)
        runs = SweepRuns(self.overrides, self.plugins, console, host_memory)
        runs.look(configs)
        return runs

    def _run(self, cells: Sequence[Cell], runs: "SweepRuns") -> bool:
        """Runs trials until the budget is spent; whether no Ctrl-C came."""
        before = sum(map(_seconds, runs.summaries.values()))
        begin = time.monotonic()
        for number, cell in enumerate(cells, 1):
            if cell in runs.summaries or cell in runs.diverged:
                continue
            spent = before + time.monotonic() - begin
            if runs.summaries and spent >= 60 * self.minutes:
                return True
            if not runs.run(cell, f"[{number}/{len(cells)}]"):
                return False
        return True

    def _choose(
        self,
        cells: Sequence[Cell],
        runs: "SweepRuns",
        metric: str,
        home: Path,
        told: Told,
    ) -> Point:
        from fedjax_rec.simulation.records import write_json
        from fedjax_rec.sweeps.selection import candidates, chosen_of

        metrics = {self.preset: metric}
        found = candidates(cells, runs.summaries, metrics)
        best = chosen_of(found, metrics).get(self.preset)
        if best is None:
            raise UserError("tune: every trial diverged or lacks the metric; lower the rates")
        told.progress_line(f"tune: {_in_words(best, found, metric)}")
        record = {
            "asked": self._asked,
            "metric": metric,
            "chosen": dict(best.point),
            "trials": [dict(one.point) | {metric: one.mean} for one in found if one.is_whole],
        }
        write_json(home / CHOSEN, record)
        return best.point

    @property
    def _asked(self) -> dict[str, Any]:
        return {"preset": self.preset, "overrides": list(self.overrides), "trials": self.trials}

    def _earlier(self, path: Path, told: Told) -> Point:
        record: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if record["asked"] != self._asked:
            raise UserError(
                f"{path.parent}: holds a search for {_command(record['asked'])}; choose another "
                "--output, or start over with --no-resume"
            )
        told.progress_line(f"tune: chosen earlier: {_point_in_words(record['chosen'])}")
        return tuple(record["chosen"].items())


def words_of(point: Point) -> tuple[str, ...]:
    """A point as words of the command line.

    >>> words_of((("algorithm.dim", "8"),))
    ('--algorithm.dim', '8')
    """
    return tuple(word for key, value in point for word in (f"--{key}", value))


def _number(value: float) -> str:
    """A number with a point: between whole ones no logarithm is drawn.

    >>> _number(375.0), _number(0.0125)
    ('375.0', '0.0125')
    """
    return str(float(f"{value:.3g}"))


def _seconds(summary: Mapping[str, Any]) -> float:
    timing: Mapping[str, float] = summary["timing"]
    return sum(value for key, value in timing.items() if key.endswith("_seconds"))


def _in_words(best: "Candidate", found: Sequence["Candidate"], metric: str) -> str:
    """What was chosen, and by how much it is better than the preset's own settings."""
    tried = [one for one in found if one.is_whole]
    own = next((f", {one.mean:.4f} with the preset's own" for one in tried if not one.point), "")
    settings = _point_in_words(dict(best.point))
    return f"{len(tried)} trials choose {settings} ({metric} {best.mean:.4f}{own})"


def _point_in_words(point: Mapping[str, str]) -> str:
    pairs = (f"{key} {value}" for key, value in point.items())
    return ", ".join(pairs) or "the preset's own settings"


def _command(asked: Mapping[str, Any]) -> str:
    words = [asked["preset"], *asked["overrides"], "--tune.trials", str(asked["trials"])]
    return shlex.join(words)


@contextlib.contextmanager
def _hushed(told: Told) -> Iterator[None]:
    """Keeps the trials' lines off standard output where it is to hold the summary alone."""
    if told.quiet:
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    elif told.json:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    else:
        yield
