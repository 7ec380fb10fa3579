"""`fedjax-rec compare`: finished runs side by side, over seeds, and which of them differ."""

import sys
from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from fedjax_rec.cli.plugins import Plugins, load_plugins
from fedjax_rec.errors import UserError


@dataclass(frozen=True)
class Compare:
    """Finished runs side by side: means over seeds, their errors, and which of them differ."""

    runs: Annotated[Positional[tuple[str, ...]], arg(metavar="RUN|DIR|GLOB ...")] = ()
    """Folders of runs, such as runs/ml-100k/fedmf; folders of several; or patterns of either."""

    metrics: str = ""
    """Metrics with commas between, such as ndcg@10,auc,valid/ndcg@10; all: every one."""

    sort: str = ""
    """The metric by which rows are sorted, the best first."""

    format: Literal["table", "markdown", "csv", "latex", "json"] = "table"
    """How the rows are written."""

    force: Annotated[bool, FlagCreatePairsOff] = False
    """Show runs on different data or protocols side by side, untested."""

    plugin: Plugins = ()
    """Python file of others' code, or an installed plug-in; may be given several times."""

    def execute(self) -> int:
        """Prints the rows, and a warning where noise was added without a guarantee."""
        from fedjax_rec.reporting import comparison, folders, formats, is_noisy, open_console
        from fedjax_rec.reporting.comparison_tables import print_comparison

        if self.plugin:
            load_plugins(self.plugin)
        if not self.runs:
            raise UserError("compare: name at least one folder of a run, such as runs/NAME")
        records = folders.finished_runs(self.runs)
        metrics = self.metrics or ("all" if self.format == "json" else "")
        found = comparison.compare(records, metrics=metrics, sort=self.sort, force=self.force)
        if self.format == "table":
            print_comparison(open_console(), found)
        else:
            text = {
                "markdown": formats.to_markdown,
                "csv": formats.to_csv,
                "latex": formats.to_latex,
                "json": formats.to_json,
            }[self.format](found)
            print(text.rstrip("\n"))
        for difference in found.differences:
            print(f"warning: rows are not comparable: {difference} differ", file=sys.stderr)
        if noisy := [str(record.path) for record in records if is_noisy(record)]:
            warning = f"noise for privacy was added, without a stated guarantee: {', '.join(noisy)}"
            print(f"warning: {warning}", file=sys.stderr)
        return 0
