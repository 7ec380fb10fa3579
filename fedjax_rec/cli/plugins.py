"""`--plugin FILE.py`: others' code on the command line."""

from pathlib import Path
from typing import Annotated

from tyro.conf import UseAppendAction, arg

from fedjax_rec.config import from_dict, read_toml
from fedjax_rec.plugins import load_installed, load_plugin, refuse_missing

Plugins = Annotated[tuple[str, ...], UseAppendAction, arg(metavar="FILE.py")]


def load_plugins(names: tuple[str, ...]) -> None:
    """Loads what is installed, and what is named.

    Raises:
      UserError: something cannot be loaded.
    """
    load_installed()
    for name in names:
        load_plugin(name)


def refuse_missing_plugins(folder: Path) -> None:
    """Refuses to go on with a run whose plug-ins are not loaded now.

    Raises:
      UserError: one line that says which `--plugin` to give.
    """
    path = folder / "config.toml"
    if path.is_file():
        table = read_toml(path)
        records = {key: value for key, value in table.items() if key == "plugin"}
        named = {section: {"name": "x"} for section in ("data", "algorithm")}
        refuse_missing(from_dict(named | records, f"in {path}").plugins, str(folder))
