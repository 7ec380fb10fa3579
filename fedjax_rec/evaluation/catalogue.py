"""Ranks among the whole catalogue without what was seen, in one pass over the scores.

What is ahead is counted among all items, seen or not; the few seen ones are then looked up and
taken off. Nothing of the size of the scores is written, which is what takes time on a processor.
"""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp

from fedjax_rec.base import Array
from fedjax_rec.evaluation import slices
from fedjax_rec.evaluation.metrics import UNRANKED
from fedjax_rec.evaluation.ranking import Ties
from fedjax_rec.evaluation.seen import Seen


class Placed(NamedTuple):
    """Where the targets of some clients stand.

    Attributes:
      ranks: `[C, R]` from 1; `UNRANKED` for padding and for non-finite targets.
      num_candidates: `[C]` how many items compete, the targets included.
      is_bad: `[C]` one of them has a score that is not finite.
    """

    ranks: Array
    num_candidates: Array
    is_bad: Array


def place(scores: Array, targets: Array, seen: Seen, slots: Array, ties: Ties) -> Placed:
    """What `ranking.ranks` says where all unseen items are candidates.

    Args:
      scores: `[C, I]`, higher is better.
      targets: `[C, R]` distinct items of each client, padded with I. One that was seen
        competes all the same.
      seen: what every client has seen.
      slots: `[C]` which of its lists are these clients'.
      ties: the rule among equal scores.

    >>> scores = jnp.array([[0.5, 0.9, 0.5, 0.1]])
    >>> seen = Seen(jnp.array([0, 1]), jnp.array([1]))
    >>> place(scores, jnp.array([[0, 3]]), seen, jnp.array([0]), "pessimistic").ranks.tolist()
    [[2, 3]]
    """
    num_clients, num_items = scores.shape
    own = jnp.take_along_axis(scores, targets, axis=1, mode="fill", fill_value=jnp.nan)
    own = jnp.where(jnp.isfinite(own), own, jnp.nan)  # which no score is ahead of

    is_ahead = partial(slices.ahead, with_equal=ties == "pessimistic")

    def add_seen(found: Placed, row: Array, item: Array) -> Placed:
        score = scores.at[row, item].get(mode="clip")
        is_target = (targets.at[row].get(mode="clip") == item[:, None]).any(axis=1)
        counted = ~is_target
        ahead = is_ahead(score[:, None], own.at[row].get(mode="clip")) & counted[:, None]
        return Placed(
            found.ranks.at[row].add(ahead, mode="drop"),
            found.num_candidates.at[row].add(counted, mode="drop"),
            found.is_bad.at[row].add(counted & ~jnp.isfinite(score), mode="drop"),
        )

    none = jnp.zeros(num_clients, jnp.int32)
    left = seen.fold(slots, add_seen, Placed(jnp.zeros(own.shape, jnp.int32), none, none))

    ahead = slices.count_ahead(scores, own, with_equal=ties == "pessimistic") - left.ranks
    ahead += _among_targets(own, is_ahead(own[:, None, :], own[:, :, None]))
    num_bad = slices.count_non_finite(scores) - left.is_bad
    ranks = jnp.where(jnp.isfinite(own), 1 + ahead, UNRANKED)
    return Placed(ranks, num_items - left.num_candidates, num_bad > 0)


def _among_targets(own: Array, is_counted: Array) -> Array:
    """`[C, R]` what to add where targets were counted as others are.

    A target is behind the targets of a higher score, and the equal ones before it.
    """
    is_higher = own[:, None, :] > own[:, :, None]
    is_equal_before = jnp.tril(own[:, None, :] == own[:, :, None], -1)
    return is_higher.sum(axis=-1) + is_equal_before.sum(axis=-1) - is_counted.sum(axis=-1)
