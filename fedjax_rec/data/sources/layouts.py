"""How files of events are laid out, as plain facts that one engine reads by."""

from dataclasses import dataclass
from typing import Literal

Shape = Literal["table", "lists", "json", "json_lines", "parquet"]
Header = Literal["none", "names", "typed", "maybe"]
ROLES = ("user", "item", "rating", "time")
SEPARATOR_WORDS = {
    "\t": "tab",
    ",": "comma",
    ";": "semicolon",
    "|": "'|'",
    "::": "'::'",
    "": "blank",
}
"""Separator -> what it is called; the empty one stands for any run of blanks and tabs."""

MISSING_COLUMN = ""


@dataclass(frozen=True)
class Titles:
    """A listing of items beside the events.

    Attributes:
      file: its name.
      separator: between the id, the title and whatever follows; of `csv`, commas and quotes.
    """

    file: str
    separator: str


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the lines of a file are read.

    Attributes:
      name: how it is asked for.
      summary: a line of it, as the list of layouts shows it.
      shape: `table`: a line an event. `lists`: a line a user, then its items. `json`: one object
        of lists of items by user. `json_lines`: an object a line. `parquet`: a table.
      separator: between columns; empty for any run of blanks and tabs.
      header: whether the first line names the columns: `none`, `names`, `typed` (as RecBole's
        `user_id:token`), or `maybe`, where that shows.
      user: the column of users, by name or by number from 1; by number where there is no header.
      item: likewise of items.
      rating: likewise; empty where there is none.
      time: likewise; empty where there is none.
      num_columns: of every line; 0: as many as the first has.
      has_whole_ids: whether ids are whole numbers; otherwise any text.
      is_ordered: whether order in the file is order in time, in place of times.
      is_strict: a line is an event or an error; otherwise blank lines and lines of comment are
        passed over and counted, and quotes around a field are no part of it.
      has_parts: whether files of training and test events make one data set.
      titles: of items, in a file beside it.
      further: a file of the same layout beside it, whose items belong to the catalogue as well.
      words: what errors call the four columns.
    """

    name: str
    summary: str
    shape: Shape = "table"
    separator: str = ","
    header: Header = "none"
    user: str | int = 1
    item: str | int = 2
    rating: str | int = MISSING_COLUMN
    time: str | int = MISSING_COLUMN
    num_columns: int = 0
    has_whole_ids: bool = False
    is_ordered: bool = False
    is_strict: bool = False
    has_parts: bool = False
    titles: Titles | None = None
    further: str = ""
    words: tuple[str, str, str, str] = ("user id", "item id", "rating", "timestamp")

    @property
    def columns(self) -> dict[str, str | int]:
        """Role -> its column, of the columns that there are.

        >>> Layout(name="x", summary="", rating=3).columns
        {'user': 1, 'item': 2, 'rating': 3}
        """
        found = {role: getattr(self, role) for role in ROLES}
        return {role: column for role, column in found.items() if column != MISSING_COLUMN}


MOVIELENS = Layout(
    name="movielens",
    summary="MovieLens 100K: user, item, rating, time between tabs; titles in u.item",
    separator="\t",
    rating=3,
    time=4,
    num_columns=4,
    has_whole_ids=True,
    is_strict=True,
    titles=Titles("u.item", "|"),
)
MOVIELENS_DAT = Layout(
    name="movielens_dat",
    summary="MovieLens 1M and 10M: user::item::rating::time; titles in movies.dat",
    separator="::",
    rating=3,
    time=4,
    num_columns=4,
    has_whole_ids=True,
    is_strict=True,
    titles=Titles("movies.dat", "::"),
)
MOVIELENS_CSV = Layout(
    name="movielens_csv",
    summary="MovieLens Latest, 20M, 25M, 32M: header userId,movieId,rating,timestamp; movies.csv",
    header="names",
    user="userId",
    item="movieId",
    rating="rating",
    time="timestamp",
    is_strict=True,
    titles=Titles("movies.csv", "csv"),
)
COMMA = Layout(
    name="comma",
    summary="PFedRec: user,item,rating,time without a header; ids of any text",
    rating=3,
    time=4,
    num_columns=4,
    is_strict=True,
)
HETREC = Layout(
    name="hetrec",
    summary="HetRec Last.fm: user, artist, count between tabs; names in artists.dat; no times",
    separator="\t",
    header="maybe",
    rating=3,
    num_columns=3,
    has_whole_ids=True,
    is_strict=True,
    titles=Titles("artists.dat", "\t"),
    words=("user id", "artist id", "listening count", ""),
)
DISENCDR = Layout(
    name="disencdr",
    summary="DisenCDR: train.txt and test.txt of user, item, 1 between tabs; no times",
    separator="\t",
    rating=3,
    num_columns=3,
    has_whole_ids=True,
    is_strict=True,
    has_parts=True,
    further="test_original.txt",
    words=("user id", "item id", "value", ""),
)
SELFREC = Layout(
    name="selfrec",
    summary="SELFRec: train.txt, valid.txt, test.txt of `user item 1` between blanks; no times",
    separator="",
    rating=3,
    num_columns=3,
    has_parts=True,
    words=("user id", "item id", "value", ""),
)
LIGHTGCN = Layout(
    name="lightgcn",
    summary="LightGCN: train.txt, valid.txt, test.txt of `user item item ...`; no order, no times",
    shape="lists",
    separator="",
    has_parts=True,
)
RECBOLE = Layout(
    name="recbole",
    summary="RecBole: NAME.inter, or NAME.train.inter and so on; tabs, a typed header; NAME.item",
    separator="\t",
    header="typed",
    user="user_id",
    item="item_id",
    rating="rating",
    time="timestamp",
    is_strict=True,
    has_parts=True,
    titles=Titles("*.item", "typed"),
    words=("user_id", "item_id", "rating", "timestamp"),
)
PAIRS = Layout(
    name="pairs",
    summary="SASRec: `user item` a line, in order of time",
    separator="",
    num_columns=2,
    is_ordered=True,
)
SEQUENCES = Layout(
    name="sequences",
    summary="S3-Rec: `user item item ...` a line, in order of time",
    shape="lists",
    separator="",
    is_ordered=True,
)
JSON_LISTS = Layout(
    name="json_lists",
    summary="LETTER: one JSON object, user -> list of items in order of time",
    shape="json",
    is_ordered=True,
)
CASEREC = Layout(
    name="caserec",
    summary="Case Recommender: tabs and a header, user, item, value in this order; no times",
    separator="\t",
    header="maybe",
    rating=3,
    words=("user id", "item id", "value", ""),
)
