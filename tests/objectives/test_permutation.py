"""Keyed permutations: one of every size, by exact arithmetic, random enough to sample with."""

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from fedjax_rec.objectives.permutation import (
    Affine,
    domain,
    draw,
    draw_affine,
    least_num_places,
    multiply_modulo,
    primes_between,
    remainder,
)

KINDS: tuple[Any, ...] = ("affine", "feistel")
SMALL_SIZES = np.arange(1, 51)
LARGEST = 2**31 - 1  # elements are int32


def is_prime(number: int) -> bool:
    return number > 1 and all(number % factor for factor in range(2, math.isqrt(number) + 1))


def num_places(kind: Any, size: int) -> int:
    """M: how many places come before one repeats."""
    if kind == "feistel":
        height = math.isqrt(size)
        return height * (size // height)
    return next((n for n in range(size, 1, -1) if is_prime(n)), 1)


@partial(jax.jit, static_argnums=(0, 1))
def small_orders(kind: Any, smallest: int, key: jax.Array) -> Any:
    def order(size: Any) -> Any:
        drawn = draw(kind, key, size, smallest=smallest, largest=int(SMALL_SIZES.max()))
        return drawn.num_places, drawn.element(jnp.arange(SMALL_SIZES.max()))

    return jax.vmap(order)(jnp.asarray(SMALL_SIZES))


# ---------------------------------------------------------------- a permutation


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", KINDS)
def test_every_small_size_gives_distinct_elements_in_range(kind: Any, seed: int) -> None:
    found = small_orders(kind, 1, jax.random.key(seed))
    for size, period, order in zip(SMALL_SIZES, *map(np.asarray, found), strict=True):
        assert period == num_places(kind, int(size))
        assert order[:period].min() >= 0
        assert order[:period].max() < size
        assert len(set(order[:period])) == period


@pytest.mark.parametrize("kind", KINDS)
def test_no_order_has_fewer_places_than_promised(kind: Any) -> None:
    for smallest in range(60):
        least = min(num_places(kind, size) for size in range(max(smallest, 1), 200))
        assert 0 <= least_num_places(kind, smallest) <= (least if smallest else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_static_bounds_do_not_change_an_order(kind: Any) -> None:
    key, size = jax.random.key(4), jnp.int32(40)
    narrow = draw(kind, key, size, smallest=40, largest=40)
    wide = draw(kind, key, size, smallest=3, largest=5000)
    place = jnp.arange(num_places(kind, 40))
    assert narrow.element(place).tolist() == wide.element(place).tolist()


@pytest.mark.parametrize("size", [1682, 100_003, 2**24 + 4099])
@pytest.mark.parametrize("kind", KINDS)
def test_all_elements_of_a_large_size_are_distinct(kind: Any, size: int) -> None:
    period = num_places(kind, size)
    order = draw(kind, jax.random.key(1), jnp.int32(size), smallest=size, largest=size)
    seen = np.zeros(size, bool)
    seen[np.asarray(jax.jit(order.element)(jnp.arange(period)))] = True
    assert order.num_places == period
    assert seen.sum() == period
    assert size - period < math.sqrt(size)


def largest_affine() -> Affine:
    """Of as many elements as there can be, whose modulus is 2**31 - 1, a prime."""
    word = partial(jnp.asarray, dtype=jnp.uint32)
    modulus = word(LARGEST)
    inverse = 1 / modulus.astype(jnp.float32)
    return Affine(modulus, modulus, word(48_271), word(LARGEST - 2), word(77), inverse, 31)


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_catalogue_does_not_overflow(kind: Any) -> None:
    feistel = draw("feistel", jax.random.key(2), jnp.uint32(LARGEST), smallest=1, largest=LARGEST)
    order = {"affine": largest_affine(), "feistel": feistel}[kind]
    period = num_places(kind, LARGEST)
    ends = np.r_[:50_000, period - 50_000 : period]
    elements = np.asarray(jax.jit(order.element)(jnp.asarray(ends)))
    assert elements.dtype == np.int32
    assert elements.min() >= 0
    assert elements.max() < LARGEST
    assert len(np.unique(elements)) == len(ends)
    assert elements.max() > 0.99 * LARGEST  # the whole range is used
    assert elements.min() < 0.01 * LARGEST
    if kind == "affine":
        exact = [((48_271 * int(q) + LARGEST - 2) % LARGEST + 77) % LARGEST for q in ends]
        assert elements.tolist() == exact


@pytest.mark.parametrize("kind", KINDS)
def test_no_elements_leave_no_places(kind: Any) -> None:
    order = draw(kind, jax.random.key(0), jnp.uint32(0), smallest=0, largest=5)
    assert int(order.num_places) == 0
    assert order.element(jnp.arange(3)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_is_a_function_of_the_key(kind: Any) -> None:
    orders = [np.asarray(small_orders(kind, 1, jax.random.key(seed))[1])[-1] for seed in (3, 3, 4)]
    assert (orders[0] == orders[1]).all()
    assert (orders[0] != orders[2]).any()


# ------------------------------------------------------------------ exact arithmetic


def test_primes_are_those_of_trial_division() -> None:
    exact = [number for number in range(2, 600) if is_prime(number)]
    for smallest, largest in ((2, 599), (8, 20), (97, 97), (90, 96), (500, 599)):
        first = max(n for n in exact if n <= smallest)
        expected = [n for n in exact if first <= n <= largest]
        assert primes_between(smallest, largest).tolist() == expected
    assert primes_between(0, 1).tolist() == primes_between(1, 1).tolist() == [1]
    assert primes_between(1, 7).tolist() == [1, 2, 3, 5, 7]


MODULO = jax.jit(multiply_modulo, static_argnums=4)


@pytest.mark.parametrize("num_bits", [1, 2, 8, 15, 16, 17, 21, 24, 25, 28, 30, 31])
def test_products_modulo_a_number_are_those_of_python(num_bits: int) -> None:
    rng = np.random.default_rng(num_bits)
    most = 2**num_bits - 1
    moduli = [most - int(gap) for gap in rng.integers(0, min(200, most), 500)]
    moduli += [1 + int(2 ** (num_bits * share)) for share in rng.uniform(size=500)]  # all sizes
    cases = []
    for modulus in [most, max(most // 2 + 1, 1), 1, *moduli]:
        modulus = min(modulus, most)
        for left, right in itertools.product(
            (0, modulus - 1, modulus // 2, int(rng.integers(modulus))), repeat=2
        ):
            cases += [(left, right, modulus)]
    left, right, modulus = (jnp.asarray(np.array(x, np.uint32)) for x in zip(*cases, strict=True))
    found = MODULO(left, right, modulus, 1 / modulus.astype(jnp.float32), num_bits)
    assert np.asarray(found).tolist() == [a * b % m for a, b, m in cases]


def near_multiples(rng: Any, low: int, high: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Numbers next to `k m` with k in `low .. high - 1`, and their m: where rounding decides."""
    k = rng.integers(low, high, 400_000)
    most = np.minimum(2**32 // np.maximum(k, 1), 2**31) - 1
    modulus = np.where(rng.random(k.size) < 0.5, most, rng.integers(1, most + 1))
    number = np.clip(k * modulus + rng.integers(-2, 3, k.size), 0, 2**32 - 1)
    return number, modulus


def division(number: NDArray[Any], modulus: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """By how much the quotient in float32 errs, and whether the remainder is right."""
    words = [jnp.asarray(x.astype(np.uint32)) for x in (number, modulus)]
    inverse = 1 / words[1].astype(jnp.float32)
    quotient = np.asarray((words[0].astype(jnp.float32) * inverse).astype(jnp.uint32), np.int64)
    found = np.asarray(jax.jit(remainder)(*words, inverse))
    return quotient - number // modulus, found == number % modulus


def test_a_quotient_in_float32_errs_by_one_at_most_as_far_as_promised() -> None:
    rng = np.random.default_rng(0)
    bounds = [0, 2, 8, *(2**bits for bits in range(7, 23))]
    for low, high in itertools.pairwise(bounds):
        errors, is_right = division(*near_multiples(rng, low, high))
        assert abs(errors).max() <= 1, high
        assert is_right.all(), high
    errors, is_right = division(*near_multiples(rng, 2**24, 2**25))
    assert abs(errors).max() > 1, "the control: farther out the quotient is wrong"
    assert not is_right.all()


def test_a_grid_has_the_integer_square_root_where_float32_rounds_up() -> None:
    roots = np.arange(1, math.isqrt(LARGEST) + 1)
    sizes = np.concatenate([roots**2 - 1, roots**2, roots**2 + 1])[1:]
    height, width = (np.asarray(side, np.int64) for side in domain(jnp.asarray(sizes, jnp.uint32)))
    exact = np.array([math.isqrt(size) for size in sizes])
    assert (height == exact).all()
    assert (width == sizes // exact).all()
    rounded = np.sqrt(sizes.astype(np.float32)).astype(np.int64)
    assert (rounded > exact).any(), "the control: without its correction the root is too large"


# --------------------------------------------------------------------- marginals


def orders(kind: Any, seed: int, num_keys: int, places: int, size: int) -> NDArray[np.int64]:
    keys = jax.random.split(jax.random.key(seed), num_keys)
    return np.asarray(SAMPLERS[kind](keys, size, places), np.int64)


def sample(kind: Any, keys: jax.Array, size: int, num: int) -> jax.Array:
    """The first elements of an order for each key."""

    def one(key: jax.Array) -> jax.Array:
        return draw(kind, key, jnp.int32(size), smallest=size, largest=size).element(
            jnp.arange(num)
        )

    return jax.vmap(one)(keys)


SAMPLERS: dict[str, Callable[..., jax.Array]] = {
    kind: jax.jit(partial(sample, kind), static_argnums=(1, 2)) for kind in KINDS
}


def uniformity(elements: NDArray[np.int64], size: int) -> float:
    return float(stats.chisquare(np.bincount(elements, minlength=size)).pvalue)


@pytest.mark.parametrize("size", [4, 24, 101])
@pytest.mark.parametrize("kind", KINDS)
def test_every_element_is_equally_likely_at_every_place(kind: Any, size: int) -> None:
    drawn = orders(kind, 7, 30_000, 3, size)
    for place in range(3):
        assert uniformity(drawn[:, place], size) > 1e-3, place


def test_without_the_rotation_some_elements_never_come() -> None:
    size = 50  # a grid of 7 x 7, and 47 the next prime
    keys = jax.random.split(jax.random.key(7), 30_000)
    words = np.asarray(jax.vmap(lambda key: jax.random.bits(key, (5,), jnp.uint32))(keys), np.int64)
    unrotated = (orders("feistel", 7, 30_000, 3, size) - words[:, -1:] % size) % size
    assert unrotated.max() == num_places("feistel", size) - 1
    assert uniformity(unrotated[:, 0], size) < 1e-9
    affine = jax.vmap(partial(draw_affine, smallest=size, largest=size), (0, None))(
        keys, jnp.int32(size)
    )
    first = affine.element(jnp.zeros(30_000, jnp.int32))
    unrotated = (np.asarray(first, np.int64) - np.asarray(affine.rotation)) % size
    assert unrotated.max() == num_places("affine", size) - 1
    assert uniformity(unrotated, size) < 1e-9
