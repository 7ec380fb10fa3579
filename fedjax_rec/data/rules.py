"""The rules that choose which events are held out: each marks events, `[E]` of a data set."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fedjax_rec.data.hashing import hash_events, hash_items, hash_users, mix
from fedjax_rec.data.interactions import FileSplit, Interactions, pick
from fedjax_rec.errors import UserError, did_you_mean

Holdout = Literal[
    "leave_one_out",
    "leave_one_out_hash",
    "temporal",
    "ratio",
    "users",
    "items",
    "file",
    "common_records",
    "own_records",
]
Validation = Literal[
    "second_latest", "hash", "temporal", "ratio", "users", "items", "records", "file", "none"
]
Ties = Literal["hash", "file_order", "item_id"]
Repeats = Literal["first", "last", "sum", "keep"]
HOLDOUTS: tuple[Holdout, ...] = get_args(Holdout)
VALIDATIONS: tuple[Validation, ...] = get_args(Validation)
TIES: tuple[Ties, ...] = get_args(Ties)
REPEATS: tuple[Repeats, ...] = get_args(Repeats)

VALIDATIONS_OF: dict[Holdout, tuple[Validation, ...]] = {
    "leave_one_out": ("second_latest", "hash", "none"),
    "leave_one_out_hash": ("hash", "none"),
    "temporal": ("temporal", "none"),
    "ratio": ("ratio", "hash", "none"),
    "users": ("users", "none"),
    "items": ("items", "none"),
    "file": ("file", "second_latest", "hash", "none"),
    "common_records": ("records", "none"),
    "own_records": ("records", "none"),
}
"""The validation rules that go with each hold-out."""

WITH_SHARE: tuple[Holdout, ...] = ("temporal", "ratio", "users", "items")
"""The hold-outs that hold out a share of the events, of the users or of the items."""

BY_EVENT: tuple[Holdout, ...] = ("temporal", "items", "file")
"""The hold-outs that look at no client: one may have events to hold out and none to train on."""

OF_RECORDS: tuple[Holdout, ...] = ("common_records", "own_records")
"""The hold-outs of silos that hold records, see `records.load_records`."""

Mask = NDArray[np.bool_]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Rules:
    """The arguments of `hold_out`, checked."""

    holdout: Holdout
    validation: Validation
    ties: Ties
    seed: int
    share: float
    max_events: int
    repeats: Repeats


def check_rules(
    holdout: Holdout,
    validation: Validation,
    ties: Ties,
    seed: int,
    share: float = 0.1,
    max_events: int = 0,
    repeats: Repeats = "first",
) -> Rules:
    """The arguments of `hold_out`, checked without the data.

    Raises:
      UserError: see `hold_out`.
    """
    _check_choice("holdout", holdout, HOLDOUTS)
    _check_choice("validation", validation, VALIDATIONS)
    _check_choice("ties", ties, TIES)
    _check_choice("repeats", repeats, REPEATS)
    if validation not in VALIDATIONS_OF[holdout]:
        raise UserError(
            f"validation {validation!r} does not go with holdout {holdout!r}; "
            f"choose from: {', '.join(VALIDATIONS_OF[holdout])}"
        )
    if not 0 <= seed < 2**64:
        raise UserError(f"split seed {seed} is out of range; choose one from 0 to 2**64 - 1")
    if not 0 < share < 0.5:
        raise UserError(f"split share {share} is out of range; choose one above 0 and below 0.5")
    if max_events < 0:
        raise UserError(f"split max_events {max_events} is out of range; choose one from 0 (all)")
    if max_events and holdout == "file":
        raise UserError("split max_events does not go with holdout 'file'; set it to 0")
    return Rules(holdout, validation, ties, seed, share, max_events, repeats)


def _check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"{what} {value!r} is not known{did_you_mean(value, choices)}")


def tested(interactions: Interactions, rules: Rules, order: NDArray[np.intp]) -> Mask:
    """Which events are held out for test."""
    if rules.holdout in OF_RECORDS:
        raise UserError(
            f"holdout {rules.holdout!r} is of silos that hold records; set silos.number, or "
            "choose another"
        )
    if rules.holdout == "file":
        return file_split(interactions).is_test
    if rules.holdout == "temporal":
        return interactions.times >= _cut(interactions, rules.share)
    if rules.holdout == "users":
        return _halves(interactions, rules, held_users(interactions, rules)[0])
    if rules.holdout == "items":
        return held_items(interactions, rules)[0][interactions.items]
    counts = num_events(interactions)
    is_split = (counts > (1 if rules.validation == "none" else 2)).astype(np.int64)
    anything = np.ones(interactions.num_events, bool)
    if rules.holdout == "leave_one_out":
        return _last(interactions, order, anything, is_split)
    num = is_split if rules.holdout == "leave_one_out_hash" else _shares(counts, rules) * is_split
    return _largest(interactions, hash_events(interactions, rules.seed), anything, num)


def validated(
    interactions: Interactions, rules: Rules, order: NDArray[np.intp], is_test: Mask
) -> Mask:
    """Which of the events that are not tested are held out for validation."""
    if rules.validation == "none":
        return np.zeros(interactions.num_events, bool)
    if rules.validation == "file":
        return _validated_by_file(interactions)
    if rules.validation == "temporal":
        return ~is_test & (interactions.times >= _cut(interactions, 2 * rules.share))
    if rules.validation == "users":
        return _halves(interactions, rules, held_users(interactions, rules)[1])
    if rules.validation == "items":
        return held_items(interactions, rules)[1][interactions.items]
    is_tested = num_events(interactions, is_test) > 0
    num = (is_tested & (num_events(interactions, ~is_test) > 1)).astype(np.int64)
    if rules.validation == "second_latest":
        return _last(interactions, order, ~is_test, num)
    if rules.validation == "ratio":
        num = num * _shares(num_events(interactions), rules)
    return _largest(interactions, mix(hash_events(interactions, rules.seed)), ~is_test, num)


def held_users(interactions: Interactions, rules: Rules) -> tuple[Mask, Mask]:
    """`[N]` which users are held out for test and for validation by the rule `users`."""
    hashes = hash_users(interactions, rules.seed)
    return _held_shares(hashes, rules, has_validation=rules.validation == "users")


def held_items(interactions: Interactions, rules: Rules) -> tuple[Mask, Mask]:
    """`[I]` which items are held out for test and for validation by the rule `items`."""
    hashes = hash_items(interactions, rules.seed)
    return _held_shares(hashes, rules, has_validation=rules.validation == "items")


def _held_shares(
    hashes: NDArray[np.uint64], rules: Rules, *, has_validation: bool
) -> tuple[Mask, Mask]:
    """Those with the largest hashes, one at least; and as many again of those that follow."""
    num_held = max(1, int(rules.share * len(hashes) + 1e-9))
    rank = np.empty(len(hashes), np.intp)
    rank[np.argsort(hashes)] = np.arange(len(hashes))[::-1]
    is_test = rank < num_held
    return is_test, ~is_test & (rank < 2 * num_held) & has_validation


def _halves(interactions: Interactions, rules: Rules, is_held: Mask) -> Mask:
    """Of the events of the marked users (`[N]`) the half with the largest hashes, rounded down."""
    anything = np.ones(interactions.num_events, bool)
    num = num_events(interactions) // 2 * is_held
    return _largest(interactions, hash_events(interactions, rules.seed), anything, num)


def kept(interactions: Interactions, rules: Rules) -> Mask:
    """Which events are kept: of each user's as many as `max_events`, chosen by hash."""
    hashes = mix(mix(hash_events(interactions, rules.seed)))  # says nothing of who is held out
    order = np.lexsort((hashes, interactions.users))
    anything = np.ones(interactions.num_events, bool)
    num = np.full(interactions.num_users, rules.max_events or interactions.num_events)
    return _last(interactions, order, anything, num)


