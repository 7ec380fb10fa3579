"""Which events are trained on and which are held out, by rules that a result can name."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedjax_rec.data.interactions import Interactions
from fedjax_rec.errors import UserError, did_you_mean

Validation = Literal["second_latest", "none"]
Ties = Literal["hash", "file_order", "item_id"]
VALIDATIONS: tuple[Validation, ...] = ("second_latest", "none")
TIES: tuple[Ties, ...] = ("hash", "file_order", "item_id")


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Items that are held out of training, for each client.

    Attributes:
      items: `[N, R]` int32; padding holds the number of items.
    """

    items: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Split:
    """Training events and held-out items, with the rule that parted them.

    Attributes:
      train: events to train on, client after client, oldest first.
      valid: items to choose a model by; all padding when `validation` is `none`.
      test: items to report.
      validation: `second_latest` or `none`.
      ties: how events at the same time were ordered.
      seed: of the `hash` tie rule.
      holdout: the rule by which items were held out.
      candidates: what held-out items are ranked among, by split, `[N, K]` padded with the
        number of items, where the data came with such lists.
    """

    train: Interactions
    valid: HeldOut
    test: HeldOut
    validation: Validation
    ties: Ties
    seed: int
    holdout: Literal["leave_one_out"] = "leave_one_out"
    candidates: dict[str, NDArray[np.int32]] | None = None


def leave_one_out(
    interactions: Interactions,
    *,
    validation: Validation = "second_latest",
    ties: Ties = "hash",
    seed: int = 0,
) -> Split:
    """Holds out each client's latest event for test and the one before for validation.

    Clients with too few events (under 3 with a validation item, under 2 without) keep
    all of them in training and hold out nothing. Where a client meets an item again,
    the item can be both in training and held out.

    Args:
      interactions: all events. Events of unknown time (0) count as the oldest.
      validation: `second_latest` never trains on the second-latest event; `none`
        returns it to training.
      ties: which of a client's events at the same time is later. `hash`: a 64-bit hash
        of raw user id, raw item id and seed, so that neither the order of the file nor
        the numbering of items matters. `file_order`: the later line. `item_id`: the
        larger raw item id.
      seed: of the hash, `0 .. 2**64 - 1`.

    Raises:
      UserError: an unknown rule, or a seed out of range.

    >>> from fedjax_rec.data.interactions import from_events
    >>> events = from_events([1, 1, 1, 2], [5, 6, 7, 5], times=[10, 30, 20, 10])
    >>> split = leave_one_out(events)
    >>> split.test.items.tolist(), split.valid.items.tolist(), split.train.items.tolist()
    ([[1], [3]], [[2], [3]], [0, 0])
    """
    _check_choice("validation", validation, VALIDATIONS)
    _check_choice("ties", ties, TIES)
    if not 0 <= seed < 2**64:
        raise UserError(f"split seed {seed} is out of range; choose one from 0 to 2**64 - 1")
    order = _by_client_and_time(interactions, ties, seed)
    counts = np.bincount(interactions.users, minlength=interactions.num_users)
    ends = np.cumsum(counts)
    num_held = 2 if validation == "second_latest" else 1
    is_split = counts > num_held

    test = _hold_out(interactions, order, ends - 1, is_split)
    valid = _hold_out(interactions, order, ends - 2, is_split & (num_held == 2))
    place = np.arange(len(order)) - np.repeat(ends - counts, counts)
    is_train = place < np.repeat(counts - num_held * is_split, counts)
    train = _pick(interactions, order[is_train])
    return Split(train, valid, test, validation, ties, seed)


