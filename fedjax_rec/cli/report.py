"""`fedjax-rec report`: finished runs as one page with pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from fedjax_rec.errors import UserError


@dataclass(frozen=True)
class Report:
    """Finished runs as one HTML page: tables, curves, people, protocol, privacy, costs."""

    runs: Annotated[Positional[tuple[str, ...]], arg(metavar="RUN|DIR|GLOB ...")] = ()
    """Folders of runs, folders of several, or patterns, as for compare."""

    output: Annotated[Path | None, arg(metavar="FILE.html")] = None
    """Where the page is written."""

    metrics: str = ""
    """Metrics of the table, with commas between; all: every one."""

    sort: str = ""
    """The metric by which rows are sorted, the best first."""

    title: str = "Federated recommendation: a comparison of runs"
    """Of the page."""

    force: Annotated[bool, FlagCreatePairsOff] = False
    """Show runs on different data or protocols side by side, untested."""

    def execute(self) -> int:
        """Writes the page."""
        from fedjax_rec.reporting.comparison import compare
        from fedjax_rec.reporting.folders import finished_runs
        from fedjax_rec.reporting.page import page

        if not self.runs:
            raise UserError("report: name at least one folder of a run, such as runs/NAME")
        if self.output is None or self.output.suffix not in (".html", ".htm"):
            raise UserError("report: name a page with --output FILE.html")
        records = finished_runs(self.runs)
        found = compare(records, metrics=self.metrics, sort=self.sort, force=self.force)
        try:
            self.output.parent.mkdir(parents=True, exist_ok=True)
            self.output.write_text(page(found, self.title), encoding="utf-8")
        except OSError as error:
            raise UserError(f"{self.output}: cannot be written ({error.strerror})") from error
        print(f"written to {self.output}")
        return 0
