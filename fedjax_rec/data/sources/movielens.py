"""MovieLens as GroupLens publishes it: `u.data` with `u.item`."""

from fedjax_rec.data.interactions import Interactions, from_events
from fedjax_rec.data.sources.columns import check_ids, floats, split_columns
from fedjax_rec.data.sources.files import Files

_EXPECTED = "user, item, rating, timestamp"
_LONGEST_ID = 18


def read_movielens(files: Files, member: str, name: str) -> Interactions:
    """Reads `u.data` (user, item, rating, time; tabs) and titles from a `u.item` beside it.

    Args:
      files: the folder or zip that holds both.
      member: the name of `u.data` in it.
      name: the data set's name.

    Returns:
      The events in the file's order, titles where there is a `u.item`.

    Raises:
      UserError: names file and line of an id that is not a whole number >= 0, of a
        rating or time that is not finite, or of a line without four columns.
    """
    label = files.label(member)
    users, items, ratings, times = split_columns(
        files.read(member), 4, label=label, expected=_EXPECTED
    )
    check_ids(users, _is_whole, "a whole number >= 0", label=label, what="user id")
    check_ids(items, _is_whole, "a whole number >= 0", label=label, what="item id")
    return from_events(
        users,
        items,
        floats(ratings, label=label, what="rating"),
        floats(times, label=label, what="timestamp"),
        name=name,
        titles=_titles(files, member),
        where=label,
    )


def _is_whole(field: bytes) -> bool:
    return field.isdigit() and len(field) <= _LONGEST_ID


def _titles(files: Files, member: str) -> dict[str, str] | None:
    """Item id -> title, from the first two columns of `u.item`."""
    beside = member.rpartition("/")[0]
    listing = f"{beside}/u.item" if beside else "u.item"
    if listing not in files.names:
        return None
    # u.item is latin-1: titles such as "Misérables, Les (1995)".
    rows = (line.split("|", 2) for line in files.read(listing).decode("latin-1").splitlines())
    return {row[0]: row[1] for row in rows if len(row) > 1}
