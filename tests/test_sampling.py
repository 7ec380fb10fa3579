"""Cohort samplers: who may come, how often, and what they say of themselves."""

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from fedjax_rec.base import SamplingEvent
from fedjax_rec.sampling import AllClients, Rotating, TruncatedPoisson, Uniform

SAMPLERS = [
    AllClients(9),
    Uniform(50, 7),
    Uniform(5, 5),
    Uniform(1, 1),
    Rotating(50, 7),
    Rotating(5, 5),
    TruncatedPoisson(50, 6.5),
    TruncatedPoisson(3, 3),
    TruncatedPoisson(1000, 0.01),
]
ROUNDS = 4000


def rounds(sampler: Any, seed: int = 0) -> list[NDArray[np.int32]]:
    return [sampler.draw(seed, round) for round in range(ROUNDS)]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_clients_are_distinct_known_and_not_too_many(sampler: Any) -> None:
    for round in range(50):
        drawn = sampler.draw(3, round)
        assert drawn.dtype == np.int32
        assert drawn.ndim == 1
        assert len(set(drawn.tolist())) == len(drawn) <= sampler.event.capacity
        assert ((drawn >= 0) & (drawn < sampler.event.num_clients)).all()


@pytest.mark.parametrize(
    "sampler", [Uniform(1000, 20), Rotating(1000, 20), TruncatedPoisson(1000, 20)], ids=str
)
def test_a_cohort_is_a_function_of_seed_and_round_alone(sampler: Any) -> None:
    expected = sampler.draw(1, 5)
    sampler.draw(1, 4)
    np.random.default_rng().random()
    np.testing.assert_array_equal(sampler.draw(1, 5), expected)
    np.testing.assert_array_equal(type(sampler)(1000, 20).draw(1, 5), expected)
    for other in (sampler.draw(1, 6), sampler.draw(2, 5), sampler.draw(5, 1)):
        assert set(other.tolist()) != set(expected.tolist())


def test_a_seed_may_be_as_long_as_a_key() -> None:
    wide = 2**64 + 5
    assert set(Uniform(1000, 20).draw(wide, 0)) != set(Uniform(1000, 20).draw(5, 0))


def test_all_clients_are_all_of_them_in_order() -> None:
    assert AllClients(4).draw(1, 2).tolist() == [0, 1, 2, 3]


# -------------------------------------------------------------------------- the laws


def inclusion(cohorts: list[NDArray[np.int32]], num_clients: int) -> NDArray[np.int64]:
    return np.bincount(np.concatenate(cohorts), minlength=num_clients)


@pytest.mark.parametrize("sampler", [Uniform(40, 8), TruncatedPoisson(40, 8)], ids=str)
def test_every_client_is_equally_likely(sampler: Any) -> None:
    counts = inclusion(rounds(sampler), 40)
    share = 8 / 40
    variance = ROUNDS * share * (1 - share)
    statistic = ((counts - ROUNDS * share) ** 2 / variance).sum()
    if isinstance(sampler, Uniform):
        statistic *= 39 / 40  # the size is fixed, so the counts' sum is known
        freedom = 39
    else:
        freedom = 40
    assert 1e-3 < stats.chi2.sf(statistic, freedom) < 1 - 1e-3

    # the control: one client comes a tenth more often than it should
    favoured = counts.copy()
    favoured[0] = round(1.1 * ROUNDS * share) + 3 * np.sqrt(variance)
    control = ((favoured - ROUNDS * share) ** 2 / variance).sum()
    assert stats.chi2.sf(control, freedom) < 1e-3


def test_uniform_pairs_come_together_as_without_replacement() -> None:
    num_clients, size = 12, 4
    counts = np.zeros((num_clients, num_clients))
    for cohort in rounds(Uniform(num_clients, size)):
        counts[np.ix_(cohort, cohort)] += 1
    pairs = counts[np.triu_indices(num_clients, 1)]
    share = size * (size - 1) / (num_clients * (num_clients - 1))
    z = (pairs - ROUNDS * share) / np.sqrt(ROUNDS * share * (1 - share))
    assert np.mean(z**2) == pytest.approx(1, abs=4 * np.sqrt(2 / len(pairs)))
    assert np.abs(z).max() < 4.5


@pytest.mark.parametrize(("num_clients", "expected"), [(40, 8.0), (500, 2.5), (20, 19.0)])
def test_poisson_sizes_are_binomial(num_clients: int, expected: float) -> None:
    sizes = np.array([len(cohort) for cohort in rounds(TruncatedPoisson(num_clients, expected))])
    variance = expected * (1 - expected / num_clients)
    assert sizes.mean() == pytest.approx(expected, abs=4 * np.sqrt(variance / ROUNDS))
    assert sizes.var() == pytest.approx(variance, rel=5 * np.sqrt(2 / ROUNDS))

    law = stats.binom(num_clients, expected / num_clients)
    counts = np.bincount(sizes, minlength=num_clients + 1)
    is_likely = ROUNDS * law.pmf(np.arange(num_clients + 1)) >= 5
    observed = np.append(counts[is_likely], counts[~is_likely].sum())
    share = law.pmf(np.arange(num_clients + 1))[is_likely]
    wanted = ROUNDS * np.append(share, 1 - share.sum())
    assert ((observed - wanted) ** 2 / wanted).sum() < stats.chi2.isf(1e-3, len(observed) - 1)


