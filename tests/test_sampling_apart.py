"""Samplers that state when a client comes again: what they state is true of what they draw."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from fedjax_rec.base import SamplingEvent
from fedjax_rec.sampling import (
    AllClients,
    Availability,
    CyclicPoisson,
    MinSeparation,
    Rotating,
    TruncatedPoisson,
    Uniform,
    day_and_night,
)

ROUNDS = 240


def trace(seed: int, rounds: int, num_clients: int, share: float) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.random.default_rng(seed).random((rounds, num_clients)) < share
    return found


SAMPLERS = [
    AllClients(6),
    Uniform(20, 7),
    TruncatedPoisson(20, 6.5),
    Rotating(50, 7),
    Rotating(11, 4),
    Rotating(5, 5),
    CyclicPoisson(50, 7, 7),
    CyclicPoisson(50, 5, 10),
    CyclicPoisson(23, 3.5, 4),
    CyclicPoisson(23, 3.5),
    CyclicPoisson(9, 9),
    MinSeparation(50, 7, 7),
    MinSeparation(50, 10, 5),
    MinSeparation(50, 7),
    MinSeparation(11, 4, 1),
    MinSeparation(6, 6),
    Availability(30, 30),
    Availability(30, 4),
    Availability(30, 30, day_and_night(30, rounds=7, night=2)),
    Availability(30, 30, trace(1, 13, 30, 0.3)),
    Availability(30, 30, trace(2, 5, 30, 0.7)),
    Availability(30, 9, trace(3, 40, 30, 0.1)),
    Availability(4, 4, np.ones((3, 4), bool)),
]


def presence(sampler: Any, seed: int = 3, rounds: int = ROUNDS) -> NDArray[np.int64]:
    """`[rounds, N]`, 1 where a client takes part."""
    found = np.zeros((rounds, sampler.event.num_clients), np.int64)
    for round in range(rounds):
        found[round, sampler.draw(seed, round)] += 1
    return found


def most_in(found: NDArray[np.int64], width: int) -> int:
    """The most often that one client comes in so many consecutive rounds."""
    sums = np.vstack([np.zeros((1, found.shape[1]), np.int64), found.cumsum(axis=0)])
    return int((sums[width:] - sums[:-width]).max())


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_nobody_comes_more_often_or_sooner_than_the_event_states(sampler: Any) -> None:
    found, event = presence(sampler), sampler.event
    assert found.max() == 1
    assert found.sum(axis=1).max() <= event.capacity
    for width in range(1, ROUNDS):
        assert most_in(found, width) <= event.participations(width), width
    assert most_in(found, event.min_separation()) == 1


@pytest.mark.parametrize(
    "sampler", [one for one in SAMPLERS if not isinstance(one, Uniform | TruncatedPoisson)], ids=str
)
def test_what_is_stated_is_not_far_from_what_happens(sampler: Any) -> None:
    """A law that is never met would hide a slip, and cost noise."""
    event = sampler.event
    if sampler.event.kind == "availability":
        found = np.concatenate([sampler.trace] * 20).astype(np.int64)
        assert most_in(found, event.within) == event.most
        assert event.participations(3 * event.within) <= 3 * event.most + event.burst
        slack = max(event.participations(w) - most_in(found, w) for w in range(1, event.within))
        assert slack <= event.burst + 1
        tight = event.burst == 0 or any(
            most_in(found, w) >= event.participations(w) - 1 for w in range(2, event.within + 1)
        )
        assert tight
        return
    found = presence(sampler)
    if event.participations(ROUNDS) == ROUNDS:
        return
    gaps = [np.diff(np.flatnonzero(column)) for column in found.T if column.sum() > 1]
    assert min(gap.min() for gap in gaps) == event.min_separation()


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_a_cohort_is_the_same_whatever_was_drawn_before(sampler: Any) -> None:
    in_turn = [sampler.draw(5, round) for round in range(12)]
    for round in (11, 2, 7, 0):
        np.testing.assert_array_equal(sampler.draw(5, round), in_turn[round])
        sampler.draw(6, 3)
    event = sampler.event
    assert isinstance(event, SamplingEvent)
    assert all(type(x) is int for x in (event.capacity, event.most, event.within, event.burst))


@pytest.mark.parametrize(("num_clients", "size", "apart"), [(40, 5.0, 4), (23, 2.5, 4), (20, 4, 5)])
def test_a_member_of_the_group_comes_by_a_coin_of_its_own(
    num_clients: int, size: float, apart: int
) -> None:
    """At the rate that is accounted, in its turn; never in another's."""
    sampler = CyclicPoisson(num_clients, size, apart)
    turns = 500
    found = presence(sampler, rounds=turns * apart)
    by_group = found.reshape(turns, apart, num_clients)
    is_turn = by_group.any(axis=0)
    assert (is_turn.sum(axis=0) == 1).all()
    rate = size * apart / num_clients
    counts = found.sum(axis=0)
    if rate == 1:
        assert (counts == turns).all()
        return
    z = (counts - turns * rate) / np.sqrt(turns * rate * (1 - rate))
    assert stats.chi2.sf((z**2).sum(), num_clients) > 1e-3
    members = np.flatnonzero(is_turn[0])
    correlation = np.corrcoef(by_group[:, 0, members].T)[np.triu_indices(len(members), 1)]
    assert np.mean(correlation * np.sqrt(turns)) == pytest.approx(0, abs=4 / len(members))
    per_turn = by_group.sum(axis=2).mean()
    assert per_turn == pytest.approx(size, abs=4 * np.sqrt(size / (turns * apart)))


