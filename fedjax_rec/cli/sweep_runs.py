"""The runs of a sweep, one after another in one process: what shares a shape compiles once."""

import json
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rich.console import Console

from fedjax_rec.cli.memory import refuse_impossible
from fedjax_rec.cli.plugins import refuse_missing_plugins
from fedjax_rec.cli.run import earlier_config, refuse_other_data
from fedjax_rec.config import RunConfig
from fedjax_rec.data import FederatedData
from fedjax_rec.data.reading import print_notice
from fedjax_rec.errors import DivergedError
from fedjax_rec.experiment import Experiment, as_before, build, resolve, same_data
from fedjax_rec.reporting import ProgressLine, environment, read_summary
from fedjax_rec.simulation import Report
from fedjax_rec.simulation.locking import only_run_in
from fedjax_rec.simulation.records import write_json
from fedjax_rec.sweeps.cells import Cell

DIVERGED = "diverged.json"
"""Stands in the folder of a run that has ended without a result, which it would again."""


class SweepRuns:
    """What of a sweep is done, and how to do the rest.

    Attributes:
      summaries: the object in `summary.json` of each finished cell.
      diverged: cell -> why it has no result.
    """

    def __init__(
        self,
        common: Sequence[str],
        plugins: Sequence[str],
        console: Console,
        host_memory: int | None,
    ) -> None:
        """Knows of no cell yet.

        Args:
          common: words that all cells share.
          plugins: as they were given.
          console: shows the run that is under way, on a terminal.
          host_memory: bytes that were free at the start.
        """
        self._common, self._plugins, self._console = common, plugins, console
        self._host_memory = host_memory
        self._told: set[str] = set()
        self._data: tuple[RunConfig, FederatedData] | None = None
        self._configs: dict[Cell, RunConfig] = {}
        self._is_begun: set[Cell] = set()
        self.summaries: dict[Cell, dict[str, Any]] = {}
        self.diverged: dict[Cell, str] = {}

    def look(self, configs: Mapping[Cell, RunConfig]) -> None:
        """Looks at the folders of cells; nothing is trained.

        Args:
          configs: of the cells, as they were asked for.

        Raises:
          UserError: a setting that cannot be, or a folder that holds something else.
        """
        for cell, config in configs.items():
            self._look(cell, config)

    def _look(self, cell: Cell, asked: RunConfig) -> None:
        refuse_missing_plugins(cell.folder)
        config = resolve(asked, self._notice)
        earlier = earlier_config(cell.folder, config, no_resume=False)
        self._configs[cell] = config if earlier is None else as_before(config, earlier)
        if earlier is None:
            return
        self._is_begun.add(cell)
        if (cell.folder / DIVERGED).exists():
            self.diverged[cell] = json.loads((cell.folder / DIVERGED).read_text())["reason"]
        elif earlier.rounds == config.rounds and (summary := read_summary(cell.folder)):
            self.summaries[cell] = summary

    def run(self, cell: Cell, place: str) -> bool:
        """Runs a cell to its end, or to where Ctrl-C saves it.

        Args:
          cell: one that is not finished.
          place: of it among all, for the line that is printed.

        Returns:
          Whether it came to its end.

        Raises:
          UserError: it does not fit, or its folder holds a run on other data.
        """
        experiment, begin = self._built(cell), time.monotonic()
        name = cell.folder.as_posix()
        with only_run_in(cell.folder), self._progress() as report:
            words = ["fedjax-rec", "run", cell.preset, "--output", str(cell.folder)]
            words += [word for plugin in self._plugins for word in ("--plugin", plugin)]
            words += [*self._common, *cell.overrides]
            write_json(cell.folder / "environment.json", environment(words, cell.seed))
            try:
                result = experiment.run(
                    cell.folder,
                    resume=cell in self._is_begun,
                    report=report,
                    notice=self._notice,
                )
            except DivergedError as error:
                self.diverged[cell] = str(error)
                write_json(cell.folder / DIVERGED, {"reason": str(error)})
                print(f"{place} {name}: {error}", flush=True)
                return True
        if result.is_interrupted:
            print(f"{place} {shlex.quote(name)}: stopped after round {result.metrics[-1]['round']}")
            return False
        self.summaries[cell] = result.summary
        print(f"{place} {name}: {time.monotonic() - begin:.1f} s", flush=True)
        return True

    def _built(self, cell: Cell) -> Experiment:
        config = self._configs[cell]
        read = self._data
        data = read[1] if read and same_data(read[0], config) else None
        experiment = build(config, self._notice, data)
        refuse_impossible(experiment, self._host_memory)
        self._data = experiment.config, experiment.data
        if cell in self._is_begun:
            refuse_other_data(cell.folder, experiment)
        return experiment

    def _progress(self) -> AbstractContextManager[Callable[[Report], None]]:
        if self._console.is_terminal:
            return ProgressLine(self._console)
        return nullcontext(lambda report: None)

    def _notice(self, line: str) -> None:
        """Says once what every run would say."""
        if line not in self._told and line != "starting at round 0":
            print_notice(line)
        self._told.add(line)
