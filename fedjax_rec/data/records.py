"""Records that silos hold: a rating with what is known of person and film, or a prompt."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedjax_rec.data.clients import FederatedData, client_data
from fedjax_rec.data.filters import Filters
from fedjax_rec.data.hashing import hash_events
from fedjax_rec.data.interactions import Interactions, pick
from fedjax_rec.data.partitions import dirichlet, silos
from fedjax_rec.data.reading import features_of, print_notice, read
from fedjax_rec.data.repeats import merge_repeats, repeats_in_words
from fedjax_rec.data.rules import OF_RECORDS, Holdout, Repeats, Validation, check_rules
from fedjax_rec.data.splits import Split, held_out
from fedjax_rec.errors import UserError

TRAIN, TEST, VALID = range(3)
"""What a record is for."""


@dataclass(frozen=True, kw_only=True)
class Silos:
    """Which records there are, and who holds them.

    Attributes:
      number: silos (K), at least 1.
      size: records that each of them trains on, at least 1.
      num_test: records that are tested, at least 1; as many again choose a model under the
        validation `records`. No silo trains on them.
      alpha: concentration of each silo's share of positive records, see `dirichlet`; 0: silos
        are samples of the same records.
      is_pooled: one owner holds, and is asked about, what all the silos would.
      holdout: how held-out records are dealt. `common_records`: to one silo after another, so
        that each is asked about records like everybody's. `own_records`: together with
        the training records, so that each is asked about records like its own.
      validation: `records` or `none`.
      seed: of the hash that draws records, and of the mixtures, `0 .. 2**64 - 1`.

    Raises:
      UserError: a number out of range, or an unknown rule.
    """

    number: int = 2
    size: int = 1000
    num_test: int = 10_000
    alpha: float = 0.0
    is_pooled: bool = False
    holdout: Holdout = "common_records"
    validation: Validation = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses what makes no sense."""
        for what in ("number", "size", "num_test"):
            if getattr(self, what) < 1:
                raise UserError(f"silos: {what} must be at least 1, got {getattr(self, what)}")
        check_rules(self.holdout, self.validation, "hash", self.seed)
        if self.holdout not in OF_RECORDS:
            raise UserError(
                f"holdout {self.holdout!r} is not of records; choose from: {', '.join(OF_RECORDS)}"
            )

    @property
    def num_train(self) -> int:
        """Records that are trained on."""
        return self.number * self.size

    @property
    def num_held_out(self) -> int:
        """Records that are not."""
        return self.num_test * (1 if self.validation == "none" else 2)


def load_records(
    name: str,
    rules: Silos = Silos(),
    *,
    positive_from: float = 4.0,
    repeats: Repeats = "first",
    path: str = "",
    layout: str = "",
    filters: Filters = Filters(),
    notice: Callable[[str], None] = print_notice,
) -> FederatedData:
    """Draws records from the events of a data set and deals them to silos; one is one client.

    A record is an event: its label is 1 where the value is at least `positive_from`, else 0.
    That of a rating has for features those of the person (age in hundreds of years, whether
    male) and of the film (a flag for each genre); that of a prompt has its text, for a title.
    Events are drawn without replacement, by their hash; where the files say which are tested,
    tested ones among these and the others among the rest.
    Records are numbered as items are elsewhere: each is an event of its own number, with the
    label as its value. No record is in two silos, or both trained on and held out; people and
    films may be.

    Args:
      name: a data set whose files describe people and items, see `data.sources`.
      rules: how many records, and how they are dealt.
      positive_from: the least value of a positive record.
      repeats: which of a person's ratings of one film is a record, see `hold_out`; under `keep`
        all are, and one may be trained on while another is held out.
      path: as of `load`.
      layout: likewise.
      filters: likewise.
      notice: likewise.

    Returns:
      Clients that are silos, with the `features` of every record, held-out ones included, or with
      its title. Each held-out record is asked of one silo.

    Raises:
      UserError: too few events, none of them positive, or nothing is known of people and items.
    """
    merging = check_rules(rules.holdout, rules.validation, "hash", rules.seed, repeats=repeats)
    events, num_repeats = merge_repeats(
        read(name, path=path, layout=layout, filters=filters, notice=notice), merging
    )
    if num_repeats:
        notice(repeats_in_words(name, num_repeats, repeats))
    drawn = pick(events, _drawn(events, rules))
    labels = (drawn.values >= positive_from).astype(np.float32)
    if not labels.any():
        raise UserError(
            f"{name}: no record has a value of {positive_from:g} or more; lower silos.positive_from"
        )
    known = features_of(name, path=path, layout=layout, has_titles=events.item_titles is not None)
    features = known and np.concatenate(
        [
            known[0].of(events.user_labels)[drawn.users],
            known[1].of(events.item_labels)[drawn.items],
        ],
        axis=1,
    )
    silo, purpose = _dealt(drawn, labels, rules)
    records = _as_events(drawn, labels, np.zeros_like(silo) if rules.is_pooled else silo)
    if features is None and drawn.item_titles is not None:
        titles = tuple(drawn.item_titles[item] for item in drawn.items)
        records = replace(records, item_titles=titles)
    split = replace(
        _split(records, purpose, rules),
        repeats=repeats if num_repeats else None,
        num_repeats=num_repeats,
    )
    return FederatedData(name, client_data(split), split, "train", features=features)