def test_whoever_has_rested_is_equally_likely() -> None:
    sampler = MinSeparation(24, 3, 4)
    found = presence(sampler, rounds=3000)
    counts = found.sum(axis=0)
    # rests make counts more alike than coins would
    assert np.abs(counts - counts.mean()).max() < 4 * np.sqrt(counts.mean())
    for round in (10, 500, 2999):
        rested = np.flatnonzero(found[round - 3 : round].sum(axis=0) == 0)
        assert set(np.flatnonzero(found[round])) <= set(rested)
    together = found.T @ found
    pairs = together[np.triu_indices(24, 1)]
    assert pairs.min() > 0, "the control: groups that stay the same would never meet"


def test_a_day_has_a_night_for_everybody() -> None:
    table = day_and_night(50, rounds=10, night=4)
    assert table.shape == (10, 50)
    assert (table.sum(axis=0) == 4).all()
    rises = (table & ~np.roll(table, 1, axis=0)).sum(axis=0)
    assert (rises == 1).all(), "a night is in one piece"
    assert len({tuple(column) for column in table.T}) > 5
    np.testing.assert_array_equal(table, day_and_night(50, rounds=10, night=4))


def test_only_who_is_available_comes() -> None:
    table = trace(4, 7, 30, 0.2)
    table[3] = False
    sampler = Availability(30, 5, table)
    for round in range(70):
        drawn = sampler.draw(1, round)
        assert table[round % 7, drawn].all()
        assert len(drawn) == min(5, table[round % 7].sum())
    assert sampler.draw(1, 3).size == 0
    table[:] = True
    assert sampler.draw(1, 3).size == 0, "a trace that is changed later changes nothing"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: CyclicPoisson(10, 5, 3), "the separation is at most 2, got 3"),
        (lambda: CyclicPoisson(10, 5, -1), "the separation is at most 2, got -1"),
        (lambda: CyclicPoisson(10, 0), "must be above 0 and at most the 10 clients, got 0"),
        (lambda: CyclicPoisson(10, float("nan")), "must be above 0"),
        (lambda: CyclicPoisson(10, 0.01, 11), "the separation is at most 10"),
        (lambda: MinSeparation(10, 3, 4), "the separation is at most 3, got 4"),
        (lambda: MinSeparation(10, 11), "cohort size must be between 1 and the 10 clients"),
        (lambda: Availability(10, 11), "cohort size must be between 1 and the 10 clients"),
        (lambda: Availability(3, 1, np.ones((2, 4), bool)), "each of the 3 clients"),
        (lambda: Availability(3, 1, np.ones(3, bool)), "each of the 3 clients"),
        (lambda: Availability(3, 1, np.ones((2, 3))), "each of the 3 clients"),  # type: ignore[arg-type]
        (lambda: Availability(3, 1, np.zeros((2, 3), bool)), "nobody is ever available"),
    ],
)
def test_what_cannot_be_drawn_is_refused(make: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refusal:
        make()
    assert "\n" not in str(refusal.value)
