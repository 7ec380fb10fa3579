"""The largest scores of many clients, without looking at most of them twice.

`jax.lax.top_k` compares every score with those that it holds. Here the catalogue falls into
groups, and only groups whose maximum is among the largest maxima are looked into.
"""

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array
from fedjax_rec.evaluation.slices import NUM_SLICES, rest, slices

WORTH = 4
"""A catalogue is grouped when it is so many times what is then looked into."""


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
    num_items = scores.shape[1]
    if num_items < WORTH * NUM_SLICES * k:
        values, places = jax.lax.top_k(_finite(scores), k)
        return values, places
    groups = jnp.sort(_groups_of_largest(scores, k), axis=1)
    # Groups are in order, so that places are.
    num_groups = num_items // NUM_SLICES
    inside = jnp.arange(NUM_SLICES)[:, None] * num_groups + groups[:, None, :]
    left = rest(jnp.arange(num_items))
    left = jnp.broadcast_to(left, (scores.shape[0], left.size))
    places = jnp.concatenate([inside.reshape(scores.shape[0], -1), left], axis=1)
    values, index = jax.lax.top_k(_finite(jnp.take_along_axis(scores, places, axis=1)), k)
    return values, jnp.take_along_axis(places, index, axis=1)


def _groups_of_largest(scores: Array, k: int) -> Array:
    """`[C, k]` groups that hold the K largest of what is in groups, equal scores by place.

    Group g holds the items g, g + G, g + 2 G, ... These are the groups of the K largest maxima,
    equal maxima by the place where they first stand: before an item of a group left out come
    the maxima of K others.
    """
    num_groups = scores.shape[1] // NUM_SLICES
    maxima = jnp.full((scores.shape[0], num_groups), -jnp.inf, scores.dtype)
    first = jnp.zeros(maxima.shape, jnp.int32)
    for j, part in enumerate(map(_finite, slices(scores))):
        first = jnp.where(part > maxima, j, first)
        maxima = jnp.maximum(maxima, part)
    first = first * num_groups + jnp.arange(num_groups)
    least = jax.lax.top_k(maxima, k)[0][:, -1:]
    lowest, highest = jnp.iinfo(jnp.int32).min, jnp.iinfo(jnp.int32).max
    order = jnp.where(maxima > least, highest, jnp.where(maxima == least, -first, lowest))
    return jax.lax.top_k(order, k)[1]


def _finite(scores: Array) -> Array:
    return jnp.where(jnp.isfinite(scores), scores, -jnp.inf)
