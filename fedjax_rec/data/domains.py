"""Two catalogues and the same people: one is asked for, the other is trained on beside it."""

from dataclasses import replace

import numpy as np

from fedjax_rec.data.interactions import Interactions
from fedjax_rec.errors import UserError


def beside(target: Interactions, other: Interactions) -> Interactions:
    """The target's events, with those of the same users in another domain to train on.

    Only the target is split and ranked. What the other's files hold out is left out, so that
    nothing is trained on that is a test item where the other domain is the target.

    Args:
      target: the domain that is asked for.
      other: the domain beside it, of the same users.

    Returns:
      The target with `other` set: its events user by user, oldest first.

    Raises:
      UserError: the raw user ids differ.

    >>> from fedjax_rec.data.interactions import from_events
    >>> films, books = from_events([1, 2], [5, 6]), from_events([2, 1, 2], [7, 8, 9])
    >>> beside(films, books).other.items.tolist()
    [1, 0, 2]
    """
    if not np.array_equal(target.user_labels, other.user_labels):
        raise UserError(
            f"{other.name}: its users are not those of {target.name}; two domains can be trained "
            "together where every user has events in both"
        )
    order = np.lexsort((other.times, other.users))
    if other.file_split is not None:
        order = order[~other.file_split.is_held[order]]
    events = replace(
        other,
        users=other.users[order],
        items=other.items[order],
        values=other.values[order],
        times=other.times[order],
        file_split=None,
    )
    return replace(target, other=events)


def as_one_catalogue(train: Interactions) -> Interactions:
    """The training events of both domains, user by user: the target's, then the other's.

    The other domain's items follow the target's: its item j has number `I + j`. Without
    another domain these are the events as they are.

    Args:
      train: the target's training events, user by user, with or without `other`.

    >>> from fedjax_rec.data.interactions import from_events
    >>> films, books = from_events([1, 2], [5, 6]), from_events([2, 1, 2], [7, 8, 9])
    >>> both = as_one_catalogue(beside(films, books))
    >>> both.users.tolist(), both.items.tolist(), both.num_items
    ([0, 0, 1, 1, 1], [0, 3, 1, 2, 4], 5)
    """
    other = train.other
    if other is None:
        return train
    users = np.concatenate([train.users, other.users])
    order = np.argsort(users, kind="stable")
    return replace(
        train,
        users=users[order],
        items=np.concatenate([train.items, train.num_items + other.items])[order],
        values=np.concatenate([train.values, other.values])[order],
        times=np.concatenate([train.times, other.times])[order],
        item_labels=np.concatenate([train.item_labels, other.item_labels]),
        item_titles=None,
        other=None,
    )
