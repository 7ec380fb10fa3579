"""Held-out items that their client has met before, and that tell nothing about a model."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedjax_rec.data.splits import HeldOut, Split


def without_seen(split: Split) -> tuple[Split, dict[str, int]]:
    """The split without held-out items that tell nothing, and how many of them there are.

    A held-out item that its client has trained on would be ranked among items that the client
    has not seen, and stand out for that alone. So would a test item that is the client's
    validation item, which leaves the ranking at test.

    Args:
      split: events to train on and held-out items.

    Returns:
      The split, with padding in their place, and their number in `valid` and `test`.

    >>> from fedjax_rec.data.splits import hold_out
    >>> from fedjax_rec.data.interactions import from_events
    >>> events = from_events([1] * 4, [5, 6, 7, 5], times=[1, 2, 3, 4])
    >>> without_seen(hold_out(events, repeats="keep"))[1]
    {'valid': 0, 'test': 1}
    """
    train = split.train
    trained = np.unique(train.users.astype(np.int64) * train.num_items + train.items)
    valid, num_valid = _without(split.valid, trained, train.num_items)
    seen = np.concatenate([trained, _pairs(split.valid.items, train.num_items)])
    test, num_test = _without(split.test, seen, train.num_items)
    return replace(split, valid=valid, test=test), {"valid": num_valid, "test": num_test}


def _pairs(items: NDArray[np.int32], num_items: int) -> NDArray[np.int64]:
    rows, places = np.nonzero(items < num_items)
    return rows * num_items + items[rows, places].astype(np.int64)


def _without(held: HeldOut, seen: NDArray[np.int64], num_items: int) -> tuple[HeldOut, int]:
    rows, places = np.nonzero(held.items < num_items)
    is_seen = np.isin(_pairs(held.items, num_items), seen)
    num_seen = int(is_seen.sum())
    if not num_seen:
        return held, 0
    items = held.items.copy()
    items[rows[is_seen], places[is_seen]] = num_items
    if held.values is None:
        return replace(held, items=items), num_seen
    values = held.values.copy()
    values[rows[is_seen], places[is_seen]] = 0
    return replace(held, items=items, values=values), num_seen
