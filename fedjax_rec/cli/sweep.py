"""`fedjax-rec sweep`: settings and seeds, each an ordinary run in a folder of its own."""

import math
import re
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, Suppress, arg

from fedjax_rec.cli.plugins import Plugins, load_plugins
from fedjax_rec.cli.process import prepare_process
from fedjax_rec.config import RunConfig, load_preset
from fedjax_rec.cpu import available_memory
from fedjax_rec.errors import UserError
from fedjax_rec.sweeps.cells import Cell, cells_of, parse_seeds
from fedjax_rec.sweeps.points import Axis, Point, axes_of, grid, random_points

if TYPE_CHECKING:
    from fedjax_rec.cli.sweep_runs import SweepRuns

INTERRUPTED = "interrupted: saved"
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True)
class Sweep:
    """Try settings with several seeds; a sweep that was stopped goes on where it was.

    A key of the configuration may have several values, `--algorithm.item_learning_rate 25,50,100`;
    every combination of them is run with every seed. Validation chooses among them.
    """

    presets: Annotated[Positional[tuple[str, ...]], arg(metavar="PRESET|FILE.toml ...")] = ()
    """Presets such as ml-100k/fedmf, or TOML files."""

    output: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder of the sweep, with a folder a run below it."""

    seeds: Annotated[str, arg(metavar="A..B|A,B,...")] = "0"
    """Seeds of each point; A..B with both ends."""

    search: Literal["grid", "random", "tpe"] = "grid"
    """Every combination of values; or some of them, and of ranges A..B, at random; or such as
    follow from what earlier ones gave (Parzen estimators; needs the extra search)."""

    trials: Annotated[int, arg(metavar="N")] = 0
    """Of a search that is no grid: how many combinations."""

    metric: str = ""
    """The validation metric that chooses; by default that of stop.metric."""

    budget: Annotated[str, arg(metavar="TIME")] = ""
    """No run is started after so much time, such as 30m or 2h."""

    plugin: Plugins = ()
    """Python file of others' code, or an installed plug-in; may be given several times."""

    overrides: Suppress[tuple[str, ...]] = ()

    def execute(self) -> int:
        """Runs what is not finished yet, then prints what validation chooses."""
        axes, common, seeds = self._asked()
        tell_settings = prepare_process()
        host_memory = available_memory()

        from fedjax_rec.cli.sweep_runs import SweepRuns
        from fedjax_rec.cli.sweep_tables import print_choice
        from fedjax_rec.reporting import open_console

        load_plugins(self.plugin)
        console = open_console()
        runs = SweepRuns(common, self.plugin, console, host_memory)
        tell_settings()
        end = time.monotonic() + (parse_seconds(self.budget) if self.budget else math.inf)
        cells: list[Cell] = []
        metrics: dict[str, str] = {}
        for some in self._batches(axes, seeds, cells, runs, metrics):
            configs = {cell: load_preset(cell.preset, [*common, *cell.overrides]) for cell in some}
            metrics |= self._metrics(configs)
            runs.look(configs)
            cells += some
            total = max(len(cells), len(self.presets) * self.trials * len(seeds))
            stopped = self._run(some, runs, len(cells) - len(some), total, end)
            if stopped:
                print(f"{stopped}; to go on: {self._command()}")
            if stopped == INTERRUPTED:
                return 130
            if stopped:
                break
        assert self.output is not None
        print_choice(console, self.output, cells, runs, metrics)
        return 0

    def _run(
        self, cells: list[Cell], runs: "SweepRuns", before: int, total: int, end: float
    ) -> str:
        """Runs what is not finished of some cells; why it stopped early, or nothing."""
        for number, cell in enumerate(cells, before + 1):
            if cell in runs.summaries or cell in runs.diverged:
                continue
            if time.monotonic() >= end:
                return f"budget: {self.budget} are over"
            if not runs.run(cell, f"[{number}/{total}]"):
                return INTERRUPTED
        return ""

    def _asked(self) -> tuple[list[Axis], list[str], list[int]]:
        """What is varied, the words that all runs share, and the seeds."""
        if not self.presets:
            raise UserError("sweep: name at least one preset, such as ml-100k/fedmf")
        if self.output is None:
            raise UserError("sweep: name a folder with --output DIR")
        axes, common = axes_of(self.overrides)
        if any(axis.key == "seed" for axis in axes) or "--seed" in common:
            raise UserError("seed: a sweep takes --seeds, such as --seeds 0..4")
        if self.search == "grid":
            if self.trials:
                raise UserError("trials: belongs to --search random or tpe; leave it out")
        elif self.trials < 1:
            raise UserError(f"trials: search {self.search} needs a number, such as --trials 40")
        elif not axes:
            raise UserError("search: no key has several values to draw from")
        return axes, common, parse_seeds(self.seeds)

    def _batches(
        self,
        axes: list[Axis],
        seeds: list[int],
        cells: list[Cell],
        runs: "SweepRuns",
        metrics: dict[str, str],
    ) -> Iterator[list[Cell]]:
        """What is run together: all at once, or point by point where one follows from others.

        Args:
          axes: the settings that are varied.
          seeds: of each point.
          cells: those of earlier batches.
          runs: with what they gave.
          metrics: preset -> the metric that chooses.
        """
        assert self.output is not None
        if self.search != "tpe":
            yield cells_of(self.presets, self._points(axes), seeds, self.output)
            return
        from fedjax_rec.sweeps.selection import outcomes
        from fedjax_rec.sweeps.tpe import tpe_point

        for _ in range(self.trials):
            for preset in self.presets:
                point = tpe_point(axes, outcomes(preset, cells, runs.summaries, metrics))
                if point is not None:
                    yield cells_of([preset], [point], seeds, self.output)

    def _points(self, axes: list[Axis]) -> list[Point]:
        return grid(axes) if self.search == "grid" else random_points(axes, self.trials)

    def _metrics(self, configs: dict[Cell, RunConfig]) -> dict[str, str]:
        """Preset -> the metric that chooses."""
        from fedjax_rec.sweeps.selection import validation_metric

        watched = {cell.preset: config.stop.metric for cell, config in configs.items()}
        return {preset: validation_metric(self.metric, key) for preset, key in watched.items()}

    def _command(self) -> str:
        words = ["fedjax-rec", "sweep", *self.presets, "--output", str(self.output)]
        words += ["--seeds", self.seeds]
        words += ["--search", self.search, "--trials", str(self.trials)] if self.trials else []
        words += ["--metric", self.metric] if self.metric else []
        words += ["--budget", self.budget] if self.budget else []
        words += [word for plugin in self.plugin for word in ("--plugin", plugin)]
        return shlex.join([*words, *self.overrides])


def parse_seconds(text: str) -> float:
    """Seconds from a number and a unit: s, m, h or d.

    Raises:
      UserError: not of that form.

    >>> parse_seconds("30m"), parse_seconds("1.5h")
    (1800.0, 5400.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if found is None:
        raise UserError(f"budget: expected a time such as 30m or 2h, got {text!r}")
    return float(found[1]) * SECONDS[found[2]]
