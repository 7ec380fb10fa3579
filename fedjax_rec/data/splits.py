"""Which events are trained on and which are held out, by rules that a result can name."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedjax_rec.data.interactions import Interactions, pick
from fedjax_rec.data.repeats import merge_repeats
from fedjax_rec.data.rules import (
    BY_EVENT,
    WITH_SHARE,
    Holdout,
    Mask,
    Repeats,
    Rules,
    Ties,
    Validation,
    by_client_and_time,
    check_rules,
    check_times,
    file_split,
    held_items,
    held_users,
    kept,
    num_events,
    tested,
    validated,
)
from fedjax_rec.errors import UserError


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Items that are held out of training, for each client.

    Attributes:
      items: `[N, R]` int32, distinct in a row; padding holds the number of items.
      values: `[N, R]` float32, each item's value, of its latest event where it was held out
        with repeats; padding holds 0. `None` where none is known.
      events: the events that are held out, client after client, oldest first; repeats among
        them. `None` where they are not known.
    """

    items: NDArray[np.int32]
    values: NDArray[np.float32] | None = None
    events: Interactions | None = None


@dataclass(frozen=True, eq=False)
class Split:
    """Training events and held-out items, with the rule that parted them.

    Attributes:
      train: events to train on, client after client, oldest first.
      valid: items to choose a model by; all padding when `validation` is `none`.
      test: items to report.
      validation: the rule by which validation items were chosen, see `hold_out`.
      ties: how events at the same time were ordered.
      seed: of the hashes.
      holdout: the rule by which test items were held out, see `hold_out`.
      candidates: what held-out items are ranked among, by split, `[N, R + K]`, the
        held-out items first, padded with the number of items, where the data came with
        such lists.
      share: the share that was held out, where the rule has one.
      held_users: `[N]` who is held out whole and never trains, where the rule holds out
        users; their events in `train` are what they may adapt on before they are asked.
      held_items: `[I]` which items are held out whole, by split, where the rule holds out
        items: nobody trains on one. Those of `valid` are no items of `test`.
      max_events: how many events of each user were kept; `None`: all.
      repeats: what became of events that repeat, see `hold_out`; `None` where none does.
      num_repeats: how many events repeat an item that their user has already.
    """

    train: Interactions
    valid: HeldOut
    test: HeldOut
    validation: Validation
    ties: Ties
    seed: int
    holdout: Holdout = "leave_one_out"
    candidates: dict[str, NDArray[np.int32]] | None = None
    share: float | None = None
    held_users: NDArray[np.bool_] | None = None
    held_items: dict[str, NDArray[np.bool_]] | None = None
    max_events: int | None = None
    repeats: Repeats | None = None
    num_repeats: int = 0


