"""The store of client histories on the device, and a data set ready to simulate."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from fedjax_rec.base import ClientData, LengthClass
from fedjax_rec.data.candidates import NUM_UNIFORM, as_many_as_there_are, candidate_lists
from fedjax_rec.data.choices import DEFAULTS, hold_out_or_hash
from fedjax_rec.data.domains import as_one_catalogue
from fedjax_rec.data.filters import Filters
from fedjax_rec.data.interactions import Interactions
from fedjax_rec.data.reading import print_notice, read
from fedjax_rec.data.repeats import repeats_in_words
from fedjax_rec.data.rules import (
    VALIDATIONS_OF,
    Holdout,
    Repeats,
    Ties,
    Validation,
    check_rules,
)
from fedjax_rec.data.seen import without_seen
from fedjax_rec.data.sources import Columns
from fedjax_rec.data.splits import Split, shuffle_items
from fedjax_rec.errors import UserError, did_you_mean

Exclude = Literal["train", "heldout", "heldout_and_candidates"]
EXCLUDES: tuple[Exclude, ...] = get_args(Exclude)
SMALLEST_CLASS = 32


@dataclass(frozen=True, eq=False)
class FederatedData:
    """A data set parted into clients, training and held-out items.

    Attributes:
      name: the data set's name.
      clients: the training histories, on the device; those of another domain among them.
      split: the events on the host, with the held-out items and raw ids: of the domain that
        is asked for, where there are two.
      exclude: what training negatives avoid, see `client_data`.
      candidates_seed: of the candidates that they avoid, where they avoid drawn ones.
      features: `[I, F]` of each record, where clients hold records; else `None`.
    """

    name: str
    clients: ClientData
    split: Split
    exclude: Exclude
    candidates_seed: int = 0
    features: NDArray[np.float32] | None = None

    @property
    def num_clients(self) -> int:
        """How many clients there are (N)."""
        return self.split.train.num_users

    @property
    def num_items(self) -> int:
        """Size of the catalogue that is ranked; with another domain `clients` has more items."""
        return self.split.train.num_items

    @property
    def training_clients(self) -> NDArray[np.int32]:
        """`[M]` ids of those who may train: all but the users that are held out."""
        held = self.split.held_users
        everyone = np.arange(self.num_clients, dtype=np.int32)
        return everyone if held is None else everyone[~held]

    @cached_property
    def unseen(self) -> tuple[Split, dict[str, int]]:
        """The split without held-out items that the client has met, and how many there are."""
        return without_seen(self.split)

    @property
    def protocol(self) -> dict[str, str | int | float]:
        """The part of the evaluation protocol that the data decides, by field."""
        facts: dict[str, str | int | float] = {
            "holdout": self.split.holdout,
            "validation": self.split.validation,
            "time_ties": self.split.ties,
            "split_seed": self.split.seed,
            "negatives_exclude": self.exclude,
        }
        optional: dict[str, str | int | float | None] = {
            "holdout_share": self.split.share,
            "max_events": self.split.max_events,
            "repeats": self.split.repeats,
            "num_repeats": self.split.num_repeats or None,
            "questions_dropped": sum(self.unseen[1].values()) or None,
        }
        return facts | {name: value for name, value in optional.items() if value is not None}


def load(
    name: str,
    *,
    path: str = "",
    layout: str = "",
    columns: Columns = Columns(),
    other: str = "",
    filters: Filters = Filters(),
    holdout: Holdout | None = None,
    validation: Validation | None = None,
    ties: Ties = "hash",
    split_seed: int = 0,
    share: float = 0.1,
    max_events: int = 0,
    repeats: Repeats = "first",
    exclude: Exclude = "train",
    candidates_seed: int = 0,
    notice: Callable[[str], None] = print_notice,
    **options: int | float,
) -> FederatedData:
    """Obtains, reads and splits a data set; one user is one client.

    Args:
      name: one of `DATASETS`; with a path, any name.
      path: file, folder, zip or wheel to read; by default it is searched for.
      layout: how the file is laid out, by name; by default it is found out.
      columns: which of its columns is what; likewise.
      other: file or folder of a second domain, to train on beside this one; see `read`.
      filters: which events are used; by default all.
      holdout: which events are tested, see `hold_out`; by default what the files say, else each
        client's latest event, and where times are missing one by hash.
      validation: which choose a model, likewise.
      ties: what orders events of the same time, likewise.
      split_seed: of hashes, likewise.
      share: of the events, users or items, for the hold-outs `temporal`, `ratio`, `users`,
        `items`.
      max_events: of each user, 0 for all; likewise.
      repeats: what becomes of events that repeat; likewise.
      exclude: see `client_data`.
      candidates_seed: likewise; and of the 99 that validation items are ranked among where
        the files list candidates for test items only.
      notice: gets the citation and terms of a data set when it is first used, and how many
        events repeat, where any does.
      **options: of `synthetic`: `num_users`, `num_items`, `seed`, ...

    Raises:
      UserError: unknown name, rule or option, nothing found, a malformed file, or data
        that lack what a rule needs.

    >>> data = load("synthetic", num_users=20, num_items=30, mean_events=6)
    >>> data.num_clients, data.num_items, data.protocol["time_ties"]
    (20, 30, 'hash')
    """
    if not isinstance(name, str):
        raise UserError(
            f"load: expected a data set's name, got {type(name).__name__}; load_events takes "
            "events that are in memory"
        )
    # Before anything is read.
    _check_rules(holdout, validation, ties, split_seed, share, max_events, repeats)
    interactions = read(
        name,
        path=path,
        layout=layout,
        columns=columns,
        other=other,
        filters=filters,
        notice=notice,
        **options,
    )
    return parted(
        interactions,
        holdout=holdout,
        validation=validation,
        ties=ties,
        split_seed=split_seed,
        share=share,
        max_events=max_events,
        repeats=repeats,
        exclude=exclude,
        candidates_seed=candidates_seed,
        notice=notice,
    )


def parted(
    interactions: Interactions,
    *,
    holdout: Holdout | None = None,
    validation: Validation | None = None,
    ties: Ties = "hash",
    split_seed: int = 0,
    share: float = 0.1,
    max_events: int = 0,
    repeats: Repeats = "first",
    exclude: Exclude = "train",
    candidates_seed: int = 0,
    notice: Callable[[str], None] = print_notice,
) -> FederatedData:
    """Splits events and parts them into clients; arguments are those of `load`.

    Raises:
      UserError: an unknown rule, or data that lack what a rule needs.
    """
    name = interactions.name
    _check_rules(holdout, validation, ties, split_seed, share, max_events, repeats)
    split = hold_out_or_hash(
        interactions,
        holdout,
        validation,
        notice,
        ties=ties,
        seed=split_seed,
        share=share,
        max_events=max_events,
        repeats=repeats,
    )
    if split.num_repeats:
        notice(repeats_in_words(name, split.num_repeats, repeats))
    _tell_untrained(interactions, split, notice)
    split = _with_all_candidates(shuffle_items(split), candidates_seed, notice)
    clients = client_data(split, exclude=exclude, candidates_seed=candidates_seed)
    return FederatedData(name, clients, split, exclude, candidates_seed)


def _check_rules(holdout: Holdout | None, validation: Validation | None, *rules: Any) -> None:
    """Refuses what no data allow."""
    test = holdout or "leave_one_out"
    valid = validation or DEFAULTS.get(test, ("none",))[-1]
    if holdout or valid in VALIDATIONS_OF["leave_one_out"]:
        check_rules(test, valid, *rules)


def _tell_untrained(
    interactions: Interactions, split: Split, notice: Callable[[str], None]
) -> None:
    """Says how many events are used nowhere, for their user has none to train on."""
    trains = np.bincount(split.train.users, minlength=split.train.num_users) > 0
    if num_lost := int((~trains[interactions.users]).sum()):
        notice(
            f"{interactions.name}: {num_lost} events of {int((~trains).sum())} users are used "
            "nowhere: all of them are held out, and none is left to train on"
        )


def _with_all_candidates(split: Split, seed: int, notice: Callable[[str], None]) -> Split:
    """Files list candidates for test items; drawn ones are added for validation items."""
    if not split.candidates or not (split.valid.items < split.train.num_items).any():
        return split
    drawn, fewest = as_many_as_there_are(split, seed)
    if fewest < NUM_UNIFORM:
        notice(
            f"{split.train.name}: among the file's candidates validation items are ranked among "
            f"as few as {fewest} drawn items, not {NUM_UNIFORM}: the catalogue has no more"
        )
    return replace(split, candidates=drawn | split.candidates)


def client_data(
    split: Split, *, exclude: Exclude = "train", candidates_seed: int = 0
) -> ClientData:
    """Puts the training histories on the device.

    Length classes are between powers of two, the smallest up to 32; within a class all
    clients share the longest history's and exclusion list's length.

    Args:
      split: events client after client.
      exclude: what training negatives avoid. `train`: the client's training items;
        `heldout`: its validation and test items too, which leaks them (negatives then
        mark every item but those) and is here to measure that; `heldout_and_candidates`:
        what those are ranked among too, which is fair among these candidates alone; where
        items are held out whole, all of these, for nobody has met them.
      candidates_seed: of `uni99` candidates, where the data bring none.

    Raises:
      UserError: an unknown choice, or a catalogue of one item.

    >>> from fedjax_rec.data.interactions import from_events
    >>> from fedjax_rec.data.splits import hold_out
    >>> split = hold_out(from_events([1, 1, 1, 2], [5, 6, 7, 5], times=[1, 2, 3, 1]))
    >>> data = client_data(split)
    >>> data.history(0, data.classes[0]).items[:3].tolist()
    [0]
    """
    if exclude not in EXCLUDES:
        raise UserError(f"exclude {exclude!r} is not known{did_you_mean(exclude, EXCLUDES)}")
    if split.train.num_items < 2:
        raise UserError(
            f"{split.train.name}: its catalogue is one item, so there is nothing to choose from; "
            "check the column of items"
        )
    train = as_one_catalogue(split.train)
    offsets = _offsets(train.users, train.num_users)
    users, excluded = _exclusions(split, train, exclude, candidates_seed)
    excluded_offsets = _offsets(users, train.num_users)
    num_events = np.diff(offsets)
    is_distinct = _num_distinct(train.users, train.items, train.num_users) == num_events
    by_rank = np.argsort(-num_events, kind="stable")
    rank = np.empty(train.num_users, np.int32)
    rank[by_rank] = np.arange(train.num_users)
    return ClientData(
        items=jnp.asarray(train.items, jnp.int32),
        values=jnp.asarray(train.values, jnp.float32),
        times=jnp.asarray(since_first(train.times, train.times), jnp.int32),
        offsets=jnp.asarray(offsets, jnp.int32),
        excluded=jnp.asarray(excluded, jnp.int32),
        excluded_offsets=jnp.asarray(excluded_offsets, jnp.int32),
        rank=jnp.asarray(rank),
        is_distinct=jnp.asarray(is_distinct),
        first=jnp.int32(0),
        classes=_length_classes(
            num_events[by_rank], np.diff(excluded_offsets)[by_rank], is_distinct[by_rank]
        ),
        num_items=train.num_items,
        num_other=train.num_items - split.train.num_items,
    )


def _offsets(users: NDArray[np.integer], num_users: int) -> NDArray[np.int64]:
    """`[N + 1]` where each client's entries begin in an array sorted by client."""
    return np.append(0, np.cumsum(np.bincount(users, minlength=num_users)))


