"""Canary clients in real runs: what the audit of a claim finds, and what it must not touch."""

import math
import sys
from dataclasses import replace

import dp_accounting
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_privacy import auditing

from fedjax_rec.algorithms import fedmf
from fedjax_rec.attacks import canaries_of, epsilon_lower_bound, with_canaries
from fedjax_rec.attacks.canaries import _direction
from fedjax_rec.base import AggregateTransform, Message, Part
from fedjax_rec.data import load
from fedjax_rec.errors import UserError
from fedjax_rec.simulation import CheckpointPlan, EvaluationPlan, Execution, build, simulate
from fedjax_rec.testing.suite import check_transform
from fedjax_rec.transforms import chain, clip_by_norm, gaussian_noise, mean, total

CLIP, DELTA, ROUNDS, EXPECTED_SIZE = 0.5, 1e-5, 3, 30.0
CLAIM = 4.0
NOISE = dp_accounting.get_sigma_gaussian(CLAIM, DELTA) * math.sqrt(ROUNDS)
"""Everybody takes part in every round: all rounds together are one Gaussian mechanism."""

DATA = load("synthetic", num_users=30, num_items=4000, mean_events=8.0)


def audited(*noise, num_canaries=2000, **options):
    links = [clip_by_norm(CLIP), mean(divisor=EXPECTED_SIZE), *noise]
    aggregate = with_canaries(chain(*links), num_canaries, 1.0, **options)
    return fedmf(DATA.num_items, dim=16, aggregate=aggregate)


def run(algorithm, seed, **options):
    options = {"rounds": ROUNDS, "evaluation": EvaluationPlan(every=ROUNDS)} | options
    options = {"notice": lambda line: None, "execution": Execution()} | options
    return simulate(algorithm, DATA, key=jax.random.key(seed), **options)


def bound_of(algorithm, seed):
    canaries = canaries_of(run(algorithm, seed).state.aggregate_state)
    return epsilon_lower_bound(canaries.scores, canaries.included, delta=DELTA)


# ------------------------------------------------------------------------- the bound


def test_a_claim_holds_with_its_noise_and_fails_without():
    assert 0 < bound_of(audited(gaussian_noise(NOISE), num_canaries=300), 0) <= CLAIM
    assert bound_of(audited(num_canaries=300), 0) > CLAIM


@pytest.mark.slow
def test_no_false_alarm_in_twenty_runs():
    algorithm = audited(gaussian_noise(NOISE))
    bounds = [bound_of(algorithm, seed) for seed in range(20)]
    assert max(bounds) <= CLAIM
    assert np.mean(bounds) > 1  # it sees something
    assert bound_of(audited(), 0) > CLAIM


@pytest.mark.slow
def test_noise_of_a_tenth_is_caught():
    assert bound_of(audited(gaussian_noise(NOISE / 10)), 0) > CLAIM


@pytest.mark.slow
def test_a_clip_that_is_skipped_is_caught_by_canaries_above_the_bound():
    noisy = gaussian_noise(NOISE)
    unclipped = AggregateTransform(bound=clip_by_norm(CLIP).bound)  # says that it clips
    aggregate = chain(unclipped, mean(divisor=EXPECTED_SIZE), noisy)
    lying = fedmf(DATA.num_items, dim=16, aggregate=with_canaries(aggregate, 2000, 1.0, scale=10.0))
    assert bound_of(audited(noisy, scale=10.0), 1) <= CLAIM
    assert bound_of(lying, 1) > CLAIM


def scores(num, share_right):
    """Scores of 0 and 1 that are right so often."""
    coins = np.arange(num) % 2 == 0
    wrong = np.arange(num) // 2 < round((1 - share_right) * num / 2)
    return (coins ^ wrong).astype(float), coins


def test_nothing_known_bounds_nothing_and_more_canaries_bound_more():
    found = {
        (num, share): epsilon_lower_bound(*scores(num, share), delta=DELTA)
        for num in (100, 1000)
        for share in (0.5, 0.9, 1.0)
    }
    assert found[1000, 0.5] == found[100, 0.5] == 0
    assert 0 < found[100, 0.9] < found[1000, 0.9] < found[1000, 1.0]
    assert found[100, 1.0] < found[1000, 1.0]


