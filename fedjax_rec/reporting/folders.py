"""Which runs are meant: folders, folders of runs, and patterns."""

import glob
from collections.abc import Iterable, Iterator
from pathlib import Path

from fedjax_rec.errors import UserError
from fedjax_rec.reporting.records import RunRecord, finished_run


def run_folders(names: Iterable[str | Path]) -> list[Path]:
    """The folders of runs that are named, each once.

    Args:
      names: a run's folder; a folder of runs, such as a sweep's, for all of them; or a pattern
        of either.

    Raises:
      UserError: there is none, or a pattern that nothing fits.
    """
    found: dict[Path, Path] = {}
    for name in map(str, names):
        for path in _matching(name):
            for folder in _runs_in(path):
                found.setdefault(folder.resolve(), folder)
    return list(found.values())


def finished_runs(names: Iterable[str | Path]) -> list[RunRecord]:
    """What the runs that are named left.

    Raises:
      UserError: one is missing or not finished, or two of them are one run.
    """
    return [finished_run(folder) for folder in run_folders(names)]


def _matching(name: str) -> list[Path]:
    if not glob.has_magic(name) or Path(name).exists():
        return [Path(name)]
    start = Path(Path(name).anchor)
    fits = sorted(start.glob(str(Path(name).relative_to(start))))
    paths = [path for path in fits if path.is_dir()]
    if not paths:
        raise UserError(f"{name}: no folder fits; name the folder of a run, such as runs/NAME")
    return paths


def _runs_in(folder: Path) -> list[Path]:
    """A run's folder itself; else the runs below it; else itself, to be refused by name."""
    return list(_below(folder)) or [folder]


def _below(folder: Path) -> Iterator[Path]:
    """Runs in and below a folder; what lies in a run's folder is no run."""
    if (folder / "config.toml").exists():
        yield folder
    elif folder.is_dir():
        for inner in sorted(folder.iterdir()):
            yield from _below(inner)