def _shares(counts: Counts, rules: Rules) -> Counts:
    """`[N]` the share of each client's events, one at least."""
    shares = np.floor(rules.share * counts + 1e-9)  # 0.29 * 100 is a little below 29
    at_least_one: Counts = np.maximum(shares, 1).astype(np.int64)
    return at_least_one


def _cut(interactions: Interactions, share: float) -> int:
    """The time of the first event of the latest `share` of all events."""
    num_held = max(1, int(share * interactions.num_events + 1e-9))
    return int(np.sort(interactions.times)[interactions.num_events - num_held])


def _last(interactions: Interactions, order: NDArray[np.intp], is_left: Mask, num: Counts) -> Mask:
    """The last `num` (`[N]`) events of each client in an order by client, of those left."""
    order = order[is_left[order]]
    clients = interactions.users[order]
    counts = np.bincount(clients, minlength=interactions.num_users)
    from_end = np.repeat(np.cumsum(counts), counts) - 1 - np.arange(len(order))
    is_last = np.zeros(interactions.num_events, bool)
    is_last[order[from_end < num[clients]]] = True
    return is_last


def _largest(
    interactions: Interactions,
    hashes: NDArray[np.uint64],
    is_left: Mask,
    num: Counts,
) -> Mask:
    """The `num` (`[N]`) events of each client with the largest hashes, and their repeats."""
    order = np.lexsort((hashes, interactions.users))
    is_chosen = _last(interactions, order, is_left, num)
    pairs = interactions.users.astype(np.int64) * interactions.num_items + interactions.items
    return np.isin(pairs, pairs[is_chosen]) & is_left


