"""What a sweep ends with: the table of validation, and the chosen settings compared."""

import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedjax_rec.cli.sweep_runs import SweepRuns
from fedjax_rec.reporting.comparison import compare
from fedjax_rec.reporting.comparison_tables import print_comparison
from fedjax_rec.reporting.records import finished_run
from fedjax_rec.reporting.words import metric_name
from fedjax_rec.simulation.records import write_json
from fedjax_rec.sweeps.cells import Cell
from fedjax_rec.sweeps.selection import Candidate, candidates, chosen_of


def print_choice(
    console: Console,
    output: Path,
    cells: Sequence[Cell],
    runs: SweepRuns,
    metrics: Mapping[str, str],
) -> None:
    """Prints what validation chooses, compares it, and writes `sweep.json`.

    Args:
      console: where to.
      output: the sweep's folder.
      cells: of the sweep.
      runs: with what is finished of it.
      metrics: preset -> the validation metric that chooses.
    """
    found = candidates(cells, runs.summaries, metrics)
    chosen = chosen_of(found, metrics)
    if len(found) > len(metrics):
        console.print(choice_table(found, chosen, metrics))
    for cell, reason in runs.diverged.items():
        print(f"{cell.folder.as_posix()}: {reason}", file=sys.stderr)
    folders = [cell.folder for one in chosen.values() for cell in one.cells]
    if folders:
        found_runs = [finished_run(folder) for folder in folders]
        print_comparison(console, compare(found_runs, force=True))
    for preset in metrics:
        if preset not in chosen:
            print(
                f"{preset}: no point has all its seeds and {metrics[preset]}: none is chosen; "
                "another metric of validation: --metric"
            )
    done = len(runs.summaries)
    write_json(output / "sweep.json", _record(found, chosen, metrics))
    print(f"{done} of {len(cells)} runs are finished; written to {output}")


def choice_table(
    found: Sequence[Candidate], chosen: Mapping[str, Candidate], metrics: Mapping[str, str]
) -> Table:
    """A row a point: its settings, how many seeds are finished, and its validation metric."""
    table = Table(title="chosen by validation alone")
    for name in ("preset", "settings", "seeds", "validation", "mean ±deviation", ""):
        table.add_column(name, overflow="fold")
    for one in found:
        words = [f"{key.removeprefix('algorithm.')} {value}" for key, value in one.point]
        table.add_row(
            escape(one.preset),
            escape("\n".join(words) or "-"),
            f"{one.num_finished} of {len(one.cells)}",
            metric_name(metrics[one.preset]),
            _mean(one.values),
            "chosen" if chosen.get(one.preset) is one else "",
        )
    return table


def _mean(values: Sequence[float]) -> str:
    if not values:
        return "-"
    text = f"{statistics.fmean(values):.4f}"
    return f"{text} ±{statistics.stdev(values):.4f}" if len(values) > 1 else text


def _record(
    found: Sequence[Candidate], chosen: Mapping[str, Candidate], metrics: Mapping[str, str]
) -> dict[str, Any]:
    """The content of `sweep.json`."""
    return {
        "points": [
            {
                "preset": one.preset,
                "settings": dict(one.point),
                "seeds": [cell.seed for cell in one.cells],
                "runs": [cell.folder.as_posix() for cell in one.cells],
                "num_finished": one.num_finished,
                "metric": metrics[one.preset],
                "values": list(one.values),
                "is_chosen": chosen.get(one.preset) is one,
            }
            for one in found
        ]
    }
