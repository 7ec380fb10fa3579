"""The stream of a client's examples: against plain enumeration."""

import itertools
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedjax_rec.base import Sampler
from fedjax_rec.objectives.stream import (
    MOST_EVENTS,
    NUM_STRIDES,
    Stream,
    block_of,
    free_items,
    open_stream,
    order_of_positives,
)

MOST = 40  # positives, in tests of their order


def stream_of(key: jax.Array, num_positives: Any) -> Stream:
    return open_stream(Sampler(90), key, num_positives, jnp.int32(10), 20)


@partial(jax.jit, static_argnums=3)
def positives(key: jax.Array, num_positives: Any, epoch: Any, most: int) -> jax.Array:
    """The client's events in the order of an epoch; what lies behind P means nothing."""
    order = order_of_positives(stream_of(key, num_positives), epoch, most)
    return order.element(jnp.arange(most))


@partial(jax.jit, static_argnums=2)
def of_many_keys(seed: Any, num_positives: Any, num_keys: int) -> jax.Array:
    keys = jax.random.split(jax.random.key(seed), num_keys)
    both = jax.vmap(lambda key: [positives(key, num_positives, epoch, MOST) for epoch in (0, 1)])
    return jnp.stack(both(keys))


# ---------------------------------------------------------------- order of positives


def test_every_event_comes_once_an_epoch_for_every_number_of_events() -> None:
    for num_positives in range(1, MOST + 1):
        drawn = np.asarray(of_many_keys(0, num_positives, 20))[..., :num_positives]
        assert (np.sort(drawn) == np.arange(num_positives)).all()


@pytest.mark.parametrize("num_positives", [65_536, 1_000_003])
def test_every_event_of_a_very_large_client_comes_once(num_positives: int) -> None:
    order = np.asarray(positives(jax.random.key(1), num_positives, 3, num_positives))
    assert (np.sort(order) == np.arange(num_positives)).all()


@pytest.mark.parametrize("num_positives", [2, 7, 24, 40])
def test_every_event_is_equally_likely_at_every_place_of_every_epoch(num_positives: int) -> None:
    drawn = np.asarray(of_many_keys(2, num_positives, 20_000))
    for epoch, place in itertools.product((0, 1), (0, 1, num_positives - 1)):
        counts = np.bincount(drawn[epoch, :, place], minlength=num_positives)
        assert stats.chisquare(counts).pvalue > 1e-3, (epoch, place)
    beside = np.bincount(drawn[0, :, 0], minlength=num_positives)
    beside[0] += 20_000 // (4 * num_positives)
    assert stats.chisquare(beside).pvalue < 1e-3, "the control: a quarter too often"


def test_epochs_are_in_orders_of_their_own() -> None:
    first, second = np.asarray(of_many_keys(3, 40, 2000))
    assert np.mean((first == second).all(1)) < 0.01
    # one event lies as far from its old place as any other
    counts = np.bincount((np.argsort(second)[:, 0] - np.argsort(first)[:, 0]) % 40, minlength=40)
    assert stats.chisquare(counts).pvalue > 1e-3
    steps = set(((first[:, 1] - first[:, 0]) % 40).tolist())
    assert len(steps) == 16, "all steps that share no factor with 40"


def test_strides_share_no_factor_with_any_number_of_events() -> None:
    strides = set()
    for seed in range(30):
        words = jax.random.bits(jax.random.key(seed), (100, 2), jnp.uint32)
        stream = Stream(jnp.int32(2**31 - 1), words.T, None)  # so that no stride is reduced
        strides |= set(np.asarray(order_of_positives(stream, 0, 1).multiplier).tolist())
    assert len(strides) == NUM_STRIDES
    for stride in strides:
        assert stride > MOST_EVENTS
        assert all(stride % factor for factor in range(2, math.isqrt(stride) + 1))


# ------------------------------------------------------------------------- negatives


@st.composite
def pools(draw: st.DrawFn) -> tuple[int, list[int]]:
    num_items = draw(st.integers(1, 30))
    return num_items, sorted(draw(st.sets(st.integers(0, num_items - 1), max_size=16)))


FREE_ITEMS = jax.jit(free_items)


