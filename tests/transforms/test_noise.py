"""Gaussian noise: its law, its scale behind clip and divisor, and its independence."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from fedjax_rec.base import DECODE, SERVER, Message, Part, derive_key
from fedjax_rec.transforms import chain, clip_by_norm, gaussian_noise, mean

NUM_ITEMS, DIM, NUM_TOUCHED = 2000, 20, 3
CLIP_NORM, NOISE, DIVISOR = 0.5, 2.0, 8.0
STDDEV = NOISE * CLIP_NORM / DIVISOR
NO_BOUND = jnp.float32(jnp.inf)

WITH_NOISE = chain(clip_by_norm(CLIP_NORM), mean(divisor=DIVISOR), gaussian_noise(NOISE))
WITHOUT_NOISE = chain(clip_by_norm(CLIP_NORM), mean(divisor=DIVISOR))


def updates() -> Part:
    """Six clients' changes, far above the bound, of three rows and two dense leaves."""
    rng = np.random.default_rng(0)
    rows = np.zeros((6, NUM_ITEMS, DIM), np.float32)
    rows[:, :NUM_TOUCHED] = rng.normal(size=(6, NUM_TOUCHED, DIM))
    dense = {name: jnp.asarray(rng.normal(size=(6, 4000)), jnp.float32) for name in "ab"}
    return Part({"item": jnp.asarray(rows)}, dense)


@cache
def aggregated(is_noised: bool, seed: int = 0) -> dict[str, NDArray[np.float64]]:
    transform = WITH_NOISE if is_noised else WITHOUT_NOISE

    def run(key: Any, update: Part) -> Part:
        template = jax.tree.map(lambda leaf: leaf[0], update)
        state, residual = (
            transform.init(jax.random.key(0), template),
            transform.init_residual(template),
        )

        def encode(update: Part) -> Message:
            message = Message(update, jnp.float32(9), {}, {})
            return transform.encode(key, message, state, residual, NO_BOUND)[0]

        summed = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), jax.vmap(encode)(update))
        return transform.decode(key, summed, state, NO_BOUND)[0].update

    update = jax.jit(run)(jax.random.key(seed), updates())
    leaves = {"item": update.rows["item"], **update.dense}
    return {name: np.asarray(leaf, np.float64) for name, leaf in leaves.items()}


def noise(seed: int = 0) -> dict[str, NDArray[np.float64]]:
    """What was added to each leaf of the decoded mean."""
    noised, clean = aggregated(True, seed), aggregated(False)
    return {name: noised[name] - clean[name] for name in noised}


def p_value(sample: NDArray[np.float64], stddev: float) -> float:
    return float(stats.kstest(sample.ravel(), stats.norm(0, stddev).cdf).pvalue)


@pytest.mark.parametrize("leaf", ["item", "a", "b"])
def test_the_decoded_mean_has_normal_noise_of_z_times_bound_over_divisor(leaf: str) -> None:
    added = noise()[leaf]
    assert p_value(added, STDDEV) > 1e-3
    error = 5 / np.sqrt(2 * added.size)  # five standard errors of a standard deviation
    assert added.std() == pytest.approx(STDDEV, rel=error)


def test_a_deviation_that_is_off_by_a_fiftieth_is_told_apart() -> None:
    """A million numbers, through the engine's own key: within half a percent, and not by 0.98."""
    total = Message(Part({"item": jnp.zeros((50_000, 20))}, ()), jnp.float32(0), {}, {})
    key = derive_key(jax.random.key(11), 3, SERVER, DECODE)
    decoded, _ = jax.jit(gaussian_noise(1.7).decode)(key, total, (), jnp.float32(0.4))
    sample = np.asarray(decoded.update.rows["item"], np.float64).ravel()
    assert sample.std() == pytest.approx(1.7 * 0.4, rel=0.005)
    assert p_value(sample, 1.7 * 0.4) > 1e-3
    assert p_value(sample, 0.98 * 1.7 * 0.4) < 1e-6
    assert p_value(0.98 * sample, 1.7 * 0.4) < 1e-6


@pytest.mark.parametrize("wrong", [0.9, 1.1, DIVISOR, DIVISOR / 6, 1 / CLIP_NORM, 1 / NOISE])
def test_noise_of_another_scale_is_told_apart(wrong: float) -> None:
    # the control of the test above: forgotten divisor, realised size, forgotten bound, ...
    assert p_value(noise()["item"], wrong * STDDEV) < 1e-6


def test_every_row_gets_noise_touched_or_not() -> None:
    added = noise()["item"]
    assert (added != 0).all()
    assert p_value(added[NUM_TOUCHED:], STDDEV) > 1e-3
    assert p_value(added[:NUM_TOUCHED], STDDEV) > 1e-3
    assert not aggregated(False)["item"][NUM_TOUCHED:].any()


def test_noise_is_independent_between_leaves_rows_and_rounds() -> None:
    first, second = noise(0), noise(1)
    pairs = {
        "leaves": (first["a"], first["b"]),
        "table and leaf": (first["item"].ravel()[:4000], first["a"]),
        "rounds": (first["item"].ravel(), second["item"].ravel()),
        "rows": (first["item"][:-1].ravel(), first["item"][1:].ravel()),
        "columns": (first["item"][:, :-1].ravel(), first["item"][:, 1:].ravel()),
    }
    for name, (one, other) in pairs.items():
        correlation = np.corrcoef(one, other)[0, 1]
        assert abs(correlation) < 4 / np.sqrt(len(one)), name


def test_noise_is_a_function_of_the_key() -> None:
    key, total = jax.random.key(4), Message(Part({}, jnp.ones(3)), jnp.float32(1), {}, {})
    state = WITH_NOISE.init(jax.random.key(0), total.update)
    first, again = (WITH_NOISE.decode(key, total, state, NO_BOUND)[0].update for _ in range(2))
    np.testing.assert_array_equal(first.dense, again.dense)


def test_noise_multiplier_zero_adds_nothing() -> None:
    transform = chain(clip_by_norm(1.0), gaussian_noise(0.0))
    total = Message(Part({}, jnp.ones(3)), jnp.float32(1), {}, {})
    template = total.update
    decoded, _ = transform.decode(
        jax.random.key(0), total, transform.init(jax.random.key(0), template), NO_BOUND
    )
    np.testing.assert_array_equal(decoded.update.dense, np.ones(3))


@pytest.mark.parametrize("noise_multiplier", [-0.1, float("inf"), float("nan")])
def test_a_noise_multiplier_that_is_none_is_refused(noise_multiplier: float) -> None:
    with pytest.raises(ValueError, match="noise_multiplier must be at least 0"):
        gaussian_noise(noise_multiplier)
