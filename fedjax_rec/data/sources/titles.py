"""Titles of items, from a listing beside the events."""

import csv
import io

from fedjax_rec.data.sources.columns import decode
from fedjax_rec.data.sources.files import Files
from fedjax_rec.data.sources.layouts import Layout
from fedjax_rec.data.sources.recbole import read_atomic


def read_titles(layout: Layout, files: Files, member: str) -> dict[str, str] | None:
    """Item id -> title, where the layout names a listing and it is there; a header does no harm.

    Args:
      layout: of the events.
      files: the folder or zip that holds them.
      member: their name there.
    """
    if layout.titles is None:
        return None
    name = layout.titles.file
    if name.startswith("*"):
        name = f"{_stem(member)}{name[1:]}"
    listing = files.beside(member, name)
    if listing is None:
        return None
    if layout.titles.separator == "typed":
        return _typed(files, listing)
    if layout.titles.separator == "csv":
        rows = csv.reader(io.StringIO(decode(files.read(listing)), newline=""))
        return {row[0]: row[1] for row in rows if len(row) > 1}
    return titles_in(files.read(listing), layout.titles.separator.encode())


def titles_in(content: bytes, separator: bytes) -> dict[str, str]:
    """Item id -> title, from the first two columns of a listing.

    >>> titles_in("7::Café::Drama".encode("latin-1"), b"::")
    {'7': 'Café'}
    """
    # Not str.splitlines: it would part lines at characters of latin-1 too.
    rows = (line.split(separator, 2) for line in content.splitlines())
    return {decode(row[0]): decode(row[1]) for row in rows if len(row) > 1}


def _stem(member: str) -> str:
    """`ml-100k` of `ml-100k.inter.gz`, and of `ml-100k.train.inter`."""
    own = member.rpartition("/")[2].removesuffix(".gz").rpartition(".")[0]
    return own.removesuffix(".train")


def _typed(files: Files, listing: str) -> dict[str, str] | None:
    """From an `.item` file's first field that is a title or a name."""
    columns = read_atomic(files, listing)
    title = next((field for field in columns if "title" in field or "name" in field), None)
    if title is None or "item_id" not in columns:
        return None
    pairs = zip(columns["item_id"], columns[title], strict=True)
    return {i.decode("utf-8", "replace"): t.decode("utf-8", "replace") for i, t in pairs}
