"""Last.fm as published at HetRec 2011: `user_artists.dat` with `artists.dat`.

Format: https://grouplens.org/datasets/hetrec-2011/
"""

from fedjax_rec.data.interactions import Interactions, from_events
from fedjax_rec.data.sources.columns import floats, split_columns, whole_ids
from fedjax_rec.data.sources.files import Files
from fedjax_rec.data.sources.ratings import titles_in


def read_hetrec(files: Files, member: str, name: str) -> Interactions:
    """Reads how often who listened to whom, and the names in an `artists.dat` beside it.

    Lines are `user, artist, count`, between tabs. Some copies lack the header line; it is
    passed over only where there is one. There are no times.

    Args:
      files: the folder or zip that holds both.
      member: the name of `user_artists.dat` in it.
      name: the data set's name.

    Returns:
      The events in the file's order, listening counts as values, names as titles.

    Raises:
      UserError: names file and line of an id that is not a whole number >= 0, of a count
        that is not finite, or of a line without three columns.
    """
    label = files.label(member)
    content, first_line = files.read(member), 1
    if content[:6].lower() == b"userid":
        content, first_line = content.partition(b"\n")[2], 2
    columns = split_columns(
        content, 3, label=label, expected="user, artist, count", first_line=first_line
    )
    users = whole_ids(columns[0], label=label, what="user id", first_line=first_line)
    artists = whole_ids(columns[1], label=label, what="artist id", first_line=first_line)
    counts = floats(columns[2], label=label, what="listening count", first_line=first_line)
    listing = files.beside(member, "artists.dat")
    titles = None if listing is None else titles_in(files.read(listing), b"\t")
    return from_events(users, artists, counts, name=name, titles=titles, where=label)
