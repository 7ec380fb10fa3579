"""Keyed permutations of a range: distinct draws without sorting or rejection.

Two kinds, of one interface: `draw(kind, key, size, ...)` fixes a random order of
`0 .. size - 1`, `num_places` says how many places come before an element repeats, and
`element(place)` computes one in constant time.
"""

import math
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from fedjax_rec.base import Array, Key

NUM_ROUNDS = 2  # double rounds of the Feistel network

Permutation = Any
"""`Affine` or `Feistel`; or `Independent`, which is none."""


def draw(
    kind: Literal["affine", "feistel"], key: Key, size: Array, *, smallest: int, largest: int
) -> Permutation:
    """A random order of `0 .. size - 1`.

    Args:
      kind: `affine` costs a multiplication an element; `feistel` some four times as much,
        and is nearer to a shuffle.
      key: a random key.
      size: `[]` how many elements there are; at least 1 for a meaningful answer.
      smallest: a static lower bound of size.
      largest: a static upper bound of size, below `2**31`.

    Returns:
      An `Affine` or a `Feistel`.

    >>> order = draw("affine", jax.random.key(0), jnp.int32(7), smallest=7, largest=7)
    >>> sorted(order.element(jnp.arange(7)).tolist())
    [0, 1, 2, 3, 4, 5, 6]
    """
    if kind == "feistel":
        return draw_feistel(key, size)
    return draw_affine(key, size, smallest=smallest, largest=largest)


def least_num_places(kind: Literal["affine", "feistel"], size: int) -> int:
    """A lower bound of `num_places` of every order of `size` elements or more.

    >>> least_num_places("affine", 12), least_num_places("feistel", 12)
    (11, 5)
    """
    if size < 1:
        return 0
    if kind == "feistel":
        return max(size - 2 * math.isqrt(size) - 1, 1)
    return int(primes_between(size, size)[-1])


# ----------------------------------------------------------------- independent


class Independent(NamedTuple):
    """No order at all: each place holds an element of its own draw, with replacement.

    Attributes:
      size: `[]` how many elements there are.
      words: `[2]` random.
    """

    size: Array
    words: Array

    @property
    def num_places(self) -> Array:
        """`[]` there is no end of places, where there is an element."""
        return jnp.where(self.size > 0, jnp.iinfo(jnp.int32).max, 0)

    def element(self, place: Array) -> Array:
        """Elements at places."""
        word = mix(mix(place.astype(jnp.uint32) ^ self.words[0]) + self.words[1])
        return (word % jnp.maximum(self.size, 1).astype(jnp.uint32)).astype(jnp.int32)


def draw_independent(key: Key, size: Array) -> Independent:
    """Random elements of `0 .. size - 1`, each by itself.

    >>> draws = draw_independent(jax.random.key(0), jnp.int32(3)).element(jnp.arange(99))
    >>> sorted(set(draws.tolist()))
    [0, 1, 2]
    """
    return Independent(jnp.asarray(size), jax.random.bits(key, (2,), jnp.uint32))


# ---------------------------------------------------------------------- affine


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["size", "modulus", "multiplier", "offset", "rotation", "inverse"],
    meta_fields=["num_bits"],
)
@dataclass(frozen=True)
class Affine:
    """`element = ((a q + b0) mod M + b) mod size`, M the largest prime up to size.

    Any two places hold any two distinct elements equally often (all but exactly: M misses
    size by a prime gap). Three do not: neighbours come in threes 2.5 times too often at
    1,600 elements, so that the numbers of items should carry no meaning
    (`data.load` numbers them at random).
    """

    size: Array
    modulus: Array
    multiplier: Array
    offset: Array
    rotation: Array
    inverse: Array  # of the modulus, in float32
    num_bits: int = field(default=32)

    @property
    def num_places(self) -> Array:
        """`[]` places before an element repeats."""
        return jnp.where(self.size > 0, self.modulus, 0).astype(jnp.int32)

    def element(self, place: Array) -> Array:
        """Elements at places below `num_places`."""
        inner = multiply_modulo(self.multiplier, place, self.modulus, self.inverse, self.num_bits)
        inner = add_modulo(inner, self.offset, self.modulus)
        return add_modulo(inner, self.rotation, self.size).astype(jnp.int32)


def draw_affine(key: Key, size: Array, *, smallest: int, largest: int) -> Affine:
    """A random affine order; see `draw`."""
    primes = jnp.asarray(primes_between(smallest, largest), jnp.uint32)
    size = jnp.asarray(size).astype(jnp.uint32)
    modulus = primes[jnp.maximum(jnp.searchsorted(primes, size, side="right") - 1, 0)]
    words = jax.random.bits(key, (3,), jnp.uint32)
    return Affine(
        size,
        modulus,
        1 + words[0] % jnp.maximum(modulus - 1, 1),
        words[1] % modulus,
        words[2] % jnp.maximum(size, 1),
        1.0 / modulus.astype(jnp.float32),
        int(largest).bit_length(),
    )