def test_poisson_clients_come_independently() -> None:
    is_in = np.zeros((ROUNDS, 40))
    for row, cohort in zip(is_in, rounds(TruncatedPoisson(40, 8)), strict=True):
        row[cohort] = 1
    correlation = np.corrcoef(is_in.T)[np.triu_indices(40, 1)]
    z = correlation * np.sqrt(ROUNDS)
    assert np.mean(z) == pytest.approx(0, abs=4 / np.sqrt(len(z)))  # fixed sizes give -1.6
    assert np.mean(z**2) == pytest.approx(1, abs=4 * np.sqrt(2 / len(z)))


def test_the_next_round_does_not_depend_on_this_one() -> None:
    cohorts = rounds(Uniform(40, 8))
    shared = [len(np.intersect1d(*pair)) for pair in itertools.pairwise(cohorts)]
    law = stats.hypergeom(40, 8, 8)
    assert np.mean(shared) == pytest.approx(law.mean(), abs=4 * law.std() / np.sqrt(ROUNDS))
    assert np.var(shared) == pytest.approx(law.var(), rel=0.15)


@pytest.mark.parametrize(("num_clients", "size"), [(12, 4), (11, 4), (5, 5)])
def test_a_queue_goes_round_in_one_order(num_clients: int, size: int) -> None:
    visits = np.concatenate([Rotating(num_clients, size).draw(3, round) for round in range(30)])
    queue = visits[:num_clients]
    assert sorted(queue) == list(range(num_clients))
    np.testing.assert_array_equal(visits, np.resize(queue, len(visits)))
    assert Rotating(num_clients, size).draw(4, 0).tolist() != queue[:size].tolist()


# ------------------------------------------------------------------------ truncation


@pytest.mark.parametrize(("num_clients", "expected"), [(10_000, 100), (943, 64), (200, 150)])
def test_the_capacity_is_the_mean_and_seven_standard_deviations(
    num_clients: int, expected: float
) -> None:
    deviation = np.sqrt(expected * (1 - expected / num_clients))
    wanted = min(num_clients, int(np.ceil(expected + 7 * deviation)))
    assert TruncatedPoisson(num_clients, expected).event.capacity == wanted


def test_the_capacity_never_exceeds_the_clients() -> None:
    assert TruncatedPoisson(10, 9.5).event.capacity == 10


def test_a_draw_above_the_capacity_keeps_a_uniform_subset(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = TruncatedPoisson(20, 10)
    untruncated = [len(cohort) for cohort in rounds(sampler)]
    small = SamplingEvent("poisson", 20, 10, capacity=6)
    monkeypatch.setattr(TruncatedPoisson, "event", property(lambda self: small))
    cohorts = rounds(sampler)
    assert [len(cohort) for cohort in cohorts] == [min(size, 6) for size in untruncated]
    assert max(untruncated) > 6 > min(untruncated)
    assert stats.chisquare(inclusion(cohorts, 20)).pvalue > 1e-3


# ---------------------------------------------------------------- events and mistakes


def test_samplers_describe_themselves() -> None:
    assert AllClients(9).event == SamplingEvent("all", 9, 9.0, 9)
    assert Uniform(50, 7).event == SamplingEvent("uniform", 50, 7.0, 7)
    assert Rotating(50, 7).event == SamplingEvent("rotating", 50, 7.0, 7, 7, 50)
    poisson = TruncatedPoisson(50, 6.5).event
    assert (poisson.kind, poisson.num_clients, poisson.expected_size) == ("poisson", 50, 6.5)


@pytest.mark.parametrize("sampler", [Uniform, Rotating])
@pytest.mark.parametrize("size", [0, -1, 11])
def test_a_cohort_of_an_impossible_size_is_refused(sampler: Any, size: int) -> None:
    says = f"cohort size must be between 1 and the 10 clients, got {size}"
    with pytest.raises(ValueError, match=says):
        sampler(10, size)


@pytest.mark.parametrize("expected", [0.0, -2.0, 10.5, float("nan"), float("inf")])
def test_a_poisson_cohort_of_an_impossible_size_is_refused(expected: float) -> None:
    says = f"must be above 0 and at most the 10 clients, got {expected}"
    with pytest.raises(ValueError, match=says):
        TruncatedPoisson(10, expected)
