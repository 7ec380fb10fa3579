"""`fedjax-rec recommend`: what a finished run recommends, to one client or to everybody."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from fedjax_rec.cli.plugins import Plugins, open_finished
from fedjax_rec.errors import UserError

if TYPE_CHECKING:
    from fedjax_rec.experiment import OpenedRun


@dataclass(frozen=True)
class Recommend:
    """Items that a client has not met, held-out ones among the met, the best first.

    To one client, on the screen: `recommend RUN --client ID`. To everybody, as a file with the
    columns user, item, rank and score: `recommend RUN --all --output recs.csv`.
    """

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Folder of a run, such as runs/ml-100k/fedmf."""

    client: Annotated[str, arg(metavar="ID")] = ""
    """The client's id in the data."""

    all: Annotated[bool, FlagCreatePairsOff] = False
    """Recommend to every client; needs --output."""

    output: Annotated[Path | None, arg(metavar="FILE")] = None
    """With --all: a .csv file, or a .parquet one with the extra `data`."""

    k: int = 10
    """How many items."""

    plugin: Plugins = ()
    """Python file of others' code, or an installed plug-in; may be given several times."""

    def execute(self) -> int:
        """Prints rank, title, item id and score; or writes a file."""
        self._check()
        if self.all:
            from fedjax_rec.experiment.recommendations import check_output

            assert self.output is not None
            check_output(self.output)
        run = open_finished(self.run, self.plugin)
        return self._write(run) if self.all else self._print(run)

    def _check(self) -> None:
        """Refuses what does not say who is asked for."""
        if self.k < 1:
            raise UserError(f"k: expected at least 1, got {self.k}")
        if self.all == bool(self.client):
            raise UserError(
                "recommend: name one client with --client ID, or take everybody with --all "
                "--output recs.csv; see fedjax-rec recommend --help"
            )
        if self.all and self.output is None:
            raise UserError("recommend --all: name a file with --output, such as recs.csv")
        if self.output is not None and not self.all:
            raise UserError("recommend --output: is for everybody; give --all and no --client")

    def _print(self, run: "OpenedRun") -> int:
        from rich.markup import escape
        from rich.table import Table

        from fedjax_rec.reporting import open_console

        titles = dict(zip(run.items.tolist(), run.titles or (), strict=False))
        table = Table("rank", "title", "item", "score")
        for rank, (item, score) in enumerate(run.recommend(self.client, self.k), start=1):
            title = escape(titles.get(item, "-"))
            table.add_row(str(rank), title, escape(item), f"{score:.4f}")
        open_console().print(table)
        return 0

    def _write(self, run: "OpenedRun") -> int:
        assert self.output is not None
        found = run.recommend_all(self.k)
        found.write(self.output)
        print(f"{self.output}: {len(found):,} rows, {len(run.users):,} clients")
        return 0
