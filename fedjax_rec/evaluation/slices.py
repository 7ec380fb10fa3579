"""Passes over the scores of many clients that XLA turns into vector instructions.

On a processor it adds up the columns of a row one by one; slices of a row, added to each other,
take a fifth of the time.
"""

from collections.abc import Callable, Iterator
from functools import reduce

import jax.numpy as jnp

from fedjax_rec.base import Array

NUM_SLICES = 32


def slices(rows: Array) -> Iterator[Array]:
    """The row in slices `[.., S]` of equal length; what is left, `rest`, is in none.

    >>> [part.tolist() for part in slices(jnp.arange(65))][1]
    [2, 3]
    """
    size = rows.shape[-1] // NUM_SLICES
    return (rows[..., j * size : (j + 1) * size] for j in range(NUM_SLICES))


def rest(rows: Array) -> Array:
    """The end of the row that `slices` leaves out.

    >>> rest(jnp.arange(65)).tolist()
    [64]
    """
    return rows[..., rows.shape[-1] // NUM_SLICES * NUM_SLICES :]


def count_ahead(scores: Array, own: Array, *, with_equal: bool) -> Array:
    """How many finite scores are above each of some.

    Args:
      scores: `[C, I]`.
      own: `[C, R]`; above NaN there is nothing.
      with_equal: equal scores are counted too.

    Returns:
      `[C, R]` counts.

    >>> count_ahead(jnp.array([[1.0, 2.0, jnp.inf]]), jnp.array([[1.0]]), with_equal=False).tolist()
    [[1]]
    """

    def is_ahead(part: Array) -> Array:
        return ahead(part[:, None, :], own[:, :, None], with_equal=with_equal).astype(jnp.int32)

    return _total(is_ahead, scores)


def ahead(score: Array, own: Array, *, with_equal: bool) -> Array:
    """Whether a score is finite and above, or not below, another."""
    return ((score >= own) if with_equal else (score > own)) & (score < jnp.inf)


def count_non_finite(scores: Array) -> Array:
    """`[C]` how many of the scores `[C, I]` are not finite.

    >>> count_non_finite(jnp.array([[1.0, jnp.nan, jnp.inf]])).tolist()
    [2]
    """

    def is_bad(part: Array) -> Array:
        return (~jnp.isfinite(part)).astype(jnp.int32)

    return _total(is_bad, scores)


def _total(count: Callable[[Array], Array], scores: Array) -> Array:
    by_place = reduce(jnp.add, map(count, slices(scores)))
    return by_place.sum(axis=-1) + count(rest(scores)).sum(axis=-1)
