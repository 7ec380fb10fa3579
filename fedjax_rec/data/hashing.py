"""A hash of events that is the same on every machine, whatever their order and numbering."""

import numpy as np
from numpy.typing import NDArray

from fedjax_rec.data.interactions import Interactions


def hash_events(interactions: Interactions, seed: int) -> NDArray[np.uint64]:
    """A fixed 64-bit hash of each event's (raw user id, raw item id, seed).

    `h = mix(mix(mix(seed) ^ fnv(user)) ^ fnv(item))` with `fnv` the FNV-1a hash of the
    UTF-8 bytes and `mix` one step of SplitMix64: the same on every machine.

    Args:
      interactions: the events.
      seed: `0 .. 2**64 - 1`.

    Returns:
      `[E]` hashes.

    References: Fowler, Noll, Vo and Eastlake, "The FNV non-cryptographic hash
    algorithm" (FNV-1a); Steele, Lea and Flood, "Fast splittable pseudorandom number
    generators", 2014 (SplitMix64).

    >>> from fedjax_rec.data.interactions import from_events
    >>> [hex(h) for h in hash_events(from_events([1, 1], [2, 3]), seed=0)]
    ['0x644feec54d8166ad', '0xa7e3a18613b07fff']
    """
    by_user = hash_users(interactions, seed)[interactions.users]
    return mix(by_user ^ _fnv1a(interactions.item_labels)[interactions.items])


def hash_users(interactions: Interactions, seed: int) -> NDArray[np.uint64]:
    """`[N]` a fixed 64-bit hash of each user's (raw id, seed), `mix(mix(seed) ^ fnv(user))`.

    >>> from fedjax_rec.data.interactions import from_events
    >>> [hex(h) for h in hash_users(from_events([1], [2]), seed=0)]
    ['0xed2c74d455ec0699']
    """
    return mix(mix(np.array([seed], np.uint64)) ^ _fnv1a(interactions.user_labels))


def hash_items(interactions: Interactions, seed: int) -> NDArray[np.uint64]:
    """`[I]` a fixed 64-bit hash of each item's (raw id, seed), `mix(mix(seed) ^ fnv(item))`.

    >>> from fedjax_rec.data.interactions import from_events
    >>> [hex(h) for h in hash_items(from_events([2], [1]), seed=0)]
    ['0xed2c74d455ec0699']
    """
    return mix(mix(np.array([seed], np.uint64)) ^ _fnv1a(interactions.item_labels))


def mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One step of SplitMix64: a permutation of the 64-bit numbers without a trace of their order.

    >>> hex(mix(np.array([0], np.uint64))[0])
    '0xe220a8397b1dcdaf'
    """
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _fnv1a(labels: NDArray[np.str_]) -> NDArray[np.uint64]:
    encoded = np.strings.encode(labels, "utf-8")
    lengths = np.strings.str_len(encoded)
    columns = encoded.view(np.uint8).reshape(len(labels), -1).T
    state = np.full(len(labels), 0xCBF29CE484222325, np.uint64)
    for place, column in enumerate(columns):
        state = np.where(place < lengths, (state ^ column) * np.uint64(0x100000001B3), state)
    return state