@pytest.mark.parametrize(("num", "expected"), [(1000, 5.809), (100, 3.493)])
def test_the_pure_bound_of_the_same_library_is_the_closed_form(num, expected):
    """All of n guesses right: the largest epsilon with `sigmoid(epsilon)^n <= 0.05`."""
    share = 0.05 ** (1 / num)
    closed = math.log(share / (1 - share))
    assert closed == pytest.approx(expected, abs=1e-3)
    # half of twice as many coins are guessed to be in
    values, coins = scores(2 * num, 1.0)
    auditor = auditing.CanaryScoreAuditor(values[coins], values[~coins])
    threshold = auditing.Explicit(0.5)
    found = auditor.epsilon_one_run(0.05, 1e-12, threshold_strategy=threshold)
    assert found == pytest.approx(closed, abs=1e-3)


def test_coins_that_fell_alike_and_a_missing_library_are_told(monkeypatch):
    with pytest.raises(UserError, match="more canaries"):
        epsilon_lower_bound([1.0, 2.0], [True, True], delta=DELTA)
    monkeypatch.setitem(sys.modules, "jax_privacy.auditing", None)
    with pytest.raises(UserError, match=r"fedjax-rec\[privacy\]"):
        epsilon_lower_bound([1.0, 2.0], [True, False], delta=DELTA)


# ----------------------------------------------------------------- canaries in a round

TABLE = Part({"item": jnp.zeros((300, 8))}, {"head": jnp.zeros(5)})
SIZE = 300 * 8 + 5


def flat(update):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(update)]).astype(np.float64)


def decoded(aggregate, rounds=1, seed=0):
    """What is released of empty rounds, and the state after them."""
    state = aggregate.init(jax.random.key(seed), TABLE)
    empty = Message(TABLE, jnp.float32(0), {}, {})
    released, decode = [], jax.jit(aggregate.decode)
    for number in range(rounds):
        key = jax.random.key(1000 + number)
        message, state = decode(key, empty, state, jnp.float32(jnp.inf))
        released.append(flat(message.update))
    return np.array(released), state


def directions(state):
    canaries = range(state.scores.size)
    return np.array([_direction(state, jnp.int32(each), SIZE) for each in canaries], np.float64)


def test_directions_are_unit_vectors_that_hardly_meet():
    found = directions(decoded(with_canaries(chain(clip_by_norm(1.0), total()), 24, 1.0))[1])
    products = found @ found.T
    assert np.diag(products) == pytest.approx(np.ones(24), abs=1e-6)
    off = products[~np.eye(24, dtype=bool)]
    assert np.abs(off).max() < 5 / np.sqrt(SIZE)
    assert np.std(off) == pytest.approx(1 / np.sqrt(SIZE), rel=0.25)
    assert abs(found.mean()) * np.sqrt(SIZE) < 5 / np.sqrt(24 * SIZE)


def test_a_round_releases_the_bound_times_the_directions_of_who_is_in():
    aggregate = with_canaries(chain(clip_by_norm(CLIP), total()), 24, 1.0)
    released, state = decoded(aggregate, rounds=2)
    is_in, found = np.asarray(state.included), directions(state)
    assert 4 < is_in.sum() < 20
    expected = CLIP * found[is_in].sum(axis=0)
    assert released == pytest.approx(np.stack([expected, expected]), abs=1e-5)
    assert state.scores == pytest.approx(2 * found @ expected, abs=1e-4)


def test_canaries_are_sampled_as_clients_are_and_their_coins_are_fair():
    aggregate = with_canaries(chain(clip_by_norm(1.0), total()), 40, 0.25)
    released, state = decoded(aggregate, rounds=60)
    found, is_in = directions(state), np.asarray(state.included)
    # their directions hardly meet, so least squares tells who was there
    present = np.linalg.lstsq(found.T, released.T, rcond=None)[0].T > 0.5
    assert not present[:, ~is_in].any()
    rate = present[:, is_in].mean()
    assert abs(rate - 0.25) < 4 * np.sqrt(0.25 * 0.75 / (60 * is_in.sum()))
    coins = [decoded(aggregate, 0, seed)[1].included for seed in range(50)]
    assert abs(np.mean(coins) - 0.5) < 4 * 0.5 / np.sqrt(50 * 40)


