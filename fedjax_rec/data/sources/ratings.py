"""What several formats have in common: lines of user, item, rating and time."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedjax_rec.data.interactions import Interactions, from_events
from fedjax_rec.data.sources.columns import (
    Column,
    decode,
    floats,
    split_columns,
    text_ids,
    whole_ids,
)


class Ratings(NamedTuple):
    """The checked columns of a file of ratings, `[E]` each."""

    users: Column
    items: Column
    values: NDArray[np.float64]
    times: NDArray[np.float64]


def parse_ratings(
    content: bytes,
    *,
    label: str,
    separator: bytes = b"\t",
    has_text_ids: bool = False,
    first_line: int = 1,
) -> Ratings:
    r"""The columns of lines of user, item, rating and time.

    Args:
      content: lines, without a header.
      label: what to call the file in errors.
      separator: what stands between columns.
      has_text_ids: ids may be any text; otherwise they are whole numbers.
      first_line: number of the first line of `content` in its file.

    Raises:
      UserError: names the line without four columns, with a bad id, or with a rating or
        time that is not finite.

    >>> parse_ratings(b"1::5::4::99\n", label="f", separator=b"::").times.tolist()
    [99.0]
    """
    users, items, ratings, times = split_columns(
        content,
        4,
        label=label,
        expected="user, item, rating, timestamp",
        first_line=first_line,
        separator=separator,
    )
    ids = text_ids if has_text_ids else whole_ids
    return Ratings(
        ids(users, label=label, what="user id", first_line=first_line),
        ids(items, label=label, what="item id", first_line=first_line),
        floats(ratings, label=label, what="rating", first_line=first_line),
        floats(times, label=label, what="timestamp", first_line=first_line),
    )


def from_ratings(
    ratings: Ratings, *, label: str, name: str, titles: Mapping[str, str] | None = None
) -> Interactions:
    """Interactions from the columns of ratings, in the file's order.

    Raises:
      UserError: times too far apart.
    """
    return from_events(*ratings, name=name, titles=titles, where=label)


def titles_in(content: bytes, separator: bytes) -> dict[str, str]:
    """Item id -> title, from the first two columns of a listing.

    >>> titles_in("7::Café::Drama".encode("latin-1"), b"::")
    {'7': 'Café'}
    """
    # Not str.splitlines: it would part lines at characters of latin-1 too.
    rows = (line.split(separator, 2) for line in content.splitlines())
    return {decode(row[0]): decode(row[1]) for row in rows if len(row) > 1}