def hold_out(
    interactions: Interactions,
    holdout: Holdout = "leave_one_out",
    *,
    validation: Validation = "second_latest",
    ties: Ties = "hash",
    seed: int = 0,
    share: float = 0.1,
    max_events: int = 0,
    repeats: Repeats = "first",
) -> Split:
    """Holds out some of each client's items for test, and others for validation.

    | `holdout` | test | with `validation` |
    | --- | --- | --- |
    | `leave_one_out` | the client's latest event | `second_latest`, `hash`, `none` |
    | `leave_one_out_hash` | its item with the largest hash | `hash`, `none` |
    | `temporal` | the latest `share` of the events of all clients | `temporal`, `none` |
    | `ratio` | the `share` of the client's events with the largest hash | `ratio`, `hash`, `none` |
    | `users` | half of the events of a `share` of the users, by hash | `users`, `none` |
    | `items` | all events of a `share` of the items, by hash | `items`, `none` |
    | `file` | what the files of the data set say | `file`, `second_latest`, `hash`, `none` |

    `second_latest` is the latest event that is not tested, `hash` the one with the largest
    hash (another than the test's), `temporal` and `ratio` hold out as large a share again, `file`
    is what the files say; under other rules what they call validation is trained on.
    Under `users` the test users are those with the largest hash of raw user id and seed, the
    validation users those that follow; none of them trains, see `Split.held_users`. Under `items`
    items are chosen likewise, by raw item id and seed, and nobody trains on any of them.
    What is chosen by hash is chosen with all its repeats, where those are kept. The hashes are
    those of raw user id, raw item id and seed, so that neither file order nor numbering matters.

    A client with too few events (under 3 with a validation item, under 2 without) keeps all
    of them in training and holds out nothing. Under `temporal`, `items` and `file`, the
    held-out events of a client without any event to train on are left out altogether.

    Args:
      interactions: all events.
      holdout: the rule for test items.
      validation: the rule for validation items, which are never trained on.
      ties: which of a client's events at the same time is later, see `leave_one_out`.
      seed: of the hashes, `0 .. 2**64 - 1`.
      share: of `temporal`, `ratio`, `users` and `items`, above 0 and below 0.5; rounded down to
        whole events, users or items, one at least. Events of the same second as the first one that
        `temporal` holds out are held out too.
      max_events: of each user's events as many are used, chosen by hash; 0 uses all.
      repeats: of a user's events with one item the `first` or the `last` is left, with its
        value and time, or the first with the `sum` of their values, or all are (`keep`). Under
        `keep` an item can be both in training and held out; it is then no question to ask
        (`seen.without_seen`), unless seen items are ranked too. What files hold out is merged
        apart from what they train on.

    Raises:
      UserError: an unknown rule, rules that do not go together, a seed or share out of
        range, a rule that needs times that are unknown, or files without a hold-out.

    >>> from fedjax_rec.data.interactions import from_events
    >>> events = from_events([1, 1, 1, 2, 2], [5, 6, 7, 5, 6], times=[10, 30, 20, 10, 40])
    >>> split = hold_out(events, "temporal", validation="none", share=0.4)
    >>> split.test.items.tolist(), split.train.items.tolist()
    ([[1], [1]], [0, 2, 0])
    """
    rules = check_rules(holdout, validation, ties, seed, share, max_events, repeats)
    interactions, num_repeats = merge_repeats(interactions, rules)
    interactions = pick(interactions, kept(interactions, rules)) if max_events else interactions
    split, is_test, is_valid = _split(interactions, rules)
    check_times(interactions, rules, is_test, is_valid)
    return replace(split, repeats=repeats if num_repeats else None, num_repeats=num_repeats)


def leave_one_out(
    interactions: Interactions,
    *,
    validation: Validation = "second_latest",
    ties: Ties = "hash",
    seed: int = 0,
    repeats: Repeats = "first",
) -> Split:
    """Holds out each client's latest event for test and the one before for validation.

    Clients with too few events (under 3 with a validation item, under 2 without) keep
    all of them in training and hold out nothing.

    Args:
      interactions: all events. Events of unknown time (0) count as the oldest, even
        where that makes one of them the latest; `hold_out` refuses that.
      validation: `second_latest` never trains on the second-latest event; `hash` on the
        remaining one with the largest hash; `none` returns it to training.
      ties: which of a client's events at the same time is later. `hash`: a 64-bit hash
        of raw user id, raw item id and seed, so that neither the order of the file nor
        the numbering of items matters. `file_order`: the later line. `item_id`: the
        larger raw item id.
      seed: of the hash, `0 .. 2**64 - 1`.
      repeats: what becomes of events that repeat, see `hold_out`.

    Raises:
      UserError: an unknown rule, or a seed out of range.

    >>> from fedjax_rec.data.interactions import from_events
    >>> events = from_events([1, 1, 1, 2], [5, 6, 7, 5], times=[10, 30, 20, 10])
    >>> split = leave_one_out(events)
    >>> split.test.items.tolist(), split.valid.items.tolist(), split.train.items.tolist()
    ([[1], [3]], [[2], [3]], [0, 0])
    """
    rules = check_rules("leave_one_out", validation, ties, seed, repeats=repeats)
    interactions, num_repeats = merge_repeats(interactions, rules)
    split = _split(interactions, rules)[0]
    return replace(split, repeats=repeats if num_repeats else None, num_repeats=num_repeats)


def shuffle_items(split: Split) -> Split:
    """The same split with items numbered in a fixed random order.

    Raw ids often follow popularity or age. Negatives are drawn by arithmetic on item
    numbers, so the numbers should carry no meaning. Labels, titles, held-out items and
    candidates move along. Another domain's items are numbered anew among themselves.

    >>> from fedjax_rec.data.interactions import from_events
    >>> split = leave_one_out(from_events([1] * 4, [5, 6, 7, 8], times=[1, 2, 3, 4]))
    >>> shuffled = shuffle_items(split)
    >>> shuffled.train.item_labels[shuffled.test.items[0, 0]]
    np.str_('8')
    """
    train, new = _shuffled(split.train)
    if train.other is not None:
        train = replace(train, other=_shuffled(train.other)[0])

    def renumbered(held: HeldOut) -> HeldOut:
        events, names = held.events, (train.item_labels, train.item_titles)
        if events is not None:
            events = replace(
                events, items=new[events.items], item_labels=names[0], item_titles=names[1]
            )
        return replace(held, items=new[held.items], events=events)

    candidates = split.candidates and {name: new[items] for name, items in split.candidates.items()}
    valid, test = renumbered(split.valid), renumbered(split.test)
    old = np.argsort(new[:-1])
    held_items = split.held_items and {name: is_in[old] for name, is_in in split.held_items.items()}
    return replace(
        split,
        train=train,
        candidates=candidates,
        valid=valid,
        test=test,
        held_items=held_items,
    )


