"""Lists of items: what each user touched, and what held-out items are ranked among."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fedjax_rec.data.splits import Split
from fedjax_rec.errors import UserError

IntArray = npt.NDArray[np.integer[Any]]
NUM_UNIFORM = 99
"""How many items `uni99` draws beside the held-out one."""


def candidate_lists(
    split: Split, kind: Literal["uni99", "file"], seed: int = 0
) -> dict[str, npt.NDArray[np.int32]]:
    """What the held-out items of `valid` and `test` are ranked among.

    Args:
      split: its held-out items.
      kind: `uni99` draws items that the client never touched, for validation and test
        apart: candidates in common would leak by selection; `file` takes the split's own.
      seed: of the draw.

    Returns:
      Split -> `[N, R + K]` items, the targets first, padded with the number of items; a
      split without held-out items has no entry.

    Raises:
      UserError: `file`, and the data came without candidates; `uni99`, and a client with a
        held-out item has touched all but fewer than 99 items.

    >>> from fedjax_rec.data.interactions import from_events
    >>> from fedjax_rec.data.splits import leave_one_out
    >>> events = from_events([1] * 4, [5, 6, 7, 8], times=[1, 2, 3, 4], catalogue=range(200))
    >>> candidate_lists(leave_one_out(events), "uni99")["test"].shape
    (1, 100)
    """
    if kind == "file":
        if split.candidates is None:
            raise UserError(
                f"{split.train.name}: candidates 'file' need a data set that comes with a list "
                "of them; choose uni99 or full"
            )
        return split.candidates
    touched = _touched(split)
    fewest, client = _fewest_free(split, touched)
    if fewest < NUM_UNIFORM:
        raise UserError(
            f"{split.train.name}: candidates 'uni99' need {NUM_UNIFORM} items that a client has "
            f"not touched, and client {client!r} has {fewest} of a catalogue of "
            f"{split.train.num_items}; set evaluate.candidates to full"
        )
    return _uniform(split, touched, seed)


def as_many_as_there_are(split: Split, seed: int) -> tuple[dict[str, npt.NDArray[np.int32]], int]:
    """As `candidate_lists` of `uni99`, with what there is where fewer are; and the fewest."""
    touched = _touched(split)
    return _uniform(split, touched, seed), min(_fewest_free(split, touched)[0], NUM_UNIFORM)


def _targets(split: Split) -> dict[str, npt.NDArray[np.int32]]:
    return {"valid": split.valid.items, "test": split.test.items}


def _touched(split: Split) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """`item_lists` of what each client trains on and holds out."""
    train, held_out = split.train, list(_targets(split).values())
    return item_lists(train.users, train.items, train.num_users, train.num_items, held_out)


def _fewest_free(
    split: Split, touched: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]
) -> tuple[int, str]:
    """The fewest items that a client with a held-out item has not touched; and which client."""
    num_items = split.train.num_items
    num_free = num_items - np.diff(touched[0]).astype(np.int64)
    is_asked = np.any([(items < num_items).any(axis=1) for items in _targets(split).values()], 0)
    num_free[~is_asked] = num_items
    client = int(np.argmin(num_free))
    return int(num_free[client]) if is_asked.any() else NUM_UNIFORM, str(
        split.train.user_labels[client]
    )


def _uniform(
    split: Split, touched: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]], seed: int
) -> dict[str, npt.NDArray[np.int32]]:
    train = split.train
    return {
        name: uniform_candidates(touched, items, train.num_items, NUM_UNIFORM, (seed, stream))
        for stream, (name, items) in enumerate(_targets(split).items())
        if (items < train.num_items).any()
    }


def item_lists(
    users: IntArray,
    items: IntArray,
    num_users: int,
    num_items: int,
    held_out: Sequence[IntArray] = (),
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Each user's distinct items, sorted, as one list after another (CSR).

    Args:
      users: `[E]` user of each event, in any order.
      items: `[E]` item of each event.
      num_users: N.
      num_items: I.
      held_out: `[N, R]` arrays of further items, padded with `num_items`.

    Returns:
      `offsets [N + 1]` and `items`: user `u` has `items[offsets[u] : offsets[u + 1]]`.

    >>> users, items, valid = np.array([1, 0, 1]), np.array([3, 2, 3]), np.array([[5], [0]])
    >>> offsets, items = item_lists(users, items, 2, 5, [valid])
    >>> offsets.tolist(), items.tolist()
    ([0, 1, 3], [2, 0, 3])
    """
    keys = [users.astype(np.int64) * num_items + items]
    for extra in held_out:
        user, column = np.nonzero(extra < num_items)
        keys.append(user * num_items + extra[user, column])
    ordered = np.sort(np.concatenate(keys))  # np.unique hashes, which is ten times slower
    owner, item = np.divmod(ordered[np.diff(ordered, prepend=-1) > 0], num_items)
    offsets = np.searchsorted(owner, np.arange(num_users + 1))
    return offsets.astype(np.int32), item.astype(np.int32)


