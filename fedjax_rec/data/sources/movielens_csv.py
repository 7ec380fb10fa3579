"""MovieLens Latest, 20M, 25M and 32M as GroupLens publishes them: `ratings.csv`, `movies.csv`."""

import csv
import io

from fedjax_rec.data.interactions import Interactions
from fedjax_rec.data.sources.columns import decode
from fedjax_rec.data.sources.files import Files
from fedjax_rec.data.sources.ratings import from_ratings, parse_ratings
from fedjax_rec.errors import UserError

HEADER = "userId,movieId,rating,timestamp"


def is_header(line: bytes) -> bool:
    """Whether a line is the header of `ratings.csv`, in any case."""
    return line.strip().lower() == HEADER.lower().encode()


def read_movielens_csv(files: Files, member: str, name: str) -> Interactions:
    """Reads `ratings.csv` and titles from a `movies.csv` beside it (commas may be quoted).

    The catalogue is the rated films; `movies.csv` may list more.

    Args:
      files: the folder or zip that holds both.
      member: the name of `ratings.csv` in it.
      name: the data set's name.

    Returns:
      The events in the file's order, titles where there is a `movies.csv`.

    Raises:
      UserError: names file and line of a missing header, of an id that is not a whole
        number >= 0, of a rating or time that is not finite, or of a line without four
        columns.
    """
    label = files.label(member)
    header, _, body = files.read(member).partition(b"\n")
    if not is_header(header):
        shown = header[:40].decode("utf-8", "replace").strip()
        raise UserError(f"{label}, line 1: {shown!r} is not the header {HEADER}; add it")
    ratings = parse_ratings(body, label=label, separator=b",", first_line=2)
    return from_ratings(ratings, label=label, name=name, titles=_titles(files, member))


def _titles(files: Files, member: str) -> dict[str, str] | None:
    """Item id -> title; the header line gives an entry that no item asks for."""
    listing = files.beside(member, "movies.csv")
    if listing is None:
        return None
    rows = csv.reader(io.StringIO(decode(files.read(listing)), newline=""))
    return {row[0]: row[1] for row in rows if len(row) > 1}
