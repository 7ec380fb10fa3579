"""Which rule holds for which round, and that nothing is claimed where none does."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedjax_rec.base import Mechanism, SamplingEvent
from fedjax_rec.errors import UserError
from fedjax_rec.privacy import Executed, add_rounds, check_delta, default_delta, epsilon_of
from fedjax_rec.privacy.accounting import spent
from fedjax_rec.privacy.library import gaussian_epsilon
from fedjax_rec.privacy.releases import why_none
from fedjax_rec.sampling import Availability, CyclicPoisson, MinSeparation, Rotating

DELTA = 1e-5
EVERYBODY = SamplingEvent("all", 943, 943.0, 943)
POISSON = SamplingEvent("poisson", 943, 94.3, 943)
UNIFORM = SamplingEvent("uniform", 943, 94.0, 94)
QUEUE = Rotating(943, 94).event
GROUPS = CyclicPoisson(1_000, 50, 10).event  # by a coin of one half
UNKNOWN = SamplingEvent("of a plug-in", 943, 94.0, 94)


def gaussian(z, releases="update"):
    return Mechanism("gaussian", z, releases)


def correlated(z, strategy, rounds=64):
    """Banded: made for so many rounds, and 0 behind the band."""
    padding = (0.0,) * (rounds - len(strategy))
    return Mechanism("correlated", z, "update", strategy + padding)


def ledger_of(*parts):
    ledger = ()
    for event, mechanisms, rounds in parts:
        ledger = add_rounds(ledger, event, mechanisms, rounds)
    return ledger


def cost(*parts, accountant="pld"):
    return epsilon_of(ledger_of(*parts), DELTA, accountant=accountant)


def exact(square):
    """Of one Gaussian of multiplier `square^-1/2`, where a message is 1e-5 over its bound."""
    return gaussian_epsilon(1 / ((1 + 1e-5) * math.sqrt(square)), DELTA)


# ------------------------------------------------------------------- which rule


@pytest.mark.parametrize("event", [EVERYBODY, UNKNOWN])
def test_whoever_may_come_every_round_is_counted_in_every_round(event):
    assert cost((event, [gaussian(6.0)], 100)) == pytest.approx(exact(100 / 36), rel=1e-9)


def test_a_queue_counts_the_visits_of_one_client():
    # 943 in a queue of 94: ten rounds bring one client at most once, eleven twice
    assert cost((QUEUE, [gaussian(2.0)], 10)) == pytest.approx(exact(1 / 4), rel=1e-9)
    assert cost((QUEUE, [gaussian(2.0)], 11)) == pytest.approx(exact(2 / 4), rel=1e-9)


def test_an_interrupted_queue_may_bring_a_client_once_in_each_part():
    calm = (EVERYBODY, [gaussian(1e6)], 1)
    parts = [(QUEUE, [gaussian(2.0)], 5), calm, (QUEUE, [gaussian(2.0)], 5)]
    assert cost(*parts) == pytest.approx(exact(2 / 4), rel=1e-6)


def test_a_visit_falls_where_the_noise_is_weakest():
    parts = [(QUEUE, [gaussian(4.0)], 5), (QUEUE, [gaussian(2.0)], 6)]
    # two visits in eleven rounds, but one in six: one with each noise
    assert cost(*parts) == pytest.approx(exact(1 / 4 + 1 / 16), rel=1e-9)
    parts = [(QUEUE, [gaussian(4.0)], 3), (QUEUE, [gaussian(2.0)], 6)]
    assert cost(*parts) == pytest.approx(exact(1 / 4), rel=1e-9)


def test_poisson_amplifies_and_a_sure_cohort_does_not():
    assert cost((POISSON, [gaussian(1.0)], 100)) < 0.1 * cost((EVERYBODY, [gaussian(1.0)], 100))
    sure = SamplingEvent("poisson", 943, 943.0, 943)
    assert cost((sure, [gaussian(6.0)], 100)) == cost((EVERYBODY, [gaussian(6.0)], 100))


def test_groups_in_turn_are_poisson_rounds_of_one_group():
    """`ceil(T / b)` of them, at the rate within the group, and never at that of a round."""
    half = SamplingEvent("poisson", 100, 50.0, GROUPS.capacity)
    for rounds, turns in ((100, 10), (101, 11), (9, 1)):
        found = cost((GROUPS, [gaussian(2.0)], rounds))
        assert found == cost((half, [gaussian(2.0)], turns))
    rare = SamplingEvent("poisson", 1_000, 50.0, 1_000)
    assert cost((GROUPS, [gaussian(2.0)], 100)) > cost((rare, [gaussian(2.0)], 10))
    assert cost((GROUPS, [gaussian(2.0)], 100)) < cost((QUEUE, [gaussian(2.0)], 100))


def test_groups_that_all_take_part_are_a_queue():
    sure = CyclicPoisson(1_000, 100, 10).event
    assert cost((sure, [gaussian(2.0)], 100)) == pytest.approx(exact(10 / 4), rel=1e-9)


def test_a_group_whose_members_come_in_a_row_gains_nothing():
    bursting = replace(GROUPS, burst=2)
    assert cost((bursting, [gaussian(2.0)], 100)) == pytest.approx(exact(12 / 4), rel=1e-9)


def test_a_capacity_that_cuts_a_group_is_accounted():
    small = replace(GROUPS, capacity=50)
    assert cost((small, [gaussian(2.0)], 100)) > 1.2 * cost((GROUPS, [gaussian(2.0)], 100))


@pytest.mark.parametrize(
    ("event", "times"),
    [
        (MinSeparation(1_000, 50, 10).event, 10),
        (Availability(1_000, 50).event, 36),  # eight of 24 rounds, in a row
    ],
)
def test_whoever_comes_seldom_is_counted_at_worst_and_not_amplified(event, times):
    assert event.participations(100) >= times
    found = cost((event, [gaussian(4.0)], 100))
    assert found == pytest.approx(exact(event.participations(100) / 16), rel=1e-9)


def test_a_fixed_size_takes_the_smaller_of_two_valid_bounds():
    many = SamplingEvent("uniform", 943, 900.0, 900)
    assert cost((many, [gaussian(2.0)], 3)) == cost((EVERYBODY, [gaussian(2.0)], 3))
    few = (SamplingEvent("uniform", 100_000, 5_000.0, 5_000), [gaussian(1.0)], 100)
    assert epsilon_of(ledger_of(few), 1e-6) < 0.5 * exact(100)
    assert spent(ledger_of(few), 1e-6).accountant == "rdp"


def test_the_count_beside_the_update_is_accounted():
    both = cost((EVERYBODY, [gaussian(6.0), gaussian(3.0, "count")], 10))
    assert both == pytest.approx(exact(10 / 36 + 10 / 9), rel=1e-9)
    joint = (1 / 4 + 1 / 9) ** -0.5
    both = cost((POISSON, [gaussian(2.0), gaussian(3.0, "count")], 20))
    assert both == pytest.approx(cost((POISSON, [gaussian(joint)], 20)), rel=1e-6)


def test_local_noise_is_for_replacement_and_gains_nothing_by_sampling():
    for event in (EVERYBODY, POISSON, UNIFORM):
        assert cost((event, [Mechanism("local", 6.0)], 10)) == pytest.approx(
            exact(4 * 10 / 36), rel=1e-9
        )
    mixed = cost((POISSON, [Mechanism("local", 6.0), gaussian(5.0)], 10))
    assert mixed == pytest.approx(exact(4 * 10 / 36 + 10 / 25), rel=1e-9)


def test_correlated_noise_is_one_gaussian_over_the_run():
    # columns (1, 1/2) of four rounds, the last cut off: |1, 3/2, 3/2, 3/2|^2
    everybody = cost((EVERYBODY, [correlated(3.0, (1.0, 0.5))], 4))
    assert everybody == pytest.approx(exact(7.75 / 9), rel=1e-9)
    assert cost((POISSON, [correlated(3.0, (1.0, 0.5))], 4)) == everybody
    # twenty rounds of a queue: two visits, ten apart
    queue = cost((QUEUE, [correlated(3.0, (1.0, 0.5))], 20))
    assert queue == pytest.approx(exact(2 * 1.25 / 9), rel=1e-9)


def test_correlated_noise_ends_with_its_strategy():
    """What a longer run would reveal, nobody has said: it is not 0."""
    made = correlated(3.0, (1.0, 0.5), rounds=10)
    assert cost((QUEUE, [made], 10)) < math.inf
    assert cost((QUEUE, [made], 11)) == math.inf
    assert why_none((Executed(QUEUE, (made,), 11),)) == [
        "correlated noise was made for 10 rounds, and 11 were executed"
    ]


def test_fresh_noise_as_a_strategy_is_fresh_noise():
    assert cost((QUEUE, [correlated(3.0, (1.0,))], 25)) == cost((QUEUE, [gaussian(3.0)], 25))


# ------------------------------------------------------------------ composition


def test_unlike_rounds_compose():
    parts = [(EVERYBODY, [gaussian(6.0)], 10), (UNKNOWN, [gaussian(8.0)], 5)]
    assert cost(*parts) == pytest.approx(exact(10 / 36 + 5 / 64), rel=1e-9)
    mixed = cost((POISSON, [gaussian(1.0)], 20), (EVERYBODY, [gaussian(6.0)], 5))
    assert mixed > max(cost((POISSON, [gaussian(1.0)], 20)), cost((EVERYBODY, [gaussian(6.0)], 5)))
    assert mixed < cost((POISSON, [gaussian(1.0)], 20)) + cost((EVERYBODY, [gaussian(6.0)], 5))


@pytest.mark.parametrize("accountant", ["pld", "rdp"])
def test_one_run_in_pieces_costs_what_it_costs_whole(accountant):
    whole = cost((POISSON, [gaussian(1.0)], 30), accountant=accountant)
    pieces = [(POISSON, [gaussian(1.0)], 10)] * 3
    assert cost(*pieces, accountant=accountant) == whole
    # a change that changes nothing: two entries, one distribution
    alike = [(POISSON, [gaussian(1.0)], 10), (POISSON, [gaussian(1.0 + 1e-12)], 20)]
    assert cost(*alike, accountant=accountant) == pytest.approx(whole, rel=1e-4)


def test_a_fixed_size_beside_poisson_rounds_composes():
    fixed = (SamplingEvent("uniform", 100_000, 1_000.0, 1_000), [gaussian(2.0)], 5)
    drawn = (SamplingEvent("poisson", 100_000, 1_000.0, 100_000), [gaussian(1.0)], 50)
    both = epsilon_of(ledger_of(fixed, drawn), 1e-6)
    assert both > max(epsilon_of(ledger_of(one), 1e-6) for one in (fixed, drawn))
    bare = 5 / 4 + 50
    assert both < gaussian_epsilon(bare**-0.5, 1e-6)


def test_a_cut_that_may_matter_is_never_ignored():
    small = SamplingEvent("poisson", 1_000, 1.0, 1_000)
    cut = SamplingEvent("poisson", 1_000, 1.0, 4)
    for accountant in ("pld", "rdp"):
        whole = cost((small, [gaussian(1.0)], 100), accountant=accountant)
        assert cost((cut, [gaussian(1.0)], 100), accountant=accountant) > 1.05 * whole


def test_a_cut_that_hardly_matters_is_taken_off_delta():
    seven = SamplingEvent("poisson", 943, 94.3, 160)
    plain, paid = (cost((event, [gaussian(1.0)], 100)) for event in (POISSON, seven))
    assert plain < paid < plain * 1.001


# ------------------------------------------------------------------ no guarantee


@pytest.mark.parametrize(
    "mechanisms",
    [
        [],
        [gaussian(0.0)],
        [gaussian(1.0, "count")],
        [gaussian(1.0), gaussian(0.0, "count")],
        [Mechanism("laplace of a plug-in", 1.0)],
        [correlated(1.0, ())],
        [correlated(1.0, (0.0, 1.0))],
    ],
)
@pytest.mark.parametrize("accountant", ["pld", "rdp"])
def test_one_bare_round_among_many_is_no_guarantee(mechanisms, accountant):
    good = (POISSON, [gaussian(10.0)], 100)
    assert math.isfinite(cost(good, accountant=accountant))
    bare = (EVERYBODY, mechanisms, 1)
    assert cost(good, bare, accountant=accountant) == math.inf
    assert cost(bare, good, accountant=accountant) == math.inf


def test_correlated_noise_that_changes_within_a_run_is_no_guarantee():
    first, second = correlated(10.0, (1.0, 0.5)), correlated(12.0, (1.0, 0.5))
    assert math.isfinite(cost((EVERYBODY, [first], 5)))
    assert cost((EVERYBODY, [first], 5), (EVERYBODY, [second], 5)) == math.inf
    assert cost((EVERYBODY, [first], 5), (UNIFORM, [first], 5)) == math.inf
    beside = cost((EVERYBODY, [first], 5), (EVERYBODY, [gaussian(12.0)], 5))
    assert cost((EVERYBODY, [first], 5)) < beside < math.inf


@pytest.mark.parametrize("z", [math.inf, math.nan])
def test_a_multiplier_that_is_no_number_is_no_guarantee(z):
    assert epsilon_of((Executed(EVERYBODY, (gaussian(z),), 1),), DELTA) == math.inf


@pytest.mark.parametrize("z", [1e-200, 1e-12, 1e-3, 1e12, 1e200])
@pytest.mark.parametrize("event", [EVERYBODY, POISSON, UNIFORM])
@pytest.mark.parametrize("accountant", ["pld", "rdp"])
def test_absurd_noise_has_a_number_and_no_crash(z, event, accountant):
    found = cost((event, [gaussian(z)], 3), accountant=accountant)
    assert found >= 0
    assert (found > 100) == (z < 1)


def test_no_rounds_reveal_nothing():
    assert epsilon_of((), DELTA) == 0


# ------------------------------------------------------------------------- delta


@pytest.mark.parametrize("delta", [0.0, -1e-6, 1 / 943, 0.5, 1.0, math.nan, math.inf])
def test_a_delta_that_promises_nothing_is_refused(delta):
    with pytest.raises(UserError, match="below 1/943"):
        cost_at(delta)


def test_a_delta_below_the_tail_of_the_noise_is_refused():
    with pytest.raises(UserError, match="float32"):
        cost_at(9e-9)
    assert cost_at(1e-8) > 0


def cost_at(delta):
    return epsilon_of(ledger_of((EVERYBODY, [gaussian(6.0)], 1)), delta)


def test_the_smallest_population_of_a_ledger_bounds_delta():
    small = SamplingEvent("all", 5, 5.0, 5)
    with pytest.raises(UserError, match="below 1/5"):
        epsilon_of(ledger_of((EVERYBODY, [gaussian(6)], 1), (small, [gaussian(6)], 1)), 0.2)


@pytest.mark.parametrize("num_clients", [2, 943, 6_040, 100_000, 10_000_000])
def test_the_default_delta_is_a_good_one(num_clients):
    check_delta(default_delta(num_clients), num_clients)


def test_an_unknown_accountant_is_refused():
    with pytest.raises(UserError, match="choose from pld, rdp"):
        epsilon_of((), DELTA, accountant="prv")


# -------------------------------------------------------------------- properties


EVENTS = st.sampled_from([EVERYBODY, POISSON, UNIFORM, QUEUE, GROUPS, UNKNOWN])


@settings(max_examples=25)
@given(EVENTS, st.floats(0.8, 20), st.integers(1, 60), st.integers(1, 60))
def test_more_rounds_cost_more_and_more_noise_costs_less(event, z, rounds, more):
    base = cost((event, [gaussian(z)], rounds))
    slip = 1e-4 * base + 1e-6  # losses lie on a grid
    assert cost((event, [gaussian(z)], rounds + more)) >= base - slip
    assert cost((event, [gaussian(z * 1.1)], rounds)) <= base + slip


@pytest.mark.slow
@settings(max_examples=8)
@given(st.floats(0.8, 5), st.integers(1, 60), st.floats(1, 800), st.floats(1, 100))
def test_larger_cohorts_cost_more_and_the_tight_number_is_the_smaller(z, rounds, size, more):
    ledgers = [
        ledger_of((SamplingEvent("poisson", 943, m, 943), [gaussian(z)], rounds))
        for m in (size, size + more)
    ]
    small, large = (epsilon_of(ledger, DELTA) for ledger in ledgers)
    assert small <= large * 1.0001 + 1e-6
    assert small <= epsilon_of(ledgers[0], DELTA, accountant="rdp") + 1e-6