def shuffle_items(split: Split) -> Split:
    """The same split with items numbered in a fixed random order.

    Raw ids often follow popularity or age. Negatives are drawn by arithmetic on item
    numbers, so the numbers should carry no meaning. Labels and titles move along.

    >>> from fedjax_rec.data.interactions import from_events
    >>> split = leave_one_out(from_events([1] * 4, [5, 6, 7, 8], times=[1, 2, 3, 4]))
    >>> shuffled = shuffle_items(split)
    >>> shuffled.train.item_labels[shuffled.test.items[0, 0]]
    np.str_('8')
    """
    num_items = split.train.num_items
    old = np.random.default_rng(0).permutation(num_items)  # new number -> old number
    new = np.append(np.argsort(old), num_items).astype(np.int32)  # padding keeps its number
    titles = split.train.item_titles
    train = replace(
        split.train,
        items=new[split.train.items],
        item_labels=split.train.item_labels[old],
        item_titles=None if titles is None else tuple(titles[i] for i in old),
    )
    held_out = {
        name: replace(getattr(split, name), items=new[getattr(split, name).items])
        for name in ("valid", "test")
    }
    candidates = split.candidates and {name: new[items] for name, items in split.candidates.items()}
    return replace(split, train=train, candidates=candidates, **held_out)


def hash_events(interactions: Interactions, seed: int) -> NDArray[np.uint64]:
    """A fixed 64-bit hash of each event's (raw user id, raw item id, seed).

    `h = mix(mix(mix(seed) ^ fnv(user)) ^ fnv(item))` with `fnv` the FNV-1a hash of the
    UTF-8 bytes and `mix` one step of SplitMix64: the same on every machine.

    Args:
      interactions: the events.
      seed: `0 .. 2**64 - 1`.

    Returns:
      `[E]` hashes.

    References: Fowler, Noll, Vo and Eastlake, "The FNV non-cryptographic hash
    algorithm" (FNV-1a); Steele, Lea and Flood, "Fast splittable pseudorandom number
    generators", 2014 (SplitMix64).

    >>> from fedjax_rec.data.interactions import from_events
    >>> [hex(h) for h in hash_events(from_events([1, 1], [2, 3]), seed=0)]
    ['0x644feec54d8166ad', '0xa7e3a18613b07fff']
    """
    start = _mix(np.array([seed], np.uint64))
    by_user = _mix(start ^ _fnv1a(interactions.user_labels))[interactions.users]
    return _mix(by_user ^ _fnv1a(interactions.item_labels)[interactions.items])


def _fnv1a(labels: NDArray[np.str_]) -> NDArray[np.uint64]:
    encoded = np.strings.encode(labels, "utf-8")
    lengths = np.strings.str_len(encoded)
    columns = encoded.view(np.uint8).reshape(len(labels), -1).T
    state = np.full(len(labels), 0xCBF29CE484222325, np.uint64)
    for place, column in enumerate(columns):
        state = np.where(place < lengths, (state ^ column) * np.uint64(0x100000001B3), state)
    return state


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _by_client_and_time(interactions: Interactions, ties: Ties, seed: int) -> NDArray[np.intp]:
    """The order of events: by client, then time, then the tie rule."""
    users = interactions.users
    if ties == "file_order":
        return np.lexsort((interactions.times, users))  # lexsort is stable
    breaker = hash_events(interactions, seed) if ties == "hash" else interactions.items
    # The value last: what still ties then is the same event twice.
    return np.lexsort((interactions.values, breaker, interactions.times, users))


def _hold_out(
    interactions: Interactions,
    order: NDArray[np.intp],
    places: NDArray[np.intp],
    is_held: NDArray[np.bool_],
) -> HeldOut:
    """The item at one place of the order for each client that holds one out."""
    items = np.full((interactions.num_users, 1), interactions.num_items, np.int32)
    items[is_held, 0] = interactions.items[order[places[is_held]]]
    return HeldOut(items)


def _pick(interactions: Interactions, events: NDArray[np.intp]) -> Interactions:
    return replace(
        interactions,
        users=interactions.users[events],
        items=interactions.items[events],
        values=interactions.values[events],
        times=interactions.times[events],
    )


def _check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"{what} {value!r} is not known{did_you_mean(value, choices)}")
