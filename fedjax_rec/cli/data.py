"""`fedjax-rec data`: what data sets there are, and what is in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg, subcommand

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


def _said(role: str) -> object:
    """A flag of `describe` that goes by the configuration's name too."""
    return arg(aliases=(f"--data.{role}",))


@dataclass(frozen=True)
class Describe:
    """Statistics of a data set, or of a file: `data describe my.csv --user u --item i`."""

    name: Positional[str] = "mine"
    """A data set such as ml-100k, or a file or folder."""

    path: Annotated[str, _said("path")] = ""
    """File or folder to read; by default it is searched for."""

    layout: Annotated[str, _said("layout")] = ""
    """How it is laid out, by name; by default that is found out."""

    user: Annotated[str, _said("user")] = ""
    """Its column of users, by name or number from 1; likewise."""

    item: Annotated[str, _said("item")] = ""
    """Its column of items."""

    rating: Annotated[str, _said("rating")] = ""
    """Its column of ratings or counts."""

    time: Annotated[str, _said("time")] = ""
    """Its column of times."""

    separator: Annotated[str, _said("separator")] = ""
    """Between its columns: tab, comma, semicolon, blank, '|' or '::'."""

    def execute(self) -> int:
        """Prints a table."""
        from fedjax_rec.data import DATASETS, Columns, describe, read
        from fedjax_rec.data.choices import possible_holdouts
        from fedjax_rec.reporting import facts_table, open_console

        name, path = self.name, self.path
        if not path and name not in DATASETS and (Path(name).exists() or ".zip:" in name):
            name, path = "mine", name
        if not path and name == "mine":
            raise UserError("data describe: name a data set, such as ml-100k, or a file")
        columns = Columns(self.user, self.item, self.rating, self.time, self.separator)
        events = read(name, path=path, layout=self.layout, columns=columns)
        facts = describe(events)
        facts |= {
            f"{end}_time": datetime.fromtimestamp(int(facts[f"{end}_time"]), UTC).isoformat()
            for end in ("first", "last")
            if facts[f"{end}_time"]
        }
        facts["times"] = "order only" if events.is_order_only else _times_in_words(facts)
        facts["holdouts"] = ", ".join(possible_holdouts(events)) or "none"
        open_console().print(facts_table(name, facts))
        return 0


def _times_in_words(facts: Mapping[str, float | int | str]) -> str:
    unknown = int(facts["unknown_times"])
    if unknown == facts["events"]:
        return "none"
    return f"{unknown} of {facts['events']} unknown" if unknown else "all known"


@dataclass(frozen=True)
class Data:
    """Data sets: list, get, describe."""

    action: OmitArgPrefixes[
        Annotated[List, subcommand("list", prefix_name=False)]
        | Annotated[Get, subcommand("get", prefix_name=False)]
        | Annotated[Describe, subcommand("describe", prefix_name=False)]
    ]

    def execute(self) -> int:
        """Does the action."""
        return self.action.execute()