@pytest.mark.parametrize("begin", [0, 5])
@given(pool=pools())
def test_free_items_are_the_catalogue_without_the_excluded(
    begin: int, pool: tuple[int, list[int]]
) -> None:
    """Of one client, or of one whose exclusions lie between those of others."""
    num_items, excluded = pool
    stored = np.full(32, num_items, np.int32)
    stored[:begin] = 3  # another client's
    stored[begin : begin + len(excluded)] = excluded
    stored[begin + len(excluded) :] = 0
    expected = np.setdiff1d(np.arange(num_items), excluded)
    count = len(excluded)
    for num_bits in (count.bit_length(), 5):
        found = FREE_ITEMS(jnp.arange(30), jnp.asarray(stored), begin, count, num_bits)
        assert found[: len(expected)].tolist() == expected.tolist()


def test_free_items_of_several_clients_are_found_together() -> None:
    excluded = [[0, 1, 5], [], [2], list(range(8))]
    begin = np.cumsum([0, *map(len, excluded)])[:-1, None]
    count = np.array([len(own) for own in excluded])[:, None]
    rank = jnp.broadcast_to(jnp.arange(2), (4, 2))
    found = FREE_ITEMS(rank, jnp.asarray(np.concatenate(excluded), jnp.int32), begin, count, 4)
    assert found.tolist() == [[2, 3], [0, 1], [0, 1], [8, 9]]


@pytest.mark.parametrize("permutation", ["affine", "feistel"])
def test_a_stream_is_the_same_whatever_others_exclude(permutation: Any) -> None:
    """Executors and devices know different bounds of what a client may exclude."""
    sampler, key = Sampler(90, permutation=permutation), jax.random.key(5)
    streams = [
        open_stream(sampler, key, jnp.int32(6), jnp.int32(11), most) for most in (11, 40, 90)
    ]
    place = jnp.arange(60)
    elements = [stream.negatives.element(place).tolist() for stream in streams]
    assert elements[0] == elements[1] == elements[2]
    assert len({tuple(stream.words.tolist()) for stream in streams}) == 1


# ---------------------------------------------------------------------------- blocks


def by_enumeration(k: int, num_positives: int) -> list[tuple[str, int]]:
    """An epoch's examples, in order."""
    examples: list[tuple[str, int]] = []
    for positive in range(num_positives):
        examples.append(("positive", positive))
        examples += [("negative", positive * k + number) for number in range(k)]
    return examples


@pytest.mark.parametrize("k", [1, 2, 4, 7])
@pytest.mark.parametrize("size", [1, 2, 5, 16, 25, 64])
def test_blocks_hold_all_examples_of_an_epoch_once(k: int, size: int) -> None:
    sampler = Sampler(10_000, num_negatives=k)
    numbers = np.arange(0, 12)
    counts = np.array([0, 1, 2, 3, 5, 12, 13])

    @jax.jit
    def blocks() -> Any:
        each = jax.vmap(partial(block_of, sampler, size), (0, None))
        return jax.vmap(each, (None, 0))(jnp.asarray(numbers), jnp.asarray(counts))

    found = jax.tree.map(np.asarray, blocks())
    for place, count in enumerate(counts):
        examples = by_enumeration(k, int(count))
        for number in numbers:
            positive, negative, is_valid = (leaf[place, number] for leaf in found)
            named = [("positive", int(n)) for n in positive]
            named += [("negative", int(n)) for n in negative]
            inside = [name for name, ok in zip(named, is_valid, strict=True) if ok]
            expected = examples[number * size : (number + 1) * size]
            assert len(inside) == len(expected)
            assert set(inside) == set(expected)
        assert (positive.size, negative.size) == (-(-size // (1 + k)), size - size // (1 + k))


@pytest.mark.parametrize(("k", "size"), [(4, 25), (1, 16)])
def test_a_block_of_whole_groups_starts_with_a_positive(k: int, size: int) -> None:
    block = block_of(Sampler(100, num_negatives=k), size, jnp.int32(3), jnp.int32(1000))
    assert block.is_valid.all()
    assert block.positive.size * (1 + k) == size
    assert block.negative.tolist() == [
        positive * k + number for positive in block.positive.tolist() for number in range(k)
    ]