def by_client_and_time(interactions: Interactions, ties: Ties, seed: int) -> NDArray[np.intp]:
    """The order of events: by client, then time, then the tie rule."""
    key = _by_client_then_time(interactions)
    if ties == "file_order":
        return np.argsort(key, kind="stable")
    order = np.argsort(key)
    is_next_alike = np.append(key[order[1:]] == key[order[:-1]], False)
    places = np.flatnonzero(is_next_alike | np.append(False, is_next_alike[:-1]))
    tied = np.sort(order[places])
    events = pick(interactions, tied)
    breaker = hash_events(events, seed) if ties == "hash" else events.items
    # The value last: what still ties then is the same event twice.
    order[places] = tied[np.lexsort((events.values, breaker, key[tied]))]
    return order


def _by_client_then_time(interactions: Interactions) -> NDArray[np.int64]:
    """`[E]` one number that sorts as client and time do."""
    times = interactions.times - interactions.times.min(initial=0)
    span = int(times.max(initial=0)) + 1
    if interactions.num_users * span >= 2**63:
        times = np.unique(times, return_inverse=True)[1].astype(np.int64)
        span = int(times.max(initial=0)) + 1
    key: NDArray[np.int64] = interactions.users.astype(np.int64) * span + times
    return key


def num_events(interactions: Interactions, mask: Mask | None = None) -> Counts:
    """`[N]` how many events, or marked events, each client has."""
    users = interactions.users if mask is None else interactions.users[mask]
    return np.bincount(users, minlength=interactions.num_users)


def file_split(interactions: Interactions) -> FileSplit:
    """The hold-out that the files prescribe.

    Raises:
      UserError: they prescribe none.
    """
    if interactions.file_split is None:
        others = [rule for rule in HOLDOUTS if rule not in ("file", *OF_RECORDS)]
        raise UserError(
            f"{interactions.name}: holdout 'file' needs a data set whose files say what is held "
            f"out; choose from: {', '.join(others)}"
        )
    return interactions.file_split


def _validated_by_file(interactions: Interactions) -> Mask:
    is_valid = file_split(interactions).is_valid
    if is_valid is None:
        raise UserError(
            f"{interactions.name}: validation 'file' needs a file of validation events; choose "
            "from: second_latest, hash, none"
        )
    return is_valid


class TimesMissingError(UserError):
    """A rule goes by times that are unknown."""


def check_times(interactions: Interactions, rules: Rules, is_test: Mask, is_valid: Mask) -> None:
    """Refuses a rule by time where the time that it goes by is unknown.

    Raises:
      TimesMissingError: says for how many events or clients, and which rule does without.
    """
    is_unknown = interactions.times == 0
    name, num = interactions.name, int(is_unknown.sum())
    if rules.holdout == "temporal" and interactions.is_order_only:
        raise UserError(
            f"{name}: holdout 'temporal' needs times, and its files tell each user's order only; "
            "choose leave_one_out"
        )
    if rules.holdout == "temporal" and num:
        raise UserError(
            f"{name}: holdout 'temporal' needs every event's time, and {num} of "
            f"{interactions.num_events} have none; choose leave_one_out_hash or ratio"
        )
    if rules.ties == "file_order" and is_unknown.all():
        return  # the lines are the order
    if rules.holdout == "leave_one_out" and (num := int((is_unknown & is_test).sum())):
        raise TimesMissingError(
            f"{name}: for {num} clients the time of the latest event is unknown; choose holdout "
            "leave_one_out_hash, or ties file_order where no time is known and lines are in order"
        )
    if rules.validation == "second_latest" and (num := int((is_unknown & is_valid).sum())):
        raise TimesMissingError(
            f"{name}: for {num} clients the time of the validation event is unknown; "
            "choose validation hash or none"
        )
