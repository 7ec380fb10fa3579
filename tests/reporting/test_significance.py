"""Tests of two methods: against SciPy, on true differences, and where there are none."""

import numpy as np
import pytest
from scipy import stats

from fedjax_rec.reporting.significance import LEVEL, difference, error_over_people, holm

SEEDS, PEOPLE = 5, 300


def people(rng):
    """What a person's metric is like whoever recommends: mostly nothing, as with one item."""
    return rng.beta(0.4, 2.0, PEOPLE)


def method(rng, taste, shift=0.0, seed_sd=0.01):
    """Values `[S, N]`: a person's, some noise of its own, and what a seed does to all."""
    noise = rng.normal(0, 0.1, (SEEDS, PEOPLE)) + rng.normal(0, 0.08, PEOPLE)
    return taste + shift + noise + rng.normal(0, seed_sd, (SEEDS, 1))


def test_the_difference_is_that_of_an_independent_computation():
    rng = np.random.default_rng(3)
    taste = people(rng)
    a, b = method(rng, taste), method(rng, taste, 0.01)[:3]
    a[:, 7] = b[:, 9] = np.nan
    asked = [n for n in range(PEOPLE) if n not in (7, 9)]
    paired = stats.sem(a[:, asked].mean(0) - b[:, asked].mean(0))
    seeds = [stats.sem(values[:, asked].mean(1)) for values in (a, b)]
    error = np.sqrt(paired**2 + seeds[0] ** 2 + seeds[1] ** 2)
    found = difference(a, b)
    mean = a[:, asked].mean() - b[:, asked].mean()
    assert found.mean == pytest.approx(mean, rel=1e-12)
    assert found.standard_error == pytest.approx(error, rel=1e-12)
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(mean) / error), rel=1e-9)
    assert difference(b, a) == pytest.approx((-found.mean, found.standard_error, found.p))


def test_the_error_over_people_is_that_of_their_means():
    rng = np.random.default_rng(4)
    values = method(rng, people(rng))
    values[:, 3] = np.nan
    known = np.delete(values, 3, axis=1)
    assert error_over_people(values) == pytest.approx(stats.sem(known.mean(0)), rel=1e-12)
    assert np.isnan(error_over_people(values[:, 2:4]))


def test_holms_probabilities_are_those_of_the_definition():
    rng = np.random.default_rng(5)
    for size in (1, 2, 7):
        p = rng.uniform(0, 0.2, size)
        order = np.argsort(p)
        stepwise = np.minimum(np.maximum.accumulate((size - np.arange(size)) * p[order]), 1)
        assert holm(p.tolist()) == pytest.approx(stepwise[np.argsort(order)])
    assert holm([]) == []


@pytest.mark.parametrize("seed_sd", [0.0, 0.005, 0.02])
def test_methods_that_do_not_differ_are_seldom_told_apart(seed_sd):
    rng = np.random.default_rng(11)
    told = 0
    for _ in range(100):
        taste = people(rng)
        pair = [method(rng, taste, seed_sd=seed_sd) for _ in range(2)]
        told += difference(*pair).p <= LEVEL
    assert told <= 7


def test_seeds_that_are_left_out_of_the_variance_would_tell_equal_methods_apart():
    rng = np.random.default_rng(11)
    told = 0
    for _ in range(100):
        taste = people(rng)
        a, b = (method(rng, taste, seed_sd=0.02) for _ in range(2))
        told += stats.ttest_rel(a[0], b[0]).pvalue <= LEVEL
    assert told > 25


@pytest.mark.parametrize("seed_sd", [0.0, 0.005, 0.02])
def test_a_difference_of_four_standard_errors_is_found(seed_sd):
    rng = np.random.default_rng(12)
    # what a difference of two methods of these deviations truly varies by
    own = 2 * (0.08**2 + 0.1**2 / SEEDS) / PEOPLE
    error = np.sqrt(own + 2 * seed_sd**2 / SEEDS)
    found = 0
    for _ in range(100):
        taste = people(rng)
        a = method(rng, taste, seed_sd=seed_sd)
        found += difference(a, method(rng, taste, 4 * error, seed_sd)).p <= LEVEL
    assert found >= 90


def test_one_seed_says_nothing_and_equal_values_are_equal():
    values = np.tile(np.linspace(0, 1, 5), (2, 1))
    assert difference(values, values[:1]) is None
    assert difference(values, values) == (0, 0, 1)
    assert difference(values, values - 0.25).p < 1e-9
    assert difference(values[:, :1], values[:, :1]) is None
