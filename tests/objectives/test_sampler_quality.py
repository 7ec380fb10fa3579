"""Orders as samples: against simple random sampling without replacement.

A client with 81 positives draws 324 of 1,600 items. Each figure is 1 where the draw is
ideal, and each has a control that it rejects.
"""

import itertools
import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from fedjax_rec.objectives.permutation import draw

SIZE, SAMPLE, RUNS = 1600, 324, 4000
Draw = Callable[[jax.Array, int, int], jax.Array]


def keyed(kind: Any) -> Draw:
    """The first elements of an order."""

    def elements(key: jax.Array, size: int, num: int) -> jax.Array:
        order = draw(kind, key, jnp.int32(size), smallest=size, largest=size)
        return order.element(jnp.arange(num))

    return elements


def rotated(key: jax.Array, size: int, num: int) -> jax.Array:
    """A control: neighbours, from a random one on."""
    return (jax.random.randint(key, (), 0, size) + jnp.arange(num)) % size


def replaced(key: jax.Array, size: int, num: int) -> jax.Array:
    """A control: with replacement."""
    return jax.random.randint(key, (num,), 0, size)


def skewed(key: jax.Array, size: int, num: int) -> jax.Array:
    """A control: the first half of the items is a tenth likelier."""
    weight = jnp.where(jnp.arange(size) < size // 2, 1.1, 1.0)
    return jnp.argsort(jax.random.gumbel(key, (size,)) + jnp.log(weight))[-num:]


def shuffled(key: jax.Array, size: int, num: int) -> jax.Array:
    """The ideal."""
    return jax.random.permutation(key, size)[:num]


DRAWS: dict[str, Draw] = {
    "affine": keyed("affine"),
    "feistel": keyed("feistel"),
    "rotated": rotated,
    "replaced": replaced,
    "skewed": skewed,
    "shuffled": shuffled,
}


@cache
def samples(name: str) -> NDArray[np.int64]:
    """`[RUNS, SAMPLE]` draws of independent keys."""
    keys = jax.random.split(jax.random.key(11), RUNS)
    drawn = jax.jit(jax.vmap(lambda key: DRAWS[name](key, SIZE, SAMPLE)))(keys)
    return np.asarray(drawn, np.int64)


@cache
def is_drawn(name: str) -> NDArray[np.float32]:
    """`[RUNS, SIZE]` 1 where an item is in a sample."""
    drawn = np.zeros((RUNS, SIZE), np.float32)
    drawn[np.arange(RUNS)[:, None], samples(name)] = 1
    return drawn


def share(num: int) -> float:
    """How likely some items are all drawn."""
    return math.prod((SAMPLE - j) / (SIZE - j) for j in range(num))


def mean_square(counts: NDArray[np.float32], num: int) -> float:
    """Mean z^2 of how often sets of `num` items were drawn."""
    expected = RUNS * share(num)
    return float(np.mean((counts - expected) ** 2 / (expected * (1 - share(num)))))


@cache
def together(name: str) -> dict[str, float]:
    """How often items are drawn together."""
    drawn = is_drawn(name)
    pairs = drawn.T @ drawn
    three = (drawn[:, :-2] * drawn[:, 1:-1] * drawn[:, 2:]).sum(0)
    some = np.random.default_rng(0).permuted(np.tile(np.arange(SIZE), (3000, 1)), axis=1)[:, :3]
    random = drawn[:, some].prod(2).sum(0)
    return {
        "alone": mean_square(np.diag(pairs), 1),
        "pairs": mean_square(pairs[np.triu_indices(SIZE, 1)], 2),
        "neighbours": mean_square(np.diag(pairs, 1), 2),
        "three neighbours": mean_square(three, 3),
        "three, seen / expected": float(three.mean() / (RUNS * share(3))),
        "any three, seen / expected": float(random.mean() / (RUNS * share(3))),
    }


@pytest.mark.parametrize("name", ["affine", "feistel", "shuffled"])
def test_no_item_is_drawn_twice_in_a_round(name: str) -> None:
    assert (is_drawn(name).sum(1) == SAMPLE).all()
    assert (is_drawn("replaced").sum(1) < SAMPLE).all(), "the control"


@pytest.mark.parametrize("name", ["affine", "feistel", "shuffled"])
def test_items_and_pairs_are_drawn_as_often_as_without_replacement(name: str) -> None:
    seen = together(name)
    # of N counts the mean z^2 has standard deviation sqrt(2 / N): 0.035 for items
    assert seen["alone"] == pytest.approx(1, abs=0.15)
    assert seen["pairs"] == pytest.approx(1, abs=0.1)
    assert seen["neighbours"] == pytest.approx(1, abs=0.15)
    assert seen["any three, seen / expected"] == pytest.approx(1, abs=0.02)


def test_the_controls_are_rejected_by_items_and_by_pairs() -> None:
    assert together("skewed")["alone"] > 2
    seen = together("rotated")
    assert seen["alone"] < 1.5  # the rotation alone makes every item equally likely
    assert seen["pairs"] > 100
    assert seen["neighbours"] > 1000


def test_three_neighbours_come_as_often_as_without_replacement_in_a_feistel_order_only() -> None:
    for name in ("feistel", "shuffled"):
        assert together(name)["three neighbours"] == pytest.approx(1, abs=0.15), name
        assert together(name)["three, seen / expected"] == pytest.approx(1, abs=0.03), name
    # x, x + d and x + 2 d are all among the first p M places where |d| < p M / 2
    in_theory = SIZE / (2 * SAMPLE)
    assert together("affine")["three, seen / expected"] == pytest.approx(in_theory, abs=0.3)
    assert together("affine")["three neighbours"] > 10
    assert together("rotated")["three, seen / expected"] > 20


def linear(name: str, weight: NDArray[np.float64]) -> tuple[float, float]:
    """Variance over the ideal one, and kurtosis, of the sum of the drawn items' weights."""
    sums = is_drawn(name) @ weight
    ideal = SAMPLE * (1 - SAMPLE / SIZE) * weight.var(axis=0, ddof=1)
    ratio = sums.var(axis=0) / ideal
    return float(ratio.mean()), float(np.mean(stats.kurtosis(sums, axis=0, fisher=False)))


@pytest.mark.parametrize("name", ["affine", "feistel", "shuffled"])
def test_a_random_sum_over_the_draw_is_spread_as_without_replacement(name: str) -> None:
    weight = np.random.default_rng(1).normal(size=(SIZE, 20))
    variance, kurtosis = linear(name, weight)
    assert variance == pytest.approx(1, abs=0.02)
    assert kurtosis == pytest.approx(3, abs=0.1)
    assert linear("replaced", weight)[0] < 0.95, "the control"
    assert linear("rotated", weight)[1] < 2.5, "the control"


def test_a_sum_that_is_smooth_in_the_item_number_needs_numbers_without_meaning() -> None:
    """Why items are renumbered at random before they are drawn in an affine order."""
    smooth = np.cos(2 * np.pi * np.arange(SIZE) / SIZE)[:, None]
    for name, variance in (("feistel", 1.2), ("shuffled", 1)):
        found = linear(name, smooth)
        assert found[0] == pytest.approx(variance, abs=0.1), name
        assert found[1] == pytest.approx(3, abs=0.5), name
    assert linear("affine", smooth)[1] > 30
    renumbered = np.random.default_rng(2).permutation(smooth)
    variance, kurtosis = linear("affine", renumbered)
    assert variance == pytest.approx(1, abs=0.1)
    assert kurtosis == pytest.approx(3, abs=0.5)


def overlap(name: str) -> tuple[float, float]:
    """Items that two rounds have in common: mean and variance over the ideal ones."""
    drawn = is_drawn(name)
    common = (drawn[::2] * drawn[1::2]).sum(1)
    ideal = stats.hypergeom(SIZE, SAMPLE, SAMPLE)
    return float(common.mean() / ideal.mean()), float(common.var() / ideal.var())


def test_two_rounds_have_as_many_items_in_common_as_by_chance() -> None:
    # 2,000 variances over the ideal one have standard deviation 0.03
    for name, variance in (("affine", 0.86), ("feistel", 1), ("shuffled", 1)):
        found = overlap(name)
        assert found[0] == pytest.approx(1, abs=0.01), name
        assert found[1] == pytest.approx(variance, abs=0.15), name
    assert overlap("rotated")[1] > 50, "the control"


# ------------------------------------------------------------------------ by place


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


def in_order(name: str, size: int) -> NDArray[np.int64]:
    """`[100000, 5]` the first elements of many orders."""
    keys = jax.random.split(jax.random.key(13), 100_000)
    one = partial(DRAWS[name], size=size, num=5)
    return np.asarray(jax.jit(jax.vmap(one))(keys), np.int64)


@pytest.mark.parametrize(("size", "blocks"), [(400, 8), (300, 6)])
def test_three_adjacent_places_are_as_without_replacement(size: int, blocks: int) -> None:
    drawn = in_order("feistel", size)
    assert adjacent_places(drawn[:, :3], size, blocks) > 1e-3
    assert adjacent_places(drawn[:, 2:], size, blocks) > 1e-3


@pytest.mark.parametrize("name", ["affine", "rotated"])
def test_three_adjacent_places_of_an_affine_order_and_of_neighbours_are_not(name: str) -> None:
    assert adjacent_places(in_order(name, 400)[:, :3], 400, 8) < 1e-9