def test_canaries_above_the_bound_are_clipped():
    released = [
        decoded(with_canaries(chain(clip_by_norm(CLIP), total()), 24, 1.0, scale=scale))[0]
        for scale in (1.0, 100.0)
    ]
    assert released[0] == pytest.approx(released[1], abs=1e-5)


def test_the_noise_is_the_runs_own():
    """What is released with canaries less what they sent is what is released without."""
    noisy = chain(clip_by_norm(CLIP), mean(divisor=10.0), gaussian_noise(1.0))
    with_them, state = decoded(with_canaries(noisy, 24, 1.0))
    empty = Message(TABLE, jnp.float32(0), {}, {})
    state_without = noisy.init(jax.random.key(0), TABLE)
    without, _ = noisy.decode(jax.random.key(1000), empty, state_without, jnp.float32(jnp.inf))
    sent = CLIP / 10 * directions(state)[np.asarray(state.included)].sum(axis=0)
    assert with_them[0] - sent == pytest.approx(flat(without.update), abs=1e-5)


def test_a_transform_with_canaries_keeps_the_contract_of_transforms():
    check_transform(with_canaries(chain(clip_by_norm(1.0), mean(divisor=5.0)), 4, 0.5))


@pytest.mark.parametrize(
    ("aggregate", "arguments", "complaint"),
    [
        (mean(), (10, 0.5), "put a clip in the chain"),
        (AggregateTransform(is_stacked=True), (10, 0.5), "one by one"),
        (clip_by_norm(1.0), (1, 0.5), "at least 2"),
        (clip_by_norm(1.0), (10, 0.0), "probability"),
        (clip_by_norm(1.0), (10, 1.5), "probability"),
    ],
)
def test_what_cannot_be_audited_is_refused(aggregate, arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        with_canaries(aggregate, *arguments)


def test_an_aggregate_without_canaries_has_none():
    with pytest.raises(ValueError, match="one CanaryState"):
        canaries_of(((), ()))


# ------------------------------------------------------------------- canaries in a run


@pytest.mark.slow
def test_a_run_whose_canaries_all_stay_out_is_as_it_was():
    plain = chain(clip_by_norm(CLIP), mean(divisor=EXPECTED_SIZE), gaussian_noise(1.0))
    general = replace(plain, scaling="no")  # canaries are not streamed
    audited = with_canaries(plain, 2, 1.0)
    init = jax.jit(build(fedmf(DATA.num_items, dim=2, aggregate=audited)).init, static_argnums=1)

    def is_nobody_in(seed):
        state, *_ = init(jax.random.key(seed), DATA.num_clients)
        return not canaries_of(state.aggregate_state).included.any()

    seed = next(seed for seed in range(100) if is_nobody_in(seed))
    tables = [
        np.asarray(
            run(fedmf(DATA.num_items, dim=2, aggregate=each), seed, rounds=2).state.shared.rows[
                "item"
            ]
        )
        for each in (general, audited)
    ]
    assert np.array_equal(*tables)


@pytest.mark.slow
def test_an_audit_that_was_stopped_goes_on_to_the_same_scores(tmp_path):
    algorithm = audited(gaussian_noise(1.0), num_canaries=50)
    options = {"checkpoint": CheckpointPlan(every=1), "evaluation": EvaluationPlan(every=1)}
    whole = run(algorithm, 0, rounds=4, **options)
    run(algorithm, 0, rounds=2, output=tmp_path, **options)
    resumed = run(algorithm, 0, rounds=4, output=tmp_path, **options)
    assert resumed.first_round == 2
    first, second = (canaries_of(one.state.aggregate_state) for one in (whole, resumed))
    assert int(second.round) == 4
    assert np.array_equal(first.scores, second.scores)


@pytest.mark.slow
def test_devices_change_no_score():
    algorithm = audited(num_canaries=50)
    one, two = (
        canaries_of(run(algorithm, 0, execution=Execution(num_devices=n)).state.aggregate_state)
        for n in (1, 2)
    )
    assert np.allclose(one.scores, two.scores, atol=1e-5)
