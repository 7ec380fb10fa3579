"""MovieLens 100K as GroupLens publishes it: `u.data` with `u.item`."""

from fedjax_rec.data.interactions import Interactions
from fedjax_rec.data.sources.files import Files
from fedjax_rec.data.sources.ratings import from_ratings, parse_ratings, titles_in


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
    ratings = parse_ratings(files.read(member), label=label)
    listing = files.beside(member, "u.item")
    titles = None if listing is None else titles_in(files.read(listing), b"|")
    return from_ratings(ratings, label=label, name=name, titles=titles)
