"""The layouts that have a name, and how their files are recognised."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from fedjax_rec.data.interactions import Interactions
from fedjax_rec.data.sources import layouts
from fedjax_rec.data.sources.engine import read_layout
from fedjax_rec.data.sources.features import Reader, movielens_features, recbole_features
from fedjax_rec.data.sources.files import Files
from fedjax_rec.data.sources.layouts import Layout
from fedjax_rec.data.sources.minionerec import read_minionerec
from fedjax_rec.data.sources.ncf import read_ncf
from fedjax_rec.data.sources.tallrec import read_tallrec
from fedjax_rec.registry import READERS

MOVIELENS_HEADER = b"userid,movieid,rating,timestamp"


@dataclass(frozen=True)
class Format:
    """A file format, and how it is recognised.

    Attributes:
      pattern: of the name of its main file; `.gz` may follow. Empty where the name tells nothing.
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


def _of(
    layout: Layout,
    pattern: str = "",
    looks_right: Callable[[bytes], bool] = lambda line: True,
    features: Reader | None = None,
) -> Format:
    return Format(pattern, partial(read_layout, layout), looks_right, features=features)


def _has(separator: bytes) -> Callable[[bytes], bool]:
    return lambda line: separator in line


FORMATS = {
    "movielens": _of(layouts.MOVIELENS, "u.data", _has(b"\t"), movielens_features),
    "recbole": _of(layouts.RECBOLE, "*.inter", features=recbole_features),
    "ncf": Format("*.train.rating", read_ncf),
    "movielens_csv": _of(
        layouts.MOVIELENS_CSV,
        "ratings.csv",
        lambda line: line.strip().lower() == MOVIELENS_HEADER,
    ),
    "hetrec": _of(layouts.HETREC, "user_artists.dat"),
    "movielens_dat": _of(layouts.MOVIELENS_DAT, "ratings.dat", _has(b"::")),
    "comma": _of(layouts.COMMA, "ratings.dat", _has(b",")),
    "disencdr": _of(layouts.DISENCDR, "train.txt", _has(b"\t")),
    "selfrec": _of(layouts.SELFREC),
    "lightgcn": _of(layouts.LIGHTGCN),
    "pairs": _of(layouts.PAIRS),
    "sequences": _of(layouts.SEQUENCES),
    "json_lists": _of(layouts.JSON_LISTS),
    "caserec": _of(layouts.CASEREC),
    "minionerec": Format("", read_minionerec),
    "tallrec": Format("", read_tallrec),
}
"""The package's own formats by name; of several that a file may be in, the first reads it."""

for name, form in FORMATS.items():
    READERS.register(name, form)


def formats() -> tuple[Format, ...]:
    """All formats, those of plug-ins last."""
    return tuple(READERS.values())


def patterns() -> tuple[str, ...]:
    """The names of files that are read by their name."""
    return tuple(dict.fromkeys(form.pattern for form in formats() if form.pattern))


def known_layouts() -> str:
    """The names of all layouts, for messages."""
    return ", ".join(sorted(READERS))
