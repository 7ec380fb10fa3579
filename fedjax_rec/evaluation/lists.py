"""The best items for many clients, by one compiled program that takes a chunk at a time."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from fedjax_rec.base import Array, Clients, FederatedAlgorithm, Fixed, LengthClass, ServerState
from fedjax_rec.errors import UserError
from fedjax_rec.evaluation import ranking
from fedjax_rec.evaluation.evaluate import clients_at_a_time
from fedjax_rec.evaluation.later import Later
from fedjax_rec.evaluation.personal import each_scores_of, encodes_once

Ids = npt.NDArray[np.int64]


class Lists(NamedTuple):
    """What some clients are recommended.

    Attributes:
      clients: `[C]` ids.
      items: `[C, K]` ids, the best first, equal scores by id; the number of items where no more
        are left.
      scores: `[C, K]` their scores; NaN where no item is.
    """

    clients: Ids
    items: Ids
    scores: npt.NDArray[np.float32]


def top_k_of_all(
    algorithm: FederatedAlgorithm,
    state: ServerState,
    clients: Clients,
    fixed: Fixed,
    k: int,
    seen: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]],
    later: Later | None = None,
) -> Iterator[Lists]:
    """The best items for every client that it has not seen: what `top_k` gives to each.

    Clients come in chunks, so that the scores of all of them are never there at once.

    Args:
      algorithm: whose model scores.
      state: the server's, as it stands.
      clients: the store.
      fixed: frozen parameters and data.
      k: how many items are wanted, at least 1; a catalogue has no more than it has.
      seen: what is left out, `offsets [N + 1]` and `items` as `data.item_lists` gives them.
      later: events behind the training events, of all clients (`later.later_events`).

    Yields:
      Chunks of clients, in the order of their ids.

    Raises:
      UserError: `k` is not positive.
    """
    if k < 1:
        raise UserError(f"cannot recommend k = {k} items; use a positive integer")
    data, num_items = fixed.data, fixed.data.num_ranked
    offsets, seen_items = seen
    length = LengthClass.covering(data.classes)
    most = clients_at_a_time(algorithm, state, clients, num_items)
    size = min(most, data.num_clients)
    width = max(int(np.diff(offsets).max(initial=0)), 1)
    side = encodes_once(algorithm)
    parts = state.shared, fixed.frozen, state.extra
    encoded = None if side is None else jax.jit(side.encode)(*parts)
    ask = _asking(algorithm, length, min(k, num_items))
    for begin in range(0, data.num_clients, size):
        ids = np.arange(begin, min(begin + size, data.num_clients))
        padded = np.append(ids, np.full(size - len(ids), ids[-1]))
        left_out = _rows(offsets, seen_items, padded, width, num_items)
        more = jax.tree.map(lambda leaf, at=padded: leaf[at], later)
        found = ask(state, clients, fixed, encoded, jnp.asarray(padded), left_out, more)
        items, scores = (np.asarray(part)[: len(ids)] for part in jax.device_get(found))
        yield Lists(ids, items.astype(np.int64), scores.astype(np.float32))


def _asking(
    algorithm: FederatedAlgorithm, length: LengthClass, k: int
) -> Callable[..., tuple[Array, Array]]:
    """The program: `[C, K]` items and scores of a chunk."""

    @jax.jit
    def ask(
        state: ServerState,
        clients: Clients,
        fixed: Fixed,
        encoded: object,
        ids: Array,
        left_out: Array,
        later: Later | None,
    ) -> tuple[Array, Array]:
        each_scores = each_scores_of(algorithm, state, clients, fixed, encoded)
        (scores,) = each_scores(length, ids, ids, [later])
        place = jnp.arange(len(ids))[:, None]
        unseen = scores.at[place, left_out].set(-jnp.inf, mode="drop")
        items = ranking.best(unseen, k)
        found = jnp.take_along_axis(scores, items, axis=1, mode="fill", fill_value=jnp.nan)
        return items, found

    return ask


def _rows(
    offsets: npt.NDArray[np.int32],
    items: npt.NDArray[np.int32],
    ids: Ids,
    width: int,
    padding: int,
) -> npt.NDArray[np.int32]:
    """`[C, width]` each client's own entries of a ragged array, padded.

    >>> _rows(np.array([0, 1, 3]), np.array([7, 8, 9]), np.array([1, 0]), 2, padding=50)
    array([[ 8,  9],
           [ 7, 50]], dtype=int32)
    """
    place = offsets[ids][:, None] + np.arange(width)
    is_own = place < offsets[ids + 1][:, None]
    if not len(items):
        return np.full(place.shape, padding, np.int32)
    return np.where(is_own, items[np.minimum(place, len(items) - 1)], padding).astype(np.int32)