def uniform_candidates(
    interacted: tuple[IntArray, IntArray],
    targets: IntArray,
    num_items: int,
    num_candidates: int = 99,
    seed: int | Sequence[int] = 0,
) -> npt.NDArray[np.int32]:
    """Each client's targets and distinct uniform items that it never touched.

    Every set of `num_candidates` free items is equally likely: Floyd's algorithm (Bentley
    and Floyd, "A sample of brilliance", CACM 30(9), 1987), run for all clients at once on
    places in their lists of free items.

    Args:
      interacted: `item_lists` of everything a client ever touched, held-out items
        included (the targets are avoided in any case).
      targets: `[N, R]` padded with `num_items`.
      num_items: I.
      num_candidates: K, how many items beside the targets.
      seed: validation and test should not share one: `(seed, 0)` and `(seed, 1)`.

    Returns:
      `[N, R + K]`: the targets, then the drawn items, sorted; padded with `num_items`
      where a client has fewer than K free items.

    >>> lists = item_lists(np.array([0, 0]), np.array([1, 4]), 1, 6)
    >>> uniform_candidates(lists, np.array([[2]]), 6, num_candidates=3).tolist()
    [[2, 0, 3, 5]]
    """
    num_users = len(targets)
    owners = np.repeat(np.arange(num_users), np.diff(interacted[0]))
    offsets, touched = item_lists(owners, interacted[1], num_users, num_items, [targets])
    num_free = num_items - np.diff(offsets)
    places = _distinct_places(num_free, num_candidates, np.random.default_rng(seed))
    drawn = np.where(places < num_free[:, None], places, num_items)
    drawn = np.sort(_free_items(drawn, offsets, touched, num_items), axis=1)
    return np.concatenate([targets, drawn], axis=1).astype(np.int32)


def _distinct_places(
    num_free: IntArray, count: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """`[N, count]` a uniform set of distinct places below `num_free`; unused ones are not below."""
    none = np.iinfo(np.int64).max
    places = np.full((len(num_free), count), none)
    num_drawn = np.minimum(num_free, count)
    for step in range(count):
        last = num_free - num_drawn + step
        draw = rng.integers(0, last + 1)
        is_taken = (places[:, :step] == draw[:, None]).any(axis=1)
        chosen = np.where(is_taken, last, draw)
        places[:, step] = np.where(step < num_drawn, chosen, none)
    return places


def _free_items(
    places: IntArray, offsets: IntArray, touched: IntArray, num_items: int
) -> npt.NDArray[np.int64]:
    """The items at some places of each user's list of free items; `num_items` stays itself.

    A touched item `t_j`, the j-th of its user, has `t_j - j` free items before it, so the
    free item at place p lies behind exactly the touched items with `t_j - j <= p`.
    """
    num_users = len(places)
    stride = num_items + 1
    owner = np.repeat(np.arange(num_users), np.diff(offsets))
    free_before = touched - (np.arange(len(touched)) - offsets[owner])
    keys = owner * stride + free_before
    queries = np.arange(num_users)[:, None] * stride + places
    num_behind = np.searchsorted(keys, queries, side="right") - offsets[:-1, None]
    return np.where(places < num_items, places + num_behind, num_items)
