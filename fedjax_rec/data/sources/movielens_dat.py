"""MovieLens 1M and 10M as GroupLens publishes them: `ratings.dat` with `movies.dat`."""

from fedjax_rec.data.interactions import Interactions
from fedjax_rec.data.sources.files import Files
from fedjax_rec.data.sources.ratings import from_ratings, parse_ratings, titles_in


def read_movielens_dat(files: Files, member: str, name: str) -> Interactions:
    """Reads `user::item::rating::time` and titles from a `movies.dat` beside it (latin-1).

    The catalogue is the rated films; `movies.dat` may list more. A time of 0 is unknown.

    Args:
      files: the folder or zip that holds both.
      member: the name of `ratings.dat` in it.
      name: the data set's name.

    Returns:
      The events in the file's order, titles where there is a `movies.dat`.

    Raises:
      UserError: names file and line of an id that is not a whole number >= 0, of a
        rating or time that is not finite, or of a line without four columns.
    """
    label = files.label(member)
    ratings = parse_ratings(files.read(member), label=label, separator=b"::")
    listing = files.beside(member, "movies.dat")
    titles = None if listing is None else titles_in(files.read(listing), b"::")
    return from_ratings(ratings, label=label, name=name, titles=titles)
