"""A keyed permutation of a range: distinct draws without sorting or rejection."""

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array, Key

NUM_ROUNDS = 2  # double rounds of the Feistel network


def mix(word: Array) -> Array:
    """A 32-bit integer hash (a bijection of uint32 that avalanches).

    The finaliser of MurmurHash3 (Appleby, 2011).
    """
    word = (word ^ (word >> 16)) * jnp.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * jnp.uint32(0xC2B2AE35)
    return word ^ (word >> 16)


def domain(size: Array) -> tuple[Array, Array]:
    """The largest `height x width` grid with `height = floor(sqrt(size))` inside `size`.

    >>> import jax.numpy as jnp
    >>> [int(side) for side in domain(jnp.uint32(11))]
    [3, 3]
    """
    size = jnp.asarray(size, jnp.uint32)
    root = jnp.sqrt(size.astype(jnp.float32)).astype(jnp.uint32)
    root = jnp.where(root * root > size, root - 1, root)  # float32 rounds above 2**24
    height = jnp.maximum(root, 1)
    return height, size // height


def permuted(key: Key, places: Array, size: Array) -> Array:
    """Element number `place` of a random order of `0 .. size - 1`.

    A Feistel network permutes a grid of `M = height * width <= size` cells, and a random
    rotation modulo `size` makes every element equally likely at every place:

        (l, r) <- (l + F(r) mod height, r + G(l) mod width), twice;
        element = (l * width + r + rotation) mod size.

    Args:
      key: a random key.
      places: `[Q]` non-negative places in the order.
      size: `[]` how many elements there are; at least 1 for a meaningful answer.

    Returns:
      `[Q]` int32 elements: distinct for places below M, which misses `size` by less than
      `2 sqrt(size) + 1`; place `q` and `q + M` hold the same element.

    The elements beyond the grid are one block of neighbours, so runs of three neighbours
    come together slightly too often: by a factor of about `1 + 1 / sqrt(size)`.

    Reference:
      Luby and Rackoff (1988), "How to construct pseudorandom permutations from
      pseudorandom functions". Difference: sums modulo the sides of a grid in place of
      exclusive or, so that any size will do. For sampling, not for secrecy.

    >>> import jax, jax.numpy as jnp
    >>> order = permuted(jax.random.key(0), jnp.arange(9), jnp.uint32(9))
    >>> sorted(order.tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8]
    """
    size = jnp.asarray(size, jnp.uint32)
    height, width = domain(size)
    words = jax.random.bits(key, (2 * NUM_ROUNDS + 1,), jnp.uint32)
    place = places.astype(jnp.uint32) % jnp.maximum(height * width, 1)
    left, right = place // jnp.maximum(width, 1), place % jnp.maximum(width, 1)
    for double_round in range(NUM_ROUNDS):
        left = (left + mix(right ^ words[2 * double_round]) % height) % height
        right = (right + mix(left ^ words[2 * double_round + 1]) % width) % jnp.maximum(width, 1)
    rotation = words[-1] % jnp.maximum(size, 1)
    return ((left * width + right + rotation) % jnp.maximum(size, 1)).astype(jnp.int32)
