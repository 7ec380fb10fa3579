"""`--plugin FILE.py`: others' code on the command line."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import UseAppendAction, arg

from fedjax_rec.cli.process import prepare_process
from fedjax_rec.config import from_dict, read_toml
from fedjax_rec.plugins import load_installed, load_plugin, refuse_missing

if TYPE_CHECKING:
    from fedjax_rec.experiment import OpenedRun

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


def open_finished(folder: Path, plugins: tuple[str, ...]) -> "OpenedRun":
    """Opens a finished run for a verb that computes with it; the process is prepared for that.

    Raises:
      UserError: as `experiment.open_run`.
    """
    from fedjax_rec.reporting import finished_run

    finished_run(folder)  # told before jax is started
    tell_settings = prepare_process()

    from fedjax_rec.experiment import open_run

    run = open_run(folder, plugins=plugins)
    tell_settings()
    return run
