"""The sensitivity of a correlated strategy against jax-privacy and against all patterns."""

import itertools
import math

import numpy as np
import pytest

from fedjax_rec.privacy.correlated import squared_sensitivity
from fedjax_rec.sampling import (
    Availability,
    CyclicPoisson,
    MinSeparation,
    Rotating,
    day_and_night,
)

STRATEGIES = {
    "fresh": (1.0,),
    "two bands": (1.0, 0.5),
    "square root": tuple(math.comb(2 * k, k) / 4**k for k in range(16)),
    "flat": (0.5,) * 6,
}


def toeplitz(strategy, rounds):
    column = np.zeros(rounds)
    column[: len(strategy)] = strategy[:rounds]
    return np.array(
        [[column[i - j] if i >= j else 0.0 for j in range(rounds)] for i in range(rounds)]
    )


def by_all_patterns(strategy, rounds, participations, apart):
    """The largest norm over everything one client could do with messages of 1 or -1."""
    C = toeplitz(strategy, rounds)
    largest = 0.0
    for times in range(1, participations + 1):
        for places in itertools.combinations(range(rounds), times):
            if any(b - a < apart for a, b in itertools.pairwise(places)):
                continue
            for signs in itertools.product((1, -1), repeat=times):
                total = C[:, places] @ np.array(signs)
                largest = max(largest, float(total @ total))
    return largest


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
@pytest.mark.parametrize(("rounds", "participations", "apart"), [(7, 3, 2), (6, 6, 1), (8, 2, 5)])
def test_it_is_the_worst_of_all_patterns(strategy, rounds, participations, apart):
    found = squared_sensitivity(strategy, rounds, participations, apart)
    assert found == pytest.approx(by_all_patterns(strategy, rounds, participations, apart))


@pytest.mark.filterwarnings("ignore")  # float64 is asked for where there is none
@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
@pytest.mark.parametrize(
    ("rounds", "participations", "apart"), [(128, 8, 16), (100, 100, 1), (10, 3, 4), (100, 2, 99)]
)
def test_it_is_that_of_jax_privacy(strategy, rounds, participations, apart):
    from jax_privacy.matrix_factorization import toeplitz as theirs

    known = theirs.minsep_sensitivity_squared(
        np.array(strategy[:rounds]), apart, max_participations=participations, n=rounds
    )
    found = squared_sensitivity(strategy, rounds, participations, apart)
    assert found == pytest.approx(float(known), rel=1e-5)


@pytest.mark.parametrize(
    "strategy", [(1.0, -0.5), (0.5, 1.0), (1.0, 0.2, 0.4), (1.0, -0.5, 0.3, -0.2)]
)
@pytest.mark.parametrize(("rounds", "participations", "apart"), [(7, 3, 2), (6, 6, 1), (8, 2, 5)])
def test_where_the_theorem_does_not_hold_it_is_a_bound(strategy, rounds, participations, apart):
    found = squared_sensitivity(strategy, rounds, participations, apart)
    assert by_all_patterns(strategy, rounds, participations, apart) <= found + 1e-9
    if len(strategy) <= apart:
        times = min(participations, -(-rounds // apart))
        assert found == pytest.approx(times * np.square(strategy).sum())


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
@pytest.mark.parametrize(
    "sampler",
    [
        Rotating(23, 5),
        CyclicPoisson(24, 3, 6),
        MinSeparation(24, 4, 5),
        Availability(12, 12, day_and_night(12, rounds=6, night=2)),
    ],
    ids=str,
)
def test_no_client_that_is_drawn_changes_more_than_is_accounted(strategy, sampler):
    """With messages of its bound, all of one sign, in the rounds in which it took part."""
    rounds, event = 16, sampler.event
    square = squared_sensitivity(
        strategy, rounds, event.participations(rounds), event.min_separation()
    )
    C, largest = toeplitz(strategy, rounds), 0.0
    for seed in range(25):
        is_in = np.zeros((rounds, event.num_clients))
        for round in range(rounds):
            is_in[round, sampler.draw(seed, round)] = 1
        largest = max(largest, float(np.square(C @ is_in).sum(axis=0).max()))
    assert 0.3 * square <= largest <= square + 1e-9


@pytest.mark.parametrize("strategy", [(), (0.0,), (math.nan,), (1.0, math.inf)])
def test_what_cannot_be_inverted_bounds_nothing(strategy):
    assert squared_sensitivity(strategy, 4, 2, 1) == math.inf
