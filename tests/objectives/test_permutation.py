"""The keyed permutation: a permutation for every size, and random enough to sample with."""

import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from fedjax_rec.objectives.permutation import domain, permuted

SMALL_SIZES = np.arange(1, 51, dtype=np.uint32)
LARGEST = 2**31 - 1  # elements are int32

Draw = Callable[[jax.Array, int, int], NDArray[np.integer]]


def grid(size: int) -> int:
    """M: how many places come before one repeats."""
    height = math.isqrt(size)
    return height * (size // height)


@jax.jit
def small_orders(key: jax.Array) -> jax.Array:
    places = jnp.arange(2 * SMALL_SIZES.max())
    return jax.vmap(lambda size: permuted(key, places, size))(jnp.asarray(SMALL_SIZES))


# ---------------------------------------------------------------- a permutation


@pytest.mark.parametrize("seed", range(5))
def test_every_small_size_gives_distinct_elements_in_range_and_then_repeats(seed: int) -> None:
    for size, order in zip(
        SMALL_SIZES, np.asarray(small_orders(jax.random.key(seed))), strict=True
    ):
        period = grid(int(size))
        assert order.min() >= 0
        assert order.max() < size
        assert len(set(order[:period])) == period
        assert (order[period:] == order[:-period]).all()


@pytest.mark.parametrize("size", [1682, 100_003, 2**24 + 4099])
def test_the_first_m_elements_of_a_large_size_are_distinct(size: int) -> None:
    order = np.asarray(jax.jit(permuted)(jax.random.key(1), jnp.arange(grid(size)), size))
    seen = np.zeros(size, bool)
    seen[order] = True
    assert seen.sum() == grid(size)
    assert size - grid(size) < math.sqrt(size)


def test_the_largest_catalogue_does_not_overflow() -> None:
    # height * width, and an element before its last remainder, need all 32 bits
    ends = np.r_[:50_000, grid(LARGEST) - 50_000 : grid(LARGEST)]
    order = np.asarray(jax.jit(permuted)(jax.random.key(2), jnp.asarray(ends), LARGEST))
    assert order.dtype == np.int32
    assert order.min() >= 0
    assert order.max() < LARGEST
    assert len(np.unique(order)) == len(ends)
    assert order.max() > 0.99 * LARGEST  # the whole range is used
    assert order.min() < 0.01 * LARGEST


def test_the_grid_is_the_integer_square_root_where_float32_rounds_up() -> None:
    roots = np.arange(1, math.isqrt(LARGEST) + 1)
    sizes = np.concatenate([roots**2 - 1, roots**2, roots**2 + 1])[1:]
    height, width = (np.asarray(side, np.int64) for side in domain(jnp.asarray(sizes, jnp.uint32)))
    exact = np.array([math.isqrt(size) for size in sizes])
    assert (height == exact).all()
    assert (width == sizes // exact).all()
    rounded = np.sqrt(sizes.astype(np.float32)).astype(np.int64)
    assert (rounded > exact).any(), "the control: without its correction the root is too large"


def test_no_elements_leave_an_empty_grid() -> None:
    height, width = domain(jnp.uint32(0))
    assert int(height * width) == 0
    assert permuted(jax.random.key(0), jnp.arange(3), jnp.uint32(0)).tolist() == [0, 0, 0]


def test_the_order_is_a_function_of_the_key() -> None:
    orders = [np.asarray(small_orders(jax.random.key(seed)))[-1] for seed in (3, 3, 4)]
    assert (orders[0] == orders[1]).all()
    assert (orders[0] != orders[2]).any()


# --------------------------------------------------------------------- marginals


def orders(seed: int, num_keys: int, places: int, size: int) -> NDArray[np.int64]:
    keys = jax.random.split(jax.random.key(seed), num_keys)
    draw = jax.jit(jax.vmap(lambda key: permuted(key, jnp.arange(places), size)))
    return np.asarray(draw(keys), np.int64)


def rotations(seed: int, num_keys: int, size: int) -> NDArray[np.int64]:
    """The documented last of five words, modulo the size."""
    keys = jax.random.split(jax.random.key(seed), num_keys)
    words = jax.jit(jax.vmap(lambda key: jax.random.bits(key, (5,), jnp.uint32)))(keys)
    return np.asarray(words, np.int64)[:, -1] % size


def uniformity(elements: NDArray[np.int64], size: int) -> float:
    return float(stats.chisquare(np.bincount(elements, minlength=size)).pvalue)


@pytest.mark.parametrize("size", [3, 23, 50, 101])
def test_every_element_is_equally_likely_at_every_place(size: int) -> None:
    drawn = orders(7, 30_000, 4, size)
    for place in range(4):
        assert uniformity(drawn[:, place], size) > 1e-3, place


def test_without_the_rotation_some_elements_never_come() -> None:
    size = 50  # a grid of 7 x 7: number 49 has no cell
    unrotated = (orders(7, 30_000, 4, size) - rotations(7, 30_000, size)[:, None]) % size
    assert unrotated.max() == grid(size) - 1
    assert uniformity(unrotated[:, 0], size) < 1e-9


# ------------------------------- against simple random sampling without replacement


def feistel(keys: jax.Array, size: int, sample: int) -> jax.Array:
    return jax.vmap(lambda key: permuted(key, jnp.arange(sample), size))(keys)


def rotated(keys: jax.Array, size: int, sample: int) -> jax.Array:
    """A control: the identity order with a random rotation."""
    start = jax.vmap(lambda key: jax.random.randint(key, (), 0, size))(keys)
    return (start[:, None] + jnp.arange(sample)) % size


def affine(keys: jax.Array, size: int, sample: int) -> jax.Array:
    """A control: a x + b modulo a prime, which is uniform by pairs but not by threes."""
    slope = jax.vmap(lambda key: jax.random.randint(key, (), 1, size))(keys)
    start = jax.vmap(lambda key: jax.random.randint(jax.random.fold_in(key, 1), (), 0, size))(keys)
    return (slope[:, None] * jnp.arange(sample) + start[:, None]) % size


def inclusion(draw: Callable[..., jax.Array], size: int, sample: int = 81) -> dict[str, float]:
    """Mean z^2 of how often elements are drawn together; 1 is ideal."""
    runs = 6000
    keys = jax.random.split(jax.random.key(11), runs)
    drawn = np.asarray(jax.jit(draw, static_argnums=(1, 2))(keys, size, sample))
    is_in = np.zeros((runs, size), np.float32)
    is_in[np.arange(runs)[:, None], drawn] = 1
    assert (is_in.sum(1) == sample).all(), "a run repeats an element"

    share = [math.prod((sample - j) / (size - j) for j in range(k)) for k in range(4)]

    def mean_square(counts: NDArray[np.float32], k: int) -> float:
        expected = runs * share[k]
        return float(np.mean((counts - expected) ** 2 / (expected * (1 - share[k]))))

    together = is_in.T @ is_in
    three = (is_in[:, :-2] * is_in[:, 1:-1] * is_in[:, 2:]).sum(0)
    return {
        "alone": mean_square(np.diag(together), 1),
        "pairs": mean_square(together[np.triu_indices(size, 1)], 2),
        "neighbours": mean_square(np.diag(together, 1), 2),
        "three neighbours": mean_square(three, 3),
        "three, seen / expected": float(three.mean() / (runs * share[3])),
    }


def test_elements_are_drawn_together_as_often_as_without_replacement() -> None:
    seen = inclusion(feistel, 400)
    # of N counts the mean z^2 has standard deviation sqrt(2 / N): 0.07 for neighbours
    assert seen["alone"] == pytest.approx(1, abs=0.25)
    assert seen["pairs"] == pytest.approx(1, abs=0.05)
    assert seen["neighbours"] == pytest.approx(1, abs=0.25)
    assert seen["three neighbours"] == pytest.approx(1, abs=0.25)
    assert seen["three, seen / expected"] == pytest.approx(1, abs=0.03)


def test_an_identity_order_with_a_rotation_fails_by_pairs() -> None:
    seen = inclusion(rotated, 400)
    assert seen["alone"] < 2  # the rotation alone makes every element equally likely
    assert seen["pairs"] > 100
    assert seen["neighbours"] > 1000
    assert seen["three, seen / expected"] > 10


def test_an_affine_order_fails_by_threes_only() -> None:
    seen = inclusion(affine, 401)
    assert seen["pairs"] == pytest.approx(1, abs=0.2)
    assert seen["three neighbours"] > 10
    assert seen["three, seen / expected"] > 2


def adjacent_places(drawn: NDArray[np.int64], size: int, blocks: int) -> float:
    """p of a chi-square test of the blocks in which three adjacent places fall."""
    width = size // blocks
    first, second, third = (drawn // width).T
    observed = np.bincount((first * blocks + second) * blocks + third, minlength=blocks**3)
    ways = [
        width * (width - (a == b)) * (width - (a == c) - (b == c))
        for a, b, c in itertools.product(range(blocks), repeat=3)
    ]
    expected = np.array(ways) * len(drawn) / (size * (size - 1) * (size - 2))
    return float(stats.chisquare(observed, expected).pvalue)


@pytest.mark.parametrize(("size", "blocks"), [(400, 8), (300, 6)])
def test_three_adjacent_places_are_as_without_replacement(size: int, blocks: int) -> None:
    drawn = orders(13, 100_000, 5, size)
    assert adjacent_places(drawn[:, :3], size, blocks) > 1e-3
    assert adjacent_places(drawn[:, 2:], size, blocks) > 1e-3


def test_three_adjacent_places_of_the_controls_are_rejected() -> None:
    keys = jax.random.split(jax.random.key(13), 100_000)
    for control, size, blocks in ((rotated, 400, 8), (affine, 401, 8)):
        drawn = np.asarray(control(keys, size, 3), np.int64)
        drawn = drawn[(drawn < 400).all(1)]
        assert adjacent_places(drawn, 400, blocks) < 1e-9