def _drawn(events: Interactions, rules: Silos) -> NDArray[np.intp]:
    """Which events are records: those to train on, then those held out, as `_purpose` has them."""
    order = np.lexsort((events.times, hash_events(events, rules.seed)))
    by_file = events.file_split
    if by_file is None:
        num_records = rules.num_train + rules.num_held_out
        if num_records > len(order):
            raise UserError(
                f"{events.name}: {rules.num_train} records of silos and {rules.num_held_out} "
                f"held-out ones are more than its {len(order)} ratings; lower silos.size or "
                "silos.test"
            )
        return order[:num_records]
    if rules.holdout != "common_records":
        raise UserError(
            f"{events.name}: its files say what is tested, which no silo holds; set "
            "split.holdout to common_records"
        )
    rest, tested = order[~by_file.is_held[order]], order[by_file.is_test[order]]
    validated = rest[rules.num_train :]
    if by_file.is_valid is not None:
        validated = order[by_file.is_valid[order]]
    num_valid = rules.num_held_out - rules.num_test
    asked = {"train on": (rest, rules.num_train), "test": (tested, rules.num_test)}
    for what, (there, number) in (asked | {"validate": (validated, num_valid)}).items():
        if number > len(there):
            raise UserError(
                f"{events.name}: {number} records to {what} are more than the {len(there)} that "
                "it has; lower silos.size or silos.test"
            )
    held = tested[: rules.num_test]
    if num_valid:
        held = np.stack([held, validated[:num_valid]], axis=1).ravel()
    return np.concatenate([rest[: rules.num_train], held])


def _dealt(
    drawn: Interactions, labels: NDArray[np.float32], rules: Silos
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """`[E]` whose each record is, and `[E]` what for."""
    place = np.arange(len(labels))

    def deal(part: slice) -> NDArray[np.int32]:
        if rules.alpha:
            return dirichlet(labels[part], rules.number, rules.alpha, rules.seed)
        return silos(pick(drawn, place[part]), rules.number, rules.seed)

    if rules.holdout == "common_records":
        train = slice(rules.num_train)
        silo = (place % rules.number).astype(np.int32)
        silo[train] = deal(train)
        return silo, _purpose(place, rules.num_train, rules)
    silo = deal(slice(None))
    by_silo = np.argsort(silo, kind="stable")
    starts = np.searchsorted(silo[by_silo], np.arange(rules.number))
    in_silo = np.empty_like(place)
    in_silo[by_silo] = place - starts[silo[by_silo]]
    return silo, _purpose(in_silo, rules.size, rules)


def _purpose(place: NDArray[np.int64], num_train: int, rules: Silos) -> NDArray[np.int64]:
    """The first are trained on; of the others every second validates, where any does."""
    validates = (rules.validation != "none") & ((place - num_train) % 2 == 1)
    return np.where(place < num_train, TRAIN, np.where(validates, VALID, TEST))


def _as_events(
    drawn: Interactions, labels: NDArray[np.float32], silo: NDArray[np.int32]
) -> Interactions:
    """Each record as one event of a silo: its item is its number, its value its label."""
    raw = zip(drawn.user_labels[drawn.users], drawn.item_labels[drawn.items], strict=True)
    return replace(
        drawn,
        users=silo,
        items=np.arange(len(silo), dtype=np.int32),
        values=labels,
        user_labels=np.array([str(number) for number in range(silo.max() + 1)]),
        item_labels=np.array([f"{user}/{item}" for user, item in raw]),
        item_titles=None,
    )


def _split(records: Interactions, purpose: NDArray[np.int64], rules: Silos) -> Split:
    order = np.lexsort((records.times, records.users))
    return Split(
        train=pick(records, order[purpose[order] == TRAIN]),
        valid=held_out(records, order[purpose[order] == VALID]),
        test=held_out(records, order[purpose[order] == TEST]),
        validation=rules.validation,
        ties="hash",
        seed=rules.seed,
        holdout=rules.holdout,
    )
