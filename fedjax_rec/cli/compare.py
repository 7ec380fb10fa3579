"""`fedjax-rec compare`: finished runs side by side."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from fedjax_rec.errors import UserError


@dataclass(frozen=True)
class Compare:
    """Finished runs side by side: how good they are, for whom, and what they show."""

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN ...")] = ()
    """Folders of runs, such as runs/ml-100k/fedmf."""

    def execute(self) -> int:
        """Prints the tables, and a warning where rows are not comparable."""
        from fedjax_rec.reporting import (
            beyond_table,
            comparison_table,
            data_differences,
            finished_run,
            is_noisy,
            open_console,
            protocol_differences,
        )

        if not self.runs:
            raise UserError("compare: name at least one folder of a run, such as runs/NAME")
        records = [finished_run(folder) for folder in self.runs]
        console = open_console()
        console.print(comparison_table(records))
        if beyond := beyond_table(records):
            console.print(beyond)
        if differences := protocol_differences(records):
            warning = f"protocols differ, rows are not comparable: {', '.join(differences)}"
            print(f"warning: {warning}", file=sys.stderr)
        if names := data_differences(records):
            warning = f"data differ, rows are not comparable: {', '.join(names)}"
            print(f"warning: {warning}", file=sys.stderr)
        if noisy := [str(record.path) for record in records if is_noisy(record)]:
            warning = f"noise for privacy was added, without a stated guarantee: {', '.join(noisy)}"
            print(f"warning: {warning}", file=sys.stderr)
        return 0