def _num_distinct(
    users: NDArray[np.integer], items: NDArray[np.integer], num_users: int
) -> NDArray[np.int64]:
    """`[N]` how many different items each client has."""
    num_items = int(items.max(initial=0)) + 1
    pairs = np.unique(users.astype(np.int64) * num_items + items)
    return np.bincount(pairs // num_items, minlength=num_users)


def _exclusions(
    split: Split, train: Interactions, exclude: Exclude, candidates_seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Clients and items of all exclusions, by client, then item, each pair once."""
    pairs = [train.users.astype(np.int64) * train.num_items + train.items]
    lists = [] if exclude == "train" else [split.valid.items, split.test.items]
    if exclude == "heldout_and_candidates" and split.held_items:
        held = np.flatnonzero(np.any(list(split.held_items.values()), axis=0))
        lists.append(np.broadcast_to(held.astype(np.int32), (train.num_users, len(held))))
    elif exclude == "heldout_and_candidates":
        kind: Literal["uni99", "file"] = "file" if split.candidates else "uni99"
        lists += candidate_lists(split, kind, candidates_seed).values()
    for listed in lists:
        rows, places = np.nonzero(listed < split.train.num_items)
        pairs.append(rows * train.num_items + listed[rows, places])
    clients, items = np.divmod(np.unique(np.concatenate(pairs)), train.num_items)
    return clients, items


def since_first(times: NDArray[np.int64], trained: NDArray[np.int64]) -> NDArray[np.int64]:
    """Seconds since the first known time of what is trained on; 0 where unknown.

    >>> since_first(np.array([0, 12, 9]), trained=np.array([0, 10, 11])).tolist()
    [0, 2, -1]
    """
    is_known = trained != 0
    first = trained[is_known].min() if is_known.any() else 0
    return np.where(times != 0, times - first, 0)


def _length_classes(
    num_events: NDArray[np.int64],
    num_excluded: NDArray[np.int64],
    is_distinct: NDArray[np.bool_],
) -> tuple[LengthClass, ...]:
    """Length classes of clients in the order of their ranks."""
    powers = np.ceil(np.log2(np.maximum(num_events, SMALLEST_CLASS))).astype(int)
    starts = np.append(0, np.flatnonzero(np.diff(powers)) + 1)
    stops = np.append(starts[1:], len(powers))
    return tuple(
        LengthClass(
            int(start),
            int(stop),
            max(int(num_events[start]), 1),
            max(int(num_excluded[start:stop].max()), 1),
            bool(is_distinct[start:stop].all()),
            int(num_events[start:stop].sum()),
        )
        for start, stop in zip(starts, stops, strict=True)
    )
