"""The examples of one client's round as a stream: example s is computed in constant time.

Both executors read it: the general one lays out a client's rows and looks its examples up
in them, the streaming one goes through the examples and keeps nothing.
"""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from fedjax_rec.base import Array, Key, Sampler
from fedjax_rec.objectives import permutation
from fedjax_rec.objectives.permutation import Affine, Permutation, mix, primes_between
from fedjax_rec.tree import rows_at

NUM_STRIDES = 64  # orders of the positives to choose from, times their number of rotations
MOST_EVENTS = 2**24  # of one client


class Stream(NamedTuple):
    """One client's random choices of a round.

    Attributes:
      num_positives: `[]` P.
      words: `[2]` fix the order of the positives in each epoch.
      negatives: the order in which free items come as negatives.
    """

    num_positives: Array
    words: Array
    negatives: Permutation


def open_stream(
    sampler: Sampler, key: Key, num_positives: Array, num_excluded: Array, max_excluded: int
) -> Stream:
    """Draws a client's stream.

    Args:
      sampler: numbers of negatives, items, epochs.
      key: the client's key of the round.
      num_positives: `[]` its training events.
      num_excluded: `[]` its items that are no negatives.
      max_excluded: the most that any client excludes.
    """
    key_order, key_negatives = jax.random.split(key)
    num_free = sampler.num_items - num_excluded
    if sampler.with_replacement:
        negatives = permutation.draw_independent(key_negatives, num_free)
    else:
        negatives = permutation.draw(
            sampler.permutation,
            key_negatives,
            num_free,
            smallest=max(sampler.num_items - max_excluded, 0),
            largest=sampler.num_items,
        )
    return Stream(num_positives, jax.random.bits(key_order, (2,), jnp.uint32), negatives)


def order_of_positives(stream: Stream, epoch: Array | int, max_positives: int) -> Affine:
    """The order in which the client's events come as positives in an epoch.

    `(a number + b) mod P`, with one of 64 primes a above `MOST_EVENTS`, which share no
    factor with P: every event comes once an epoch, each equally likely at each place,
    in one of `64 P` orders.

    Args:
      stream: the client's.
      epoch: `[]` from 0.
      max_positives: a static upper bound of P.
    """
    strides = jnp.asarray(_strides())
    count = jnp.maximum(stream.num_positives, 1).astype(jnp.uint32)
    salt = jnp.asarray(epoch).astype(jnp.uint32) * jnp.uint32(0x9E3779B9)
    return Affine(
        size=count,
        modulus=count,
        multiplier=strides[mix(stream.words[0] + salt) % NUM_STRIDES] % count,
        offset=mix(stream.words[1] + salt) % count,
        rotation=jnp.zeros_like(count),
        inverse=1.0 / count.astype(jnp.float32),
        num_bits=int(max_positives).bit_length(),
    )


@cache
def _strides() -> NDArray[np.uint32]:
    """The first `NUM_STRIDES` primes above `MOST_EVENTS`."""
    candidates = MOST_EVENTS + 1 + np.arange(32 * NUM_STRIDES)
    factors = primes_between(2, int(candidates[-1] ** 0.5))
    is_prime = (candidates[:, None] % factors != 0).all(axis=1)
    strides: NDArray[np.uint32] = candidates[is_prime][:NUM_STRIDES].astype(np.uint32)
    return strides


def free_items(
    rank: Array, excluded: Array, begin: Array | int, count: Array, num_bits: Array | int
) -> Array:
    """The items of some ranks among those that a client may draw.

    `r + #{j : x_j - j <= r}`, where `x_0 < x_1 < ...` are the excluded items: exact,
    without rejection. The number is found by halving, all lanes in step and without
    branches. A first look at a power of two leaves as many places as that power, so that
    no later one can lie outside the list.

    Args:
      rank: `[...]` ranks.
      excluded: `[X]` sorted distinct items, of one client or of several one after another.
      begin: where the client's begin; broadcasts with rank.
      count: how many there are; likewise.
      num_bits: enough for count.

    Reference:
      Knuth (1998), "The Art of Computer Programming", volume 3, section 6.2.1, where the
      search with steps of powers of two is credited to L. E. Shar.

    >>> free_items(jnp.arange(5), jnp.array([0, 2, 3]), 0, jnp.int32(3), 2).tolist()
    [1, 4, 5, 6, 7]
    """
    before = begin - 1
    power = jnp.where(count > 0, 1 << (31 - jax.lax.clz(jnp.maximum(count, 1))), 0)

    def is_below(place: Array) -> Array:
        gap = rows_at(excluded, place) - (place - begin)
        return jnp.less_equal(gap, rank)

    def halve(step: Array, last: Array) -> Array:
        further = last + (power >> (step + 1))
        return jnp.where(is_below(further), further, last)

    is_past = (count > 0) & is_below(jnp.broadcast_to(before + power, rank.shape))
    last = jnp.where(is_past, before + count - power + 1, before)
    last = jax.lax.fori_loop(0, num_bits - 1, halve, last)
    items: Array = rank + last - before
    return items


class Block(NamedTuple):
    """A few consecutive examples of an epoch: positives first, then negatives.

    Attributes:
      positive: `[G]` numbers of the positives.
      negative: `[H]` numbers of the negatives, in the epoch.
      is_valid: `[G + H]` which of them are in the block.
    """

    positive: Array
    negative: Array
    is_valid: Array


def block_of(sampler: Sampler, size: int, number: Array, num_positives: Array) -> Block:
    """Block `number` of `size` examples of an epoch of `num_positives` groups.

    A window of examples that starts anywhere holds at most `ceil(size / (1 + k))`
    positives and `size - floor(size / (1 + k))` negatives.

    >>> block = block_of(Sampler(90, num_negatives=2), 4, jnp.int32(1), jnp.int32(3))
    >>> block.positive.tolist(), block.negative.tolist(), block.is_valid.tolist()
    ([2, 3], [2, 3, 4], [True, False, True, True, True])
    """
    k = sampler.num_negatives
    first = number * size
    end = jnp.minimum(first + size, num_positives * (1 + k))
    first_positive = (first + k) // (1 + k)
    positive = first_positive + jnp.arange(-(-size // (1 + k)))
    negative = first - first_positive + jnp.arange(size - size // (1 + k))
    slot = jnp.concatenate([positive * (1 + k), negative + negative // k + 1])
    return Block(positive, negative, slot < end)
