"""`fedjax-rec data`: what data sets there are, and what is in them."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, subcommand

from fedjax_rec.errors import UserError, did_you_mean


@dataclass(frozen=True)
class List:
    """The data sets known by name."""

    def execute(self) -> int:
        """Prints a table."""
        from rich.table import Table

        from fedjax_rec.data import DATASETS
        from fedjax_rec.reporting import open_console

        table = Table("name", "users", "items", "events", "summary")
        for name, dataset in DATASETS.items():
            counts = [dataset.statistics.get(what) for what in ("users", "items", "events")]
            table.add_row(name, *(f"{n:,}" if n else "any" for n in counts), dataset.summary)
        open_console().print(table)
        return 0


@dataclass(frozen=True)
class Get:
    """Obtain a data set and say where it is."""

    name: Positional[str]
    """A data set, such as ml-100k."""

    def execute(self) -> int:
        """Prints the path; two of a data set of two domains."""
        from fedjax_rec.data import DATASETS
        from fedjax_rec.data.obtain import find, show_terms_once
        from fedjax_rec.data.reading import print_notice
        from fedjax_rec.data.registry import SYNTHETIC

        if self.name not in DATASETS:
            raise UserError(f"unknown data set {self.name!r}{did_you_mean(self.name, DATASETS)}")
        dataset = DATASETS[self.name]
        if dataset is SYNTHETIC:
            print(f"{self.name}: generated when it is used, needs no file")
            return 0
        for part in [DATASETS[domain] for domain in dataset.domains] or [dataset]:
            path = find(part)
            show_terms_once(part, print_notice)
            print(path)
        return 0


@dataclass(frozen=True)
class Describe:
    """Statistics of a data set."""

    name: Positional[str]
    """A data set, such as ml-100k; with --path, any name."""

    path: str = ""
    """File or folder to read; by default it is searched for."""

    def execute(self) -> int:
        """Prints a table."""
        from fedjax_rec.data import describe, read
        from fedjax_rec.reporting import facts_table, open_console

        facts = describe(read(self.name, path=self.path))
        open_console().print(facts_table(self.name, facts))
        return 0


@dataclass(frozen=True)
class Data:
    """Data sets: list, get, describe."""

    action: (
        Annotated[List, subcommand("list", prefix_name=False)]
        | Annotated[Get, subcommand("get", prefix_name=False)]
        | Annotated[Describe, subcommand("describe", prefix_name=False)]
    )

    def execute(self) -> int:
        """Does the action."""
        return self.action.execute()
