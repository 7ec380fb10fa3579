"""What a metric was measured on."""

from dataclasses import asdict, dataclass, fields
from typing import Literal, get_args, get_origin

from fedjax_rec.errors import UserError, did_you_mean

OF_RANKINGS = ("candidates", "candidates_seed", "seen_items", "score_ties")
"""Fields that a predicted value does not depend on."""


@dataclass(frozen=True)
class Protocol:
    """The facts without which a metric cannot be compared; part of every result.

    Attributes:
      task: what is asked about held-out items: their place in a `ranking`, their `rating`, or
        their `label`, 0 or 1 (`Prediction`).
      holdout: which events are held out. `leave_one_out`: each client's latest.
        `leave_one_out_hash`: its item with the largest hash of (user, item, seed), where
        no times are known. `temporal`: the latest share of all clients' events. `ratio`:
        a share of each client's events, by hash. `users`: half of the events of a share of
        the users, by hash; these users never train. `items`: all events of a share of the items,
        by hash; nobody trains on these items. `file`: those that the files of the data
        set name. `common_records`: records that no silo trains on, each asked of one silo,
        drawn by hash from what all would hold together; `own_records`: from the mixture
        that the silo's own are drawn from.
      validation: never trained on and seen at test: the `second_latest` event, that is
        the latest that is not tested; the remaining item with the largest `hash`; as large
        a share or number again (`temporal`, `ratio`, `users`, `items`, `records`); or `none`.
      time_ties: what orders events of the same second: a `hash` of (user, item, seed),
        independent of file order and ids; `file_order`; or `item_id`.
      split_seed: of the hashes.
      negatives_exclude: what training negatives avoid. `train`: only what was trained
        on; `heldout`: also validation and test items (many published papers; it tells
        training what was held out); `heldout_and_candidates`: the items they are ranked
        among too (fair among those, yet training knows the list).
      candidates: what a held-out item is ranked among: the `full` catalogue, `uni99`
        uniform items the client never touched, the list of a `file`, or the items that are
        `held_out` whole for the same split, less those it has seen. This and the next
        three are of rankings alone.
      candidates_seed: of those items; unused by `full`.
      seen_items: `removed` from the ranking: training items, at test the validation items
        too; or `ranked` as all others, as where people consume again.
      score_ties: the rule among equal scores, see `ranking.ranks`.
      history: what is known of a client at test: its `train` events, on which parameters were
        trained and which models of histories read; or `train_and_valid`: these models read its
        validation events too, behind the others.
      selection: which round's parameters are reported; the one that is `best on test, as
        released` by some papers flatters.
      holdout_share: the share that `temporal`, `ratio`, `users` or `items` hold out; `None`
        elsewhere.
      max_events: how many events of each user are used, chosen by hash; `None`: all.
      repeats: what became of a user's events with one item: merged into the `first` or `last`
        of them, or all kept (`keep`); this and the next are `None` where no event repeats.
      num_repeats: how many events repeat an item that their user has already.
      questions_dropped: how many held-out items are not asked about, for the client has trained
        on them, or they are its validation item too; `None`: none.
      clients: how many people are evaluated, chosen by hash; `None`: all.
      training_clients: how many of them while the run trains, whose metrics choose the round
        where one is chosen; `None`: as many.
      clients_seed: of the hash; `None` where all are evaluated.

    Raises:
      UserError: for a value that is not one of these.

    >>> Protocol().to_dict()["candidates"]
    'full'
    >>> "candidates" in Protocol(task="rating").to_dict()
    False
    """

    task: Literal["ranking", "rating", "label"] = "ranking"
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
    ] = "leave_one_out"
    validation: Literal[
        "second_latest", "hash", "temporal", "ratio", "users", "items", "records", "file", "none"
    ] = "second_latest"
    time_ties: Literal["hash", "file_order", "item_id"] = "hash"
    split_seed: int = 0
    negatives_exclude: Literal["train", "heldout", "heldout_and_candidates"] = "train"
    candidates: Literal["full", "uni99", "file", "held_out"] = "full"
    candidates_seed: int = 0
    seen_items: Literal["removed", "ranked"] = "removed"
    score_ties: Literal["pessimistic", "optimistic"] = "pessimistic"
    history: Literal["train", "train_and_valid"] = "train"
    selection: Literal["last", "best on validation", "best on test, as released"] = "last"
    holdout_share: float | None = None
    max_events: int | None = None
    repeats: Literal["first", "last", "sum", "keep"] | None = None
    num_repeats: int | None = None
    questions_dropped: int | None = None
    clients: int | None = None
    training_clients: int | None = None
    clients_seed: int | None = None

    def __post_init__(self) -> None:
        """Refuses unknown values."""
        for field in fields(self):
            value, choices = getattr(self, field.name), get_args(field.type)
            if get_origin(field.type) is Literal and value not in choices:
                hint = did_you_mean(str(value), choices)
                raise UserError(f"unknown evaluation protocol: {field.name} = {value!r}{hint}")
        if self.selection == "best on validation" and self.validation == "none":
            raise UserError(
                "selection = 'best on validation' needs validation items; "
                "set validation = 'second_latest' or selection = 'last'"
            )

    def to_dict(self) -> dict[str, str | int | float]:
        """Plain data, for a result's record; without what has no meaning here."""
        unused = () if self.task == "ranking" else OF_RANKINGS
        facts = asdict(self).items()
        return {name: value for name, value in facts if name not in unused and value is not None}