@cache
def primes_between(smallest: int, largest: int) -> NDArray[np.uint32]:
    """The primes from the last one up to `smallest` to the last one up to `largest`.

    1 stands for a prime where there is none: arithmetic modulo 1 has one element.

    >>> primes_between(8, 20).tolist()
    [7, 11, 13, 17, 19]
    """
    is_prime = np.ones(max(largest, 1) + 1, bool)
    is_prime[0] = False
    for factor in range(2, int(largest**0.5) + 1):
        if is_prime[factor]:
            is_prime[factor * factor :: factor] = False
    primes = np.flatnonzero(is_prime)
    first = max(int(np.searchsorted(primes, smallest, side="right")) - 1, 0)
    return primes[first:].astype(np.uint32)


def add_modulo(left: Array, right: Array, modulus: Array) -> Array:
    """`(left + right) mod modulus` of numbers below it, which is below `2**31`."""
    total = left + right
    return jnp.where(total >= modulus, total - modulus, total)


def multiply_modulo(
    left: Array, right: Array, modulus: Array, inverse: Array, num_bits: int
) -> Array:
    """`(left * right) mod modulus` of numbers below `2**num_bits`, in 32 bits.

    `right` is read in digits so small that no product overflows, the highest first.

    >>> exact = 987_654 * 456_789 % 999_983
    >>> words = [jnp.uint32(word) for word in (987_654, 456_789, 999_983)]
    >>> int(multiply_modulo(*words, 1 / words[2].astype(jnp.float32), 20)) == exact
    True
    """
    right = right.astype(jnp.uint32)
    digit_bits = min(32 - num_bits, num_bits)
    num_digits = -(-num_bits // digit_bits)
    result = remainder(left * (right >> (digit_bits * (num_digits - 1))), modulus, inverse)
    for number in reversed(range(num_digits - 1)):
        digit = (right >> (digit_bits * number)) & jnp.uint32(2**digit_bits - 1)
        higher = remainder(result << digit_bits, modulus, inverse)
        lower = remainder(left * digit, modulus, inverse)
        result = add_modulo(higher, lower, modulus)
    return result


def remainder(number: Array, modulus: Array, inverse: Array) -> Array:
    """`number mod modulus` without an integer division, which no vector unit has.

    `k = floor(number / modulus)` in float32 errs by one at most while k is below `2**22`.
    """
    quotient = (number.astype(jnp.float32) * inverse).astype(jnp.uint32)
    rest = (number - quotient * modulus).astype(jnp.int32)
    signed = modulus.astype(jnp.int32)
    rest = jnp.where(rest < 0, rest + signed, rest)
    return jnp.where(rest >= signed, rest - signed, rest).astype(jnp.uint32)


# --------------------------------------------------------------------- feistel


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["size", "height", "width", "words"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Feistel:
    """A Feistel network over a grid of `M = height * width <= size` cells.

        (l, r) <- (l + F(r) mod height, r + G(l) mod width), twice;
        element = (l * width + r + rotation) mod size.

    M misses size by less than `2 sqrt(size) + 1`. The elements beyond the grid are one
    block of neighbours, so runs of three neighbours come together slightly too often: by
    a factor of about `1 + 1 / sqrt(size)`.

    Reference:
      Luby and Rackoff (1988), "How to construct pseudorandom permutations from
      pseudorandom functions". Difference: sums modulo the sides of a grid in place of
      exclusive or, so that any size will do. For sampling, not for secrecy.
    """

    size: Array
    height: Array
    width: Array
    words: Array

    @property
    def num_places(self) -> Array:
        """`[]` places before an element repeats."""
        return (self.height * self.width).astype(jnp.int32)

    def element(self, place: Array) -> Array:
        """Elements at places below `num_places`."""
        width = jnp.maximum(self.width, 1)
        left, right = place.astype(jnp.uint32) // width, place.astype(jnp.uint32) % width
        for number in range(0, 2 * NUM_ROUNDS, 2):
            left = (left + mix(right ^ self.words[number]) % self.height) % self.height
            right = (right + mix(left ^ self.words[number + 1]) % width) % width
        size = jnp.maximum(self.size, 1)
        return ((left * width + right + self.words[-1] % size) % size).astype(jnp.int32)


def draw_feistel(key: Key, size: Array) -> Feistel:
    """A random Feistel order; see `draw`."""
    size = jnp.asarray(size).astype(jnp.uint32)
    height, width = domain(size)
    return Feistel(size, height, width, jax.random.bits(key, (2 * NUM_ROUNDS + 1,), jnp.uint32))


def domain(size: Array) -> tuple[Array, Array]:
    """The largest `height x width` grid with `height = floor(sqrt(size))` inside `size`.

    >>> [int(side) for side in domain(jnp.uint32(11))]
    [3, 3]
    """
    size = jnp.asarray(size, jnp.uint32)
    root = jnp.sqrt(size.astype(jnp.float32)).astype(jnp.uint32)
    root = jnp.where(root * root > size, root - 1, root)  # float32 rounds above 2**24
    height = jnp.maximum(root, 1)
    return height, size // height


def mix(word: Array) -> Array:
    """A 32-bit integer hash (a bijection of uint32 that avalanches).

    The finaliser of MurmurHash3 (Appleby, 2011).
    """
    word = (word ^ (word >> 16)) * jnp.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * jnp.uint32(0xC2B2AE35)
    return word ^ (word >> 16)
