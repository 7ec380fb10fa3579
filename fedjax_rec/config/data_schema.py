"""The options of a run that say what data there are and how they are parted."""

from dataclasses import MISSING, dataclass, field
from typing import Any, Literal


def option(default: Any, help: str, **limits: Any) -> Any:
    """An option of a section: its default (`MISSING`: required), help text and limits.

    Args:
      default: what holds when nothing is said.
      help: one sentence, shown by `--help`.
      limits: `least` and `most` (inclusive) or `above` and `below` (exclusive).
    """
    return field(default=default, metadata={"help": help, **limits})


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which interactions the clients hold."""

    name: str = option(MISSING, "Data set; `fedjax-rec data list` names them.")
    path: str = option(
        "",
        "File, folder or ARCHIVE.zip:MEMBER to read; empty: found or obtained by name. With a path "
        "and no name beside it the data set is called `mine`.",
    )
    layout: str = option("", "How the file is laid out, by name; empty: found out.")
    user: str = option("", "Its column of users, by name or by number from 1; empty: found out.")
    item: str = option("", "Its column of items, likewise.")
    rating: str = option(
        "", "Its column of ratings or counts, likewise; empty beside data.user: 1."
    )
    time: str = option("", "Its column of times, likewise; empty beside data.user: none.")
    separator: str = option("", "Between its columns: tab, comma, semicolon, blank, '|' or '::'.")
    other: str = option("", "A second domain to train on beside it: file or folder, same users.")
    repeats: Literal["first", "last", "sum", "keep"] = option(
        "first",
        "Events of a user with one item: merged into the first or the last, or the first with the "
        "sum of their values, or all kept; a held-out item that was trained on is then not asked "
        "about.",
    )
    min_rating: float = option(0.0, "Least rating of an event that is used; 0: all.")
    since: str = option("", "Events from this time on are used: a date, or seconds; empty: all.")
    until: str = option("", "Events before this time are used, likewise.")
    core: int = option(
        0, "Users and items with so many of each other at least, repeatedly; 0: all.", least=0
    )
    num_users: int = option(
        0, "Users of `synthetic` (0: its own default), or so many of other data (0: all).", least=0
    )
    num_items: int = option(0, "Items of `synthetic`; 0: its own default.", least=0)
    mean_events: float = option(
        0.0, "Mean events a user of `synthetic`; 0: its own default.", least=0
    )
    seed: int = option(0, "Seed of `synthetic`, and of which users are kept.", least=0)


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """Which events are held out."""

    holdout: Literal[
        "leave_one_out",
        "leave_one_out_hash",
        "temporal",
        "ratio",
        "users",
        "items",
        "file",
        "common_records",
        "own_records",
    ] = option(
        "leave_one_out",
        "What is tested: each user's latest event, or an item by hash; a share of all events "
        "(the latest) or of each user's (by hash); half of the events of a share of the users, "
        "who never train; all events of a share of the items; what the data set's files say; of "
        "silos: records like everybody's, or like the silo's own. Where it is not set, files with "
        "a split say, and where times are missing the hash does.",
    )
    validation: Literal[
        "second_latest", "hash", "temporal", "ratio", "users", "items", "records", "file", "none"
    ] = option(
        "second_latest",
        "The validation item, never trained on: the latest that is not tested, or one by hash; "
        "a share for temporal, ratio, users and items, records for silos, the files' own; none "
        "returns it to training.",
    )
    ties: Literal["hash", "file_order", "item_id"] = option(
        "hash", "Which of several events of one time is later: by hash, line or item id."
    )
    seed: int = option(0, "Seed of the hashes that break ties and choose items.", least=0)
    share: float = option(
        0.1,
        "Share of the events that temporal and ratio hold out, of users or items for these.",
        above=0,
        below=0.5,
    )
    max_events: int = option(0, "Events of a user that are used, chosen by hash; 0: all.", least=0)


@dataclass(frozen=True, kw_only=True)
class SilosConfig:
    """Silos that hold records, each a rating with features, in place of a client a user."""

    number: int = option(0, "Silos, each a client; 0: each user is a client.", least=0)
    size: int = option(1000, "Records that each silo trains on.", least=1)
    test: int = option(
        10_000, "Tested records; as many again for validation where there is any.", least=1
    )
    positive_from: float = option(4.0, "The least rating of a positive record.")
    alpha: float = option(
        0.0, "Dirichlet concentration of each silo's labels; 0: all are alike.", least=0
    )
    exchange: Literal["updates", "nothing", "records"] = option(
        "updates",
        "What silos give away: updates (federated), nothing (each trains alone), or all their "
        "records, to one owner (centralised).",
    )


@dataclass(frozen=True, kw_only=True)
class NegativesConfig:
    """Which items training negatives avoid."""

    exclude: Literal["train", "heldout", "heldout_and_candidates"] = option(
        "train",
        "A client's training items; heldout: its held-out items too (a leak); "
        "heldout_and_candidates: what they are ranked among as well; of split.holdout items, all "
        "items that are held out.",
    )
