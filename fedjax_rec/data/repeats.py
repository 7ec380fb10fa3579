"""Events that repeat: the same person with the same item, more than once."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedjax_rec.data.interactions import Interactions, pick
from fedjax_rec.data.rules import Repeats, Rules, by_client_and_time


def merge_repeats(interactions: Interactions, rules: Rules) -> tuple[Interactions, int]:
    """The events without repeats, and how many of them repeat an item.

    Of the events of one person with one item, one is left, with its own value and time: the
    `first`, or the `last`; of events whose time is unknown only where no other is left. Under
    `sum` it is the first, with the sum of all values. What
    the files hold out is merged apart from what they train on. Another domain likewise.

    Args:
      interactions: all events.
      rules: `repeats` says what is left, `keep` leaves all; `ties` and `seed` order events of
        the same second.

    >>> from fedjax_rec.data.interactions import from_events
    >>> from fedjax_rec.data.rules import check_rules
    >>> events = from_events([1, 1, 1], [5, 6, 5], [4, 3, 2], times=[10, 20, 30])
    >>> rules = check_rules("leave_one_out", "none", "hash", 0, repeats="last")
    >>> merged, num_repeats = merge_repeats(events, rules)
    >>> merged.values.tolist(), num_repeats
    ([3.0, 2.0], 1)
    """
    other, num_other = interactions.other, 0
    if other is not None:
        other, num_other = merge_repeats(other, rules)
        interactions = replace(interactions, other=other)
    pairs = interactions.users.astype(np.int64) * interactions.num_items + interactions.items
    if rules.holdout == "file" and interactions.file_split is not None:
        pairs = 2 * pairs + interactions.file_split.is_test
        if rules.validation == "file":
            pairs = 2 * pairs + interactions.file_split.is_held
    num_repeats = int(np.count_nonzero(np.diff(np.sort(pairs)) == 0))
    if not num_repeats or rules.repeats == "keep":
        return interactions, num_repeats + num_other
    is_left = np.zeros(interactions.num_events, bool)
    is_left[_one_of_each(interactions, pairs, rules)] = True
    if rules.repeats == "sum":
        interactions = replace(interactions, values=_sums(interactions.values, pairs))
    split = interactions.file_split
    if split is not None:
        split = split.of(is_left)
    return replace(pick(interactions, is_left), file_split=split), num_repeats + num_other


def _sums(values: NDArray[np.float32], pairs: NDArray[np.int64]) -> NDArray[np.float32]:
    """`[E]` the sum of the values of all events of the same pair."""
    number = np.unique(pairs, return_inverse=True)[1]
    return np.bincount(number, values)[number].astype(np.float32)


def _one_of_each(
    interactions: Interactions, pairs: NDArray[np.int64], rules: Rules
) -> NDArray[np.intp]:
    order = by_client_and_time(interactions, rules.ties, rules.seed)
    if rules.repeats == "last":
        order = order[::-1]
    is_unknown = interactions.times[order] == 0
    order = order[np.argsort(is_unknown, kind="stable")]
    return order[np.unique(pairs[order], return_index=True)[1]]


def repeats_in_words(name: str, num_repeats: int, repeats: Repeats) -> str:
    """What became of the repeats, in one line.

    >>> repeats_in_words("mine", 2, "first")
    'mine: 2 events repeat an item of the same user; merged, the first of each is left'
    """
    what = f"{name}: {num_repeats} events repeat an item of the same user"
    if repeats == "keep":
        return f"{what}; all are kept"
    if repeats == "sum":
        return f"{what}; merged, their values are added up"
    return f"{what}; merged, the {repeats} of each is left"