def _shuffled(events: Interactions) -> tuple[Interactions, NDArray[np.int32]]:
    """The events, and each old number's new one; padding, the number of items, keeps its own."""
    old = np.random.default_rng(0).permutation(events.num_items)  # new number -> old number
    new = np.append(np.argsort(old), events.num_items).astype(np.int32)
    titles = events.item_titles
    shuffled = replace(
        events,
        items=new[events.items],
        item_labels=events.item_labels[old],
        item_titles=None if titles is None else tuple(titles[i] for i in old),
    )
    return shuffled, new


def _split(interactions: Interactions, rules: Rules) -> tuple[Split, Mask, Mask]:
    """The split, and which events it holds out for test and for validation."""
    order = by_client_and_time(interactions, rules.ties, rules.seed)
    is_test = tested(interactions, rules, order)
    is_valid = validated(interactions, rules, order, is_test)
    is_train = ~(is_test | is_valid)
    trains = (num_events(interactions, is_train) > 0)[interactions.users]
    is_test, is_valid = is_test & trains, is_valid & trains
    if rules.holdout not in BY_EVENT:
        is_train = ~(is_test | is_valid)
    is_held = np.logical_or(*held_users(interactions, rules)) if rules.holdout == "users" else None
    if not is_train.any() or (is_held is not None and is_held.all()):
        raise UserError(f"{interactions.name}: holdout {rules.holdout!r} leaves no event to train")
    test = held_out(interactions, order[is_test[order]])
    return (
        Split(
            train=pick(interactions, order[is_train[order]]),
            valid=held_out(interactions, order[is_valid[order]]),
            test=test,
            validation=rules.validation,
            ties=rules.ties,
            seed=rules.seed,
            holdout=rules.holdout,
            candidates=_candidates(interactions, test) if rules.holdout == "file" else None,
            share=rules.share if rules.holdout in WITH_SHARE else None,
            held_users=is_held,
            held_items=_held_items(interactions, rules),
            max_events=rules.max_events or None,
        ),
        is_test,
        is_valid,
    )


def _held_items(interactions: Interactions, rules: Rules) -> dict[str, Mask] | None:
    if rules.holdout != "items":
        return None
    return dict(zip(("test", "valid"), held_items(interactions, rules), strict=True))


def held_out(interactions: Interactions, events: NDArray[np.intp]) -> HeldOut:
    """The distinct items of some events, client by client, in the order of their numbers.

    Args:
      interactions: all events.
      events: which of them, client after client, the latest last.
    """
    num_users, num_items = interactions.num_users, interactions.num_items
    themselves = pick(interactions, events)
    events = events[::-1]  # np.unique finds the first of equals
    pairs = interactions.users[events].astype(np.int64) * num_items + interactions.items[events]
    pairs, latest = np.unique(pairs, return_index=True)
    clients, items = np.divmod(pairs, num_items)
    counts = np.bincount(clients, minlength=num_users)
    place = np.arange(len(items)) - np.repeat(np.cumsum(counts) - counts, counts)
    table = np.full((num_users, max(int(counts.max()), 1)), num_items, np.int32)
    table[clients, place] = items
    values = np.zeros(table.shape, np.float32)
    values[clients, place] = interactions.values[events[latest]]
    return HeldOut(table, values, themselves)


def _candidates(interactions: Interactions, test: HeldOut) -> dict[str, NDArray[np.int32]] | None:
    """The files' candidates behind the test items, each item once in a row."""
    listed = file_split(interactions).candidates
    if listed is None:
        return None
    listed = np.sort(listed, axis=1)
    is_repeat = np.zeros(listed.shape, bool)
    is_repeat[:, 1:] = listed[:, 1:] == listed[:, :-1]
    for target in test.items.T:
        is_repeat |= listed == target[:, None]
    others = np.sort(np.where(is_repeat, interactions.num_items, listed), axis=1)
    return {"test": np.concatenate([test.items, others], axis=1).astype(np.int32)}
