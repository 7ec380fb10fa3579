"""Some of the users of a data set: for a quick look, and for studies of how many there are."""

from dataclasses import replace

import numpy as np

from fedjax_rec.data.interactions import Interactions
from fedjax_rec.errors import UserError


def some_users(interactions: Interactions, num_users: int, seed: int = 0) -> Interactions:
    """The events of some users, drawn at random; the catalogue stays whole.

    Args:
      interactions: all events.
      num_users: how many users to keep, from 1 to all of them.
      seed: of the draw.

    Returns:
      Their events, in file order; users keep their order.

    Raises:
      UserError: more users than there are.

    >>> from fedjax_rec.data.interactions import from_events
    >>> events = from_events([1, 1, 2, 3, 3], [5, 6, 7, 5, 8])
    >>> some_users(events, 2, seed=1).user_labels.tolist(), some_users(events, 2).num_items
    (['1', '2'], 4)
    """
    if not 1 <= num_users <= interactions.num_users:
        raise UserError(
            f"{interactions.name}: has {interactions.num_users} users; data.num_users must be "
            f"between 1 and that, got {num_users}"
        )
    chosen = np.random.default_rng(seed).permutation(interactions.num_users)[:num_users]
    is_kept = np.zeros(interactions.num_users, bool)
    is_kept[chosen] = True
    events = is_kept[interactions.users]
    number = np.cumsum(is_kept) - 1
    split = interactions.file_split
    if split is not None:
        candidates = None if split.candidates is None else split.candidates[is_kept]
        split = replace(split.of(events), candidates=candidates)
    return replace(
        interactions,
        users=number[interactions.users[events]].astype(np.int32),
        items=interactions.items[events],
        values=interactions.values[events],
        times=interactions.times[events],
        user_labels=interactions.user_labels[is_kept],
        file_split=split,
    )
