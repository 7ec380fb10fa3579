"""Readers, one a file format, and the choice among them by looking at the path."""

from pathlib import Path

from fedjax_rec.data.interactions import Interactions
from fedjax_rec.data.sources.files import Files, open_files
from fedjax_rec.data.sources.movielens import read_movielens
from fedjax_rec.data.sources.recbole import read_recbole
from fedjax_rec.errors import UserError

ARCHIVES = (".zip", ".whl")
FORMATS = "u.data, NAME.inter[.gz], a folder with one of them, or a zip or wheel with one of them"

__all__ = ["ARCHIVES", "FORMATS", "read_path"]


def read_path(path: Path, name: str) -> Interactions:
    """Reads a data set from a file, a folder, a zip or a wheel; finds out the format.

    A file that ends in `.inter` or `.inter.gz` is a RecBole atomic file, in `.zip` or
    `.whl` an archive, and anything else is read as `u.data`. A folder is searched for
    `u.data`, then for `.inter` files (`NAME.inter` first), then for a single archive.

    Args:
      path: what to read.
      name: the data set's name.

    Returns:
      The events in the file's order.

    Raises:
      UserError: nothing there, nothing known inside, or a broken or malformed file.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give one that exists: {FORMATS}")
    if path.is_dir():
        return _read_any(open_files(path), name)
    if path.suffix in ARCHIVES:
        return _read_any(open_files(path), name)
    beside = open_files(path.parent)
    if path.name.endswith((".inter", ".inter.gz")):
        return read_recbole(beside, path.name, name)
    return read_movielens(beside, path.name, name)


def _read_any(files: Files, name: str) -> Interactions:
    if member := files.find("u.data"):
        return read_movielens(files, member, name)
    if member := files.find(f"{name}.inter", f"{name}.inter.gz", "*.inter", "*.inter.gz"):
        return read_recbole(files, member, name)
    archives = [entry for entry in files.names if entry.endswith(ARCHIVES)]
    if len(archives) == 1 and not files.is_zip:
        return _read_any(open_files(files.where / archives[0]), name)
    raise UserError(f"{files.where}: holds no u.data and no .inter file; give {FORMATS}")
