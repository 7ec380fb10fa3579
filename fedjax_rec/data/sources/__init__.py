"""Readers, one a file format, and the choice among them by looking at the path."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedjax_rec.data.interactions import Interactions
from fedjax_rec.data.sources.comma import read_comma
from fedjax_rec.data.sources.disencdr import read_disencdr
from fedjax_rec.data.sources.features import (
    Features,
    Reader,
    movielens_features,
    recbole_features,
)
from fedjax_rec.data.sources.files import Files, fits, open_files
from fedjax_rec.data.sources.hetrec import read_hetrec
from fedjax_rec.data.sources.movielens import read_movielens
from fedjax_rec.data.sources.movielens_csv import is_header, read_movielens_csv
from fedjax_rec.data.sources.movielens_dat import read_movielens_dat
from fedjax_rec.data.sources.ncf import read_ncf
from fedjax_rec.data.sources.recbole import read_recbole
from fedjax_rec.data.sources.sequences import read_pairs, read_sequences
from fedjax_rec.errors import UserError
from fedjax_rec.registry import READERS

ARCHIVES = (".zip", ".whl")

__all__ = ["ARCHIVES", "FORMATS", "Features", "Format", "holds_data", "read_features", "read_path"]


@dataclass(frozen=True)
class Format:
    """A file format, and how it is recognised.

    Attributes:
      pattern: of the name of its main file; `.gz` may follow. Empty where it is read only when
        asked for by name.
      read: the reader: files, the main file's name in them, the data set's name.
      looks_right: whether a first line may be one of this format.
      by_content: a file of any name is read so where its first line looks right.
      features: the reader of what is known of people and of items; `None` where the format
        lists nothing of the kind, or nobody has needed it.
    """

    pattern: str
    read: Callable[[Files, str, str], Interactions]
    looks_right: Callable[[bytes], bool] = lambda line: True
    by_content: bool = False
    features: Reader | None = None


FORMATS = (
    Format(
        "u.data",
        read_movielens,
        lambda line: b"\t" in line,
        by_content=True,
        features=movielens_features,
    ),
    Format("*.inter", read_recbole, features=recbole_features),
    Format("*.train.rating", read_ncf),
    Format("ratings.csv", read_movielens_csv, is_header, by_content=True),
    Format("user_artists.dat", read_hetrec),
    Format("ratings.dat", read_movielens_dat, lambda line: b"::" in line, by_content=True),
    Format("ratings.dat", read_comma, lambda line: b"," in line, by_content=True),
    Format("train.txt", read_disencdr),
    Format("", read_pairs),
    Format("", read_sequences),
)
"""The package's own formats; of several that a file may be in, the first reads it."""

for form in FORMATS:
    READERS.register(form.read.__name__.removeprefix("read_"), form)


def formats() -> tuple[Format, ...]:
    """All formats, those of plug-ins last."""
    return tuple(READERS.values())


def patterns() -> tuple[str, ...]:
    """The names of files that are read."""
    return tuple(dict.fromkeys(form.pattern for form in formats() if form.pattern))


def known() -> str:
    """The same, for messages."""
    return ", ".join(patterns())


def read_path(path: Path, name: str, layout: str = "") -> Interactions:
    """Reads a data set from a file, a folder, a zip or a wheel; finds out the format.

    A folder, zip or wheel is searched for the only main file of a format, or the one of the data
    set's own name; a folder without one for a single archive. Hidden files are none. A file
    goes by its name, and where that tells nothing by its first line. Every file may be
    packed as `.gz`.

    Args:
      path: what to read.
      name: the data set's name.
      layout: the reader's name; by default it is found out.

    Returns:
      The events in the file's order.

    Raises:
      UserError: nothing there, nothing known inside, several that are not read together, or
        a broken or malformed file.
    """
    form, files, member = _locate(path, name)
    if layout:
        form = READERS[layout]
    return form.read(files, member, name)


def read_features(path: Path, name: str) -> tuple[Features, Features]:
    """What the files of a data set know of its people and of its items.

    Args:
      path: as of `read_path`.
      name: the data set's name.

    Raises:
      UserError: as `read_path`; or there are no such files, or malformed ones.
    """
    form, files, member = _locate(path, name)
    if form.features is None:
        listed = " or ".join(form.pattern for form in formats() if form.features)
        raise UserError(
            f"{files.label(member)}: features of people and items are not read from this "
            f"format; records need data with {listed}"
        )
    return form.features(files, member)


def _locate(path: Path, name: str) -> tuple[Format, Files, str]:
    """The format of a data set, the files and the main one among them."""
    if not path.exists():
        raise UserError(
            f"{path}: no such file or folder; give one that exists: one of {known()}, "
            "a folder, zip or wheel with one of them"
        )
    if path.is_dir() or path.suffix in ARCHIVES:
        return _locate_inside(open_files(path), name)
    beside = open_files(path.parent)
    return _format_of(beside, path.name), beside, path.name


def holds_data(folder: Path) -> bool:
    """Whether a folder holds the main file of some format."""
    return folder.is_dir() and bool(open_files(folder).find(*patterns()))


def _locate_inside(files: Files, name: str) -> tuple[Format, Files, str]:
    if member := _main_file(files, name):
        return _format_of(files, member), files, member
    archives = [entry for entry in files.names if entry.endswith(ARCHIVES)]
    if len(archives) == 1 and not files.is_zip:
        return _locate_inside(open_files(files.where / archives[0]), name)
    if archives and not files.is_zip:
        raise UserError(f"{files.where}: holds {_listed(archives)}; give the path of one")
    raise UserError(
        f"{files.where}: holds no data in a known format; give one of {known()}, "
        "or a folder, zip or wheel with one of them"
    )


def _main_file(files: Files, name: str) -> str | None:
    """The only main file of a format, or the one of the data set's own name; `None` without any.

    Raises:
      UserError: there are several, or parts of one beside it; no file is left out in silence.
    """
    found = files.find(*patterns())
    own = files.find(*(pattern.replace("*", name) for pattern in patterns() if "*" in pattern))
    chosen = own if own and name else found
    if len(chosen) > 1:
        raise UserError(
            f"{files.where}: holds {_listed(chosen)}, which are not read together; join them "
            "into one file, or give the path of one"
        )
    if not chosen:
        return None
    stem = chosen[0].removesuffix(".gz").rpartition(".")[0]
    parts = [entry for entry in found if entry not in chosen and entry.startswith(f"{stem}.")]
    if parts:
        raise UserError(
            f"{files.where}: {_listed(parts)} would be left out beside {chosen[0]}; give the path "
            f"of {chosen[0]}, or of the other"
        )
    return chosen[0]


def _listed(names: Sequence[str], most: int = 4) -> str:
    return f"{', '.join(names[:most])}{' and others' if len(names) > most else ''}"


def _format_of(files: Files, member: str) -> Format:
    """By name and first line; else by name; else by the first line; else as `u.data`."""
    named = [form for form in formats() if fits(member, form.pattern)]
    line = files.first_line(member)
    fitting = [form for form in named if form.looks_right(line)]
    fitting_content = [form for form in formats() if form.by_content and form.looks_right(line)]
    return (fitting or named or fitting_content or list(formats()))[0]
