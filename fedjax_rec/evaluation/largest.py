"""The largest scores of many clients, without comparing most of them one by one.

The catalogue falls into groups, and only groups whose maximum is among the largest maxima are
looked into. Maxima of whole slices take a fraction of the time of `jax.lax.top_k`.
"""

from functools import reduce

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array
from fedjax_rec.evaluation.slices import NUM_SLICES, rest, slices

WORTH = 4
"""A catalogue is grouped when it is so many times what is then looked into."""

MOST = 2**24
"""Places up to here are exact as floats."""


def largest(scores: Array, k: int) -> tuple[Array, Array]:
    """What `jax.lax.top_k(scores, k)` finds among finite scores: equal ones by place.

    Args:
      scores: `[C, I]`; what is not finite counts as minus infinity.
      k: at most I.

    Returns:
      Values and places `[C, k]`; places of minus infinity mean nothing.

    >>> values, places = largest(jnp.array([[0.5, 0.9, 0.5]]), 2)
    >>> places.tolist()
    [[1, 0]]
    """
    num_clients, num_items = scores.shape
    if not WORTH * NUM_SLICES * k <= num_items <= MOST:
        values, places = jax.lax.top_k(_finite(scores), k)
        return values, places
    groups = jnp.sort(_groups_of_largest(scores, k), axis=1)
    # Groups are in order, so that places are.
    inside = jnp.arange(NUM_SLICES)[:, None] * (num_items // NUM_SLICES) + groups[:, None, :]
    left = rest(jnp.arange(num_items))
    left = jnp.broadcast_to(left, (num_clients, left.size))
    places = jnp.concatenate([inside.reshape(num_clients, -1), left], axis=1)
    values, index = jax.lax.top_k(_finite(jnp.take_along_axis(scores, places, axis=1)), k)
    return values, jnp.take_along_axis(places, index, axis=1)


def _groups_of_largest(scores: Array, k: int) -> Array:
    """`[C, k]` groups that hold the K largest of what is in groups, equal scores by place.

    Group g holds the items g, g + G, g + 2 G, ... These are the groups of the K largest maxima,
    equal maxima by the place where they first stand: before an item of a group left out come
    the maxima of K others.
    """
    num_groups = scores.shape[1] // NUM_SLICES
    maxima = reduce(jnp.maximum, map(_finite, slices(scores)))
    stands = (jnp.where(part == maxima, j, NUM_SLICES) for j, part in enumerate(slices(scores)))
    first = reduce(jnp.minimum, stands) * num_groups + jnp.arange(num_groups)
    # The minimum, not the last: of a slice XLA makes a sort of all, and no TopK.
    least = jax.lax.top_k(maxima, k)[0].min(axis=1, keepdims=True)
    place = -first.astype(jnp.float32)  # of whole numbers it makes a sort too
    order = jnp.where(maxima > least, jnp.inf, jnp.where(maxima == least, place, -jnp.inf))
    return jax.lax.top_k(order, k)[1]


def _finite(scores: Array) -> Array:
    return jnp.where(jnp.isfinite(scores), scores, -jnp.inf)
