"""Files of events in any layout: which file it is, how it is laid out, and what is in it."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from fedjax_rec.data.interactions import Interactions
from fedjax_rec.data.sources import layouts
from fedjax_rec.data.sources.engine import read_layout
from fedjax_rec.data.sources.features import Features
from fedjax_rec.data.sources.files import ARCHIVES, Files, fits, open_files, split_member
from fedjax_rec.data.sources.guess import Columns, guess, in_words
from fedjax_rec.data.sources.known import Format, formats, known_layouts, patterns
from fedjax_rec.data.sources.layouts import Layout
from fedjax_rec.data.sources.parts import training_part
from fedjax_rec.errors import UserError
from fedjax_rec.registry import READERS

ENDINGS = (
    *(".csv", ".tsv", ".txt", ".dat", ".data", ".inter", ".rating", ".ratings", ".tab"),
    *(".json", ".jsonl", ".ndjson", ".parquet"),
)
"""What files of events are called, where the name alone does not tell the layout."""

NO_EVENTS = ("readme", "license", "licence", "copying", "citation", "requirements", "changelog")

__all__ = [
    "ARCHIVES",
    "Columns",
    "Features",
    "Format",
    "Layout",
    "holds_data",
    "known_layouts",
    "lists_features",
    "read_features",
    "read_path",
    "split_member",
]


def read_path(
    path: Path, name: str, layout: str = "", columns: Columns = Columns()
) -> Interactions:
    """Reads a data set from a file, a folder, a zip or a wheel; finds out the layout.

    A folder, zip or wheel is searched for the only main file of a layout, or the one of the data
    set's own name, or the only file that may hold events; a folder without one for a single
    archive. `ARCHIVE.zip:MEMBER` is a file in a zip. Hidden files are none. A file goes by its
    name, and where that tells nothing by its first lines. Every file may be packed as `.gz`.

    Args:
      path: what to read.
      name: the data set's name.
      layout: a name of `READERS`; by default it is found out.
      columns: what is said of the columns; then the file is a table of these.

    Returns:
      The events in the file's order; in their `notes` what was understood, where it was guessed.

    Raises:
      UserError: nothing there, nothing known inside, several that are not read together, lines
        that do not show their layout, or a broken or malformed file.
    """
    form, files, member = _locate(path, name, layout, columns)
    return form.read(files, member, name)


def lists_features(path: Path, name: str, layout: str = "") -> bool:
    """Whether files of this format say more of people and items than what these are called."""
    return _locate(path, name, layout)[0].features is not None


def read_features(path: Path, name: str, layout: str = "") -> tuple[Features, Features]:
    """What the files of a data set know of its people and of its items.

    Args:
      path: as of `read_path`.
      name: the data set's name.
      layout: as of `read_path`.

    Raises:
      UserError: as `read_path`; or there are no such files, or malformed ones.
    """
    form, files, member = _locate(path, name, layout)
    if form.features is None:
        listed = " or ".join(form.pattern for form in formats() if form.features)
        raise UserError(
            f"{files.label(member)}: features of people and items are not read from this "
            f"format; records need data with {listed}"
        )
    return form.features(files, member)


def holds_data(folder: Path) -> bool:
    """Whether a folder holds the main file of some layout."""
    return folder.is_dir() and bool(open_files(folder).find(*patterns()))


def _locate(
    path: Path, name: str, layout: str = "", columns: Columns = Columns()
) -> tuple[Format, Files, str]:
    """The format of a data set, the files and the main one among them."""
    files, member = _place(path, name)
    if layout:
        if columns:
            raise UserError(
                f"{files.label(member)}: a named layout says which columns there are; leave out "
                "either data.layout or data.user, data.item, data.rating, data.time, data.separator"
            )
        return READERS.find(layout), files, member
    return _format_of(files, member, columns), files, member


def _place(path: Path, name: str) -> tuple[Files, str]:
    archive, member = split_member(path)
    if member:
        files = open_files(archive)
        if member not in files.names:
            raise UserError(f"{archive}: holds no {member}; it has {_listed(files.names)}")
        return files, member
    if not path.exists():
        raise UserError(
            f"{path}: no such file or folder; give one that exists: a table of events, JSON or "
            "parquet, or a folder, zip or wheel with one of them"
        )
    if path.is_dir() or path.suffix in ARCHIVES:
        return _place_inside(open_files(path), name)
    return open_files(path.parent), path.name


def _place_inside(files: Files, name: str) -> tuple[Files, str]:
    if member := _main_file(files, name):
        return files, member
    archives = [entry for entry in files.names if entry.endswith(ARCHIVES)]
    if len(archives) == 1 and not files.is_zip:
        return _place_inside(open_files(files.where / archives[0]), name)
    if archives and not files.is_zip:
        raise UserError(f"{files.where}: holds {_listed(archives)}; give the path of one")
    raise UserError(
        f"{files.where}: holds no data in a known format; give one of {', '.join(patterns())}, "
        f"a file that ends in {', '.join(ENDINGS)}, or a folder, zip or wheel with one of them"
    )


def _main_file(files: Files, name: str) -> str | None:
    """The only main file, or the one of the data set's own name; `None` without any.

    Raises:
      UserError: there are several, or parts of one beside it; no file is left out in silence.
    """
    found = files.find(*patterns())
    own = files.find(*(pattern.replace("*", name) for pattern in patterns() if "*" in pattern))
    chosen = own if own and name else found or [one for one in files.names if _may_be_events(one)]
    if len(chosen) > 1 and (training := training_part(chosen)):
        return training
    if len(chosen) > 1:
        where = f"{files.where}:{chosen[0]}" if files.is_zip else "the path of one"
        raise UserError(
            f"{files.where}: holds {_listed(chosen)}, which are not read together; join them "
            f"into one file, or give {where if files.is_zip else 'the path of one'}"
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


def _may_be_events(entry: str) -> bool:
    name = entry.rpartition("/")[2].lower().removesuffix(".gz")
    return name.endswith(ENDINGS) and not name.startswith(NO_EVENTS)


def _listed(names: Sequence[str], most: int = 4) -> str:
    return f"{', '.join(names[:most])}{' and others' if len(names) > most else ''}"


def _format_of(files: Files, member: str, columns: Columns) -> Format:
    """By what is said; else by name and first line; else by what the first lines show."""
    line = files.first_line(member)
    if not columns:
        named = [form for form in formats() if form.pattern and fits(member, form.pattern)]
        by_content = [form for form in formats() if form.by_content]
        fitting = [form for form in (*named, *by_content) if form.looks_right(line)]
        if fitting:
            return fitting[0]
    layout = guess(files, member, columns)
    if fits(member, "ratings.csv"):
        layout = replace(layout, titles=layouts.MOVIELENS_CSV.titles)
    return Format("", partial(_read_and_tell, layout))


def _read_and_tell(layout: Layout, files: Files, member: str, name: str) -> Interactions:
    """Reads it, and notes what was understood."""
    events = read_layout(layout, files, member, name)
    return replace(events, notes=(in_words(layout, files.label(member)), *events.notes))
