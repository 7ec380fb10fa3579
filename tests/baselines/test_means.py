"""Means of ratings against plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.base import Fixed
from fedjax_rec.baselines import rating_means
from fedjax_rec.data import client_data, from_events, hold_out
from fedjax_rec.evaluation.personal import scores_of
from fedjax_rec.simulation import Execution, build, pad_cohort

NUM_USERS = 7
RNG = np.random.default_rng(4)
USERS = np.append(np.arange(NUM_USERS), RNG.integers(0, NUM_USERS, 60))
ITEMS = np.append(np.arange(NUM_USERS), RNG.integers(0, 9, 60))  # with repeats
EVENTS = from_events(USERS, ITEMS, values=RNG.integers(1, 6, len(USERS)))
TRAIN = hold_out(EVENTS, "ratio", validation="none", share=0.2, repeats="keep")


def predicted(cohort, **damping):
    """`[N, I]` what is predicted after one round of a cohort."""
    algorithm = rating_means(EVENTS.num_items, **damping)
    engine, data = build(algorithm, Execution(chunk_size=3)), client_data(TRAIN)
    state, clients, frozen = engine.init(jax.random.key(0), NUM_USERS)
    fixed = Fixed(frozen, data)
    state, clients, _ = jax.jit(engine.step)(state, clients, pad_cohort(cohort, NUM_USERS), fixed)
    ids = jnp.arange(NUM_USERS)
    return np.asarray(scores_of(algorithm, state, clients, fixed)(data.classes[0], ids, ids))


@pytest.mark.parametrize("cohort", [range(NUM_USERS), [5, 2]], ids=str)
@pytest.mark.parametrize("damping", [(25.0, 10.0), (0.0, 0.0)])
def test_biases_equal_plain_loops(cohort, damping):
    train = TRAIN.train
    rated = [*zip(train.users, train.items, train.values.astype(float), strict=True)]
    counted = [one for one in rated if one[0] in cohort]
    mu = np.mean([r for _, _, r in counted])
    b = np.zeros(EVENTS.num_items)
    for item in range(EVENTS.num_items):
        errors = [r - mu for _, i, r in counted if i == item]
        b[item] = sum(errors) / max(damping[0] + len(errors), 1)
    expected = np.zeros((NUM_USERS, EVENTS.num_items))
    for user in range(NUM_USERS):
        errors = [r - mu - b[i] for u, i, r in rated if u == user]
        expected[user] = mu + b + sum(errors) / max(damping[1] + len(errors), 1)
    got = predicted(np.array(cohort, np.int32), item_damping=damping[0], user_damping=damping[1])
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


def test_damped_without_end_only_the_mean_is_left():
    got = predicted(np.arange(NUM_USERS, dtype=np.int32), item_damping=1e9, user_damping=1e9)
    np.testing.assert_allclose(got, TRAIN.train.values.mean(), rtol=0, atol=1e-5)


def test_a_cohort_of_nobody_predicts_finite_values():
    assert np.isfinite(predicted(np.array([], np.int32))).all()


@pytest.mark.parametrize("name", ["item_damping", "user_damping"])
def test_negative_damping_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 0 and finite, got -1"):
        rating_means(5, **{name: -1.0})
