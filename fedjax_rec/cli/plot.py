"""`fedjax-rec plot`: a metric of finished runs as a figure for a paper."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from fedjax_rec.errors import UserError


@dataclass(frozen=True)
class Plot:
    """A metric of finished runs as SVG, PDF or PNG, with bands of a deviation over seeds."""

    runs: Annotated[Positional[tuple[str, ...]], arg(metavar="RUN|DIR|GLOB ...")] = ()
    """Folders of runs, folders of several, or patterns, as for compare."""

    output: Annotated[Path | None, arg(metavar="FILE.svg|.pdf|.png")] = None
    """The figure; its suffix is the format."""

    metric: str = "ndcg"
    """Of test without a prefix, such as ndcg@10 or valid/auc; without @K at the runs' own."""

    by: Literal["rounds", "bytes", "people"] = "rounds"
    """Over rounds, over what all clients have sent and received, or over people, worst first."""

    width: Annotated[float, arg(metavar="INCHES")] = 3.35
    """3.35 is a column of a paper of two columns."""

    force: Annotated[bool, FlagCreatePairsOff] = False
    """Show runs on different data or protocols in one figure."""

    def execute(self) -> int:
        """Writes the figure."""
        from fedjax_rec.reporting.comparison import compare, key_of
        from fedjax_rec.reporting.folders import finished_runs
        from fedjax_rec.reporting.plots import FORMATS, draw
        from fedjax_rec.reporting.series import over_bytes, over_people, over_rounds
        from fedjax_rec.reporting.words import metric_name

        if not self.runs:
            raise UserError("plot: name at least one folder of a run, such as runs/NAME")
        if self.output is None or self.output.suffix not in FORMATS:
            raise UserError(f"plot: name a figure with --output, ending in {', '.join(FORMATS)}")
        if not 0 < self.width <= 100:
            raise UserError(f"width: expected inches above 0, at most 100, got {self.width}")
        found = compare(finished_runs(self.runs), force=self.force)
        key = key_of(self.metric, found.rows)
        y_name = metric_name(key)
        if self.by == "rounds":
            shown, x_name = over_rounds(found, key), "rounds"
        elif self.by == "bytes":
            shown, unit = over_bytes(found, key)
            x_name = f"{unit} sent and received by all clients"
        else:
            shown, x_name = over_people(found, key), "per cent of people, the worst served first"
            y_name += " of a person"
        if not shown:
            raise UserError(f"plot: no run has {self.metric} by {self.by}")
        draw(shown, x_name, y_name, self.output, self.width)
        left_out = len(found.rows) - len(shown)
        rest = f"; {left_out} rows have nothing to show" if left_out else ""
        print(f"written to {self.output}: {metric_name(key)}, {len(shown)} rows{rest}")
        return 0
