"""Ranks of the held-out items among a client's candidates."""

from typing import Literal

import jax.numpy as jnp

from fedjax_rec.base import Array
from fedjax_rec.evaluation.largest import largest
from fedjax_rec.evaluation.metrics import UNRANKED

Ties = Literal["pessimistic", "optimistic"]


def ranks(scores: Array, targets: Array, is_candidate: Array, ties: Ties = "pessimistic") -> Array:
    """1-based rank of each target among one client's candidates, without sorting.

    `r_t = 1 + |{i: s_i > s_t}| + |{i: i goes ahead of t, s_i = s_t}|` over candidates.
    Among equal scores, `pessimistic` puts every candidate that is no target ahead of
    the targets (a model of constants then finds nothing), `optimistic` puts them
    behind. Equal targets follow their position, so that no two share a rank.

    A non-finite score (NaN and both infinities) is ahead of nothing; a target that has
    one is not ranked at all, so that it counts at no cut-off however few candidates
    there are.

    Args:
      scores: `[I]`, higher is better.
      targets: `[R]` distinct items; padding is any id outside `0 .. I - 1`.
      is_candidate: `[I]` which items compete. Targets always do.
      ties: the rule among equal scores.

    Returns:
      `[R]` ranks from 1; `UNRANKED` for padding and for non-finite targets.

    >>> scores, everything = jnp.array([0.5, 0.9, 0.5, 0.1]), jnp.ones(4, bool)
    >>> ranks(scores, jnp.array([0, 3]), everything).tolist()
    [3, 4]
    >>> ranks(scores, jnp.array([0, 3]), everything, "optimistic").tolist()
    [2, 4]
    """
    scores, targets, is_candidate = map(jnp.asarray, (scores, targets, is_candidate))
    num_items = scores.shape[0]
    is_real = (targets >= 0) & (targets < num_items)
    place = jnp.where(is_real, targets, num_items)
    is_candidate = is_candidate.at[place].set(True, mode="drop")
    finite = jnp.where(jnp.isfinite(scores), scores, -jnp.inf)
    own = finite.at[place].get(mode="fill", fill_value=-jnp.inf)

    ahead = (is_candidate & (finite > own[:, None])).sum(axis=-1)
    is_equal = own == own[:, None]
    ahead += jnp.tril(is_equal, -1).sum(axis=-1)
    if ties == "pessimistic":
        num_equal = (is_candidate & (finite == own[:, None])).sum(axis=-1)
        ahead += num_equal - is_equal.sum(axis=-1)
    return jnp.where(jnp.isfinite(own), 1 + ahead, UNRANKED)


def best(listed: Array, k: int) -> Array:
    """The K best items of each client, best first, equal scores by id.

    Args:
      listed: `[C, I]`, higher is better; an item without a finite score is in no list.
      k: length of the list, 1 to I.

    Returns:
      `[C, K]` ids; I where there is nothing left to list.

    >>> best(jnp.array([[0.5, jnp.nan, 0.5, -jnp.inf]]), 3).tolist()
    [[0, 2, 4]]
    """
    values, items = largest(listed, k)
    return jnp.where(jnp.isfinite(values), items, listed.shape[-1])


def count_non_finite(scores: Array, is_candidate: Array) -> Array:
    """`[]` how many of one client's candidates have a score that is not finite.

    >>> count_non_finite(jnp.array([jnp.nan, 1.0, jnp.inf]), jnp.array([True, True, False])).item()
    1
    """
    return (is_candidate & ~jnp.isfinite(scores)).sum()
