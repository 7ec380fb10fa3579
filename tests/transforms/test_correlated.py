"""Correlated noise: its covariance over rounds, its state, and what it needs around it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_privacy.matrix_factorization import toeplitz
from scipy import stats

from fedjax_rec.base import AggregateTransform, Message, Part
from fedjax_rec.errors import UserError
from fedjax_rec.privacy import Banded, Buffered, banded, buffered
from fedjax_rec.privacy.correlated import squared_sensitivity
from fedjax_rec.transforms import (
    chain,
    clip_by_norm,
    clip_by_quantile,
    correlated_noise,
    gaussian_noise,
    mean,
)

ROUNDS, APART, TIMES = 100, 10, 10
SIZE, Z, BOUND, BANDS = 40_000, 1.5, 0.4, 4
RUN: dict[str, Any] = {"rounds": ROUNDS, "min_separation": APART, "participations": TIMES}
NOISE = correlated_noise(Z, **RUN)
BANDED = correlated_noise(Z, **RUN, strategy="banded", bands=BANDS)
BOTH = {"buffered": NOISE, "banded": BANDED}
TEMPLATE = Part({"item": jnp.zeros((SIZE // 4, 4), jnp.bfloat16)}, {"head": jnp.zeros(7)})


@pytest.fixture(scope="module", params=BOTH)
def made(request: pytest.FixtureRequest) -> AggregateTransform:
    return BOTH[request.param]


def strategy(made: AggregateTransform, rounds: int) -> np.ndarray:
    """C, lower triangular."""
    column = np.asarray(made.mechanisms[0].strategy)[:rounds]
    return np.array(
        [[column[t - s] if t >= s else 0.0 for s in range(rounds)] for t in range(rounds)]
    )


@pytest.fixture(scope="module")
def drawn(made: AggregateTransform) -> np.ndarray:
    """`[6, SIZE]` the noise of six rounds, in units of what it is stated in."""

    def one(state: Any, number: Any) -> Any:
        total = Message(TEMPLATE, jnp.float32(0), {}, {})
        key = jax.random.fold_in(jax.random.key(3), number)
        decoded, state = made.decode(key, total, state, jnp.float32(BOUND))
        return state, decoded.update.rows["item"]

    start = made.init(jax.random.key(0), TEMPLATE)
    _, noise = jax.lax.scan(one, start, jnp.arange(6))
    assert noise.dtype == jnp.float32
    return np.asarray(noise, np.float64).reshape(6, -1) / (Z * BOUND)


def test_the_covariance_over_rounds_is_that_of_the_strategy(
    made: AggregateTransform, drawn: np.ndarray
) -> None:
    inverse = np.linalg.inv(strategy(made, 6))
    expected = inverse @ inverse.T
    found = drawn @ drawn.T / SIZE
    deviations = np.sqrt((expected**2 + np.outer(*[np.diag(expected)] * 2)) / SIZE)
    assert (np.abs(found - expected) < 5 * deviations).all()
    assert np.abs(expected[1, 0]) > 20 * deviations[1, 0], "the control: rounds are correlated"


def test_what_the_strategy_makes_of_the_noise_is_new_in_each_round(
    made: AggregateTransform, drawn: np.ndarray
) -> None:
    fresh = strategy(made, 6) @ drawn
    for noise in fresh:
        assert stats.kstest(noise, stats.norm(0, 1).cdf).pvalue > 1e-3
    correlations = np.corrcoef(fresh) - np.eye(6)
    assert np.abs(correlations).max() < 5 / np.sqrt(SIZE)


def test_a_long_sum_has_less_noise_than_of_noise_drawn_anew(made: AggregateTransform) -> None:
    """At one sensitivity: that is what it is for."""
    prefix = np.tril(np.ones((ROUNDS, ROUNDS)))
    column = made.mechanisms[0].strategy
    square = squared_sensitivity(column, ROUNDS, TIMES, APART)
    error = np.sqrt(square) * np.linalg.norm(prefix @ np.linalg.inv(strategy(made, ROUNDS)), axis=1)
    anew = np.sqrt(TIMES) * np.linalg.norm(prefix, axis=1)
    assert error.max() < (0.6 if made is NOISE else 0.75) * anew.max()


def test_the_strategy_is_as_good_as_that_of_jax_privacy(made: AggregateTransform) -> None:
    column = np.asarray(made.mechanisms[0].strategy)
    ours = squared_sensitivity(tuple(column), ROUNDS, TIMES, APART)
    theirs = toeplitz.minsep_sensitivity_squared(
        strategy_coef=jnp.asarray(column), min_sep=APART, max_participations=TIMES, n=ROUNDS
    )
    assert ours == pytest.approx(float(theirs), rel=1e-4)


def test_noise_of_two_leaves_differs_and_has_buffers_of_its_own() -> None:
    state = NOISE.init(jax.random.key(0), TEMPLATE)
    num_buffers = len(buffered(ROUNDS, APART, TIMES).decays)
    assert state.rows["item"].shape == (num_buffers, SIZE // 4, 4)
    assert state.dense["head"].shape == (num_buffers, 7)
    state = BANDED.init(jax.random.key(0), TEMPLATE)
    assert state.rows["item"].shape == (BANDS - 1, SIZE // 4, 4)


def test_a_band_ends_and_participations_within_it_do_not_overlap() -> None:
    column = BANDED.mechanisms[0].strategy
    assert len(column) == ROUNDS, "made for the whole run: it is 0 behind the band"
    assert np.count_nonzero(column) == BANDS
    square = squared_sensitivity(column, ROUNDS, TIMES, APART)
    assert square == pytest.approx(TIMES * np.square(column).sum())
    whole = correlated_noise(Z, **RUN, strategy="banded")
    assert np.count_nonzero(whole.mechanisms[0].strategy) == APART
    short = correlated_noise(1.0, rounds=3, min_separation=9, participations=1, strategy="banded")
    assert np.count_nonzero(short.mechanisms[0].strategy) == 3


def test_one_band_is_noise_drawn_anew() -> None:
    alone = correlated_noise(Z, **RUN, strategy="banded", bands=1)
    assert np.count_nonzero(alone.mechanisms[0].strategy) == 1
    total = Message(TEMPLATE, jnp.float32(0), {}, {})
    state = alone.init(jax.random.key(0), TEMPLATE)
    assert state == (), "no checkpoint holds a table without rows"
    noise, _ = alone.decode(jax.random.key(1), total, state, jnp.float32(BOUND))
    expected, _ = gaussian_noise(Z).decode(jax.random.key(1), total, (), jnp.float32(BOUND))
    np.testing.assert_allclose(noise.update.rows["item"], expected.update.rows["item"], rtol=1e-6)


def test_bands_are_the_best_that_jax_privacy_finds() -> None:
    """By the error of all prefix sums, against bands that are a little off."""

    def error(band: np.ndarray) -> float:
        column = np.zeros(ROUNDS)
        column[:BANDS] = band / np.linalg.norm(band)
        C = np.array([[column[t - s] if t >= s else 0.0 for s in range(ROUNDS)] for t in RANGE])
        return float(np.linalg.norm(np.tril(np.ones((ROUNDS, ROUNDS))) @ np.linalg.inv(C)))

    RANGE = range(ROUNDS)
    best = np.asarray(banded(ROUNDS, BANDS).band)
    for place in range(1, BANDS):
        for step in (-0.05, 0.05):
            other = best.copy()
            other[place] += step
            assert error(other) > error(best)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"strategy": "banded", "bands": 11}, "bands must be at most min_separation, 10, got 11"),
        ({"strategy": "banded", "bands": -1}, "bands must be at most min_separation"),
        ({"bands": 3}, "bands belong to the strategy 'banded'"),
        ({"strategy": "dense"}, "strategy must be 'buffered' or 'banded', got 'dense'"),
    ],
)
def test_a_form_that_is_none_is_refused(settings: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        correlated_noise(Z, **RUN, **settings)


@pytest.mark.parametrize("bands", [0, -1, 6])
def test_bands_that_are_none_are_refused(bands: int) -> None:
    with pytest.raises(UserError, match="bands must be between 1 and the 5 rounds"):
        banded(5, bands)


def test_a_bound_that_changes_is_refused_before_it() -> None:
    follows = clip_by_quantile(1.0, cohort_size=9, largest=2.0, count_stddev=1.0)
    with pytest.raises(ValueError, match="needs one bound for the whole run"):
        chain(follows, mean(divisor=9), NOISE)
    chain(follows, mean(divisor=9), gaussian_noise(1.0))
    assert chain(clip_by_norm(1.0), mean(divisor=9), NOISE).is_noise


def test_noise_without_a_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="noise needs a bounded update"):
        chain(mean(divisor=9), NOISE)


@pytest.mark.parametrize("z", [0.0, -1.0, float("inf"), float("nan")])
def test_a_multiplier_that_is_none_is_refused(z: float) -> None:
    with pytest.raises(ValueError, match="noise_multiplier must be above 0"):
        correlated_noise(z, rounds=ROUNDS, min_separation=APART, participations=TIMES)


@pytest.mark.parametrize("wrong", [(0, 1, 1), (5, 0, 1), (5, 1, 0)])
def test_a_run_that_is_none_is_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(UserError, match="must be at least 1"):
        buffered(*wrong)


def test_a_column_is_that_of_the_recursion() -> None:
    made = Buffered((0.9, 0.5), (0.2, 0.3))
    rounds, buffers, column = 6, np.zeros(2), []
    for t in range(rounds):
        x = 1.0 if t == 0 else 0.0
        column.append(x + np.dot(made.scales, buffers))
        buffers = np.asarray(made.decays) * buffers + x
    np.testing.assert_allclose(made.column(rounds), column)
    assert Banded((1.0, 0.5, 0.25)).column(2) == (1.0, 0.5)
