"""Ratings between commas, without a header, as published with PFedRec: `ratings.dat`.

Format: the data folder of https://github.com/Zhangcx19/IJCAI-23-PFedRec
"""

from fedjax_rec.data.interactions import Interactions
from fedjax_rec.data.sources.files import Files
from fedjax_rec.data.sources.ratings import from_ratings, parse_ratings


def read_comma(files: Files, member: str, name: str) -> Interactions:
    """Reads lines of `user,item,rating,timestamp`; ids are any text without a comma.

    Args:
      files: the folder or zip that holds the file.
      member: its name there.
      name: the data set's name.

    Returns:
      The events in the file's order.

    Raises:
      UserError: names file and line of an empty id, of a rating or time that is not
        finite, or of a line without four columns.
    """
    label = files.label(member)
    ratings = parse_ratings(files.read(member), label=label, separator=b",", has_text_ids=True)
    return from_ratings(ratings, label=label, name=name)
