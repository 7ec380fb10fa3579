"""Spreads over clients against their definitions."""

import math

import numpy as np
import pytest

from fedjax_rec.evaluation.fairness import gini, mean, spread, worst_mean

VALUES = np.random.default_rng(0).random(37)


def test_gini_is_the_mean_difference_of_pairs():
    differences = np.abs(VALUES[:, None] - VALUES).mean()
    assert gini(VALUES) == pytest.approx(differences / (2 * VALUES.mean()))


@pytest.mark.parametrize("values", [np.zeros(4), np.full(5, 0.3), np.array([0.7])], ids=str)
def test_equal_values_have_no_gini(values):
    assert gini(values) == pytest.approx(0)


def test_one_client_that_has_everything_has_nearly_one():
    assert gini(np.eye(1, 100)[0]) == pytest.approx(0.99)


@pytest.mark.parametrize(("number", "worst"), [(1, 1), (9, 1), (10, 1), (11, 2), (30, 3), (31, 4)])
def test_the_worst_decile_is_rounded_up(number, worst):
    values = np.random.default_rng(number).permutation(number).astype(float)
    assert worst_mean(values) == np.arange(worst).mean()


def test_clients_without_a_value_are_left_out():
    with_holes = np.insert(VALUES, [0, 5, 37], np.nan)
    assert spread(with_holes) == pytest.approx(spread(VALUES))


def test_the_spread_is_numpy_s():
    found = spread(VALUES)
    assert found["mean"] == pytest.approx(VALUES.mean())
    assert found["p50"] == pytest.approx(np.median(VALUES))
    assert found["p10"] == pytest.approx(np.sort(VALUES)[3:5] @ [0.4, 0.6])  # place 0.1 * 36
    assert found["std"] == pytest.approx(VALUES.std())


@pytest.mark.parametrize("values", [np.array([]), np.full(3, np.nan)], ids=str)
def test_without_clients_nothing_is_known(values):
    assert all(
        map(math.isnan, [*spread(values).values(), *(f(values) for f in (gini, mean, worst_mean))])
    )


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="at least 0"):
        gini(np.array([-0.1, 1.0]))
    for share in (0.0, 1.5, math.nan):
        with pytest.raises(ValueError, match="share must be above 0"):
            worst_mean(VALUES, share)
