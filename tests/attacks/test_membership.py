"""Membership: plain on an overfitted toy, chance on a model that was never trained."""

import jax
import numpy as np
import pytest

from fedjax_rec.algorithms import fedmf
from fedjax_rec.attacks import area_under_curve, calibrated_loss, loss_threshold, tpr_at_fpr
from fedjax_rec.base import Fixed
from fedjax_rec.data import load
from fedjax_rec.simulation import build, pad_cohort
from fedjax_rec.simulation.uploads import client_losses

NUM_CLIENTS, ROUNDS = 96, 40
IS_MEMBER = np.random.default_rng(0).permutation(NUM_CLIENTS) < NUM_CLIENTS // 2


@pytest.fixture(scope="module")
def found():
    """Losses under the trained and under the untrained model, as the same attacker sees them."""
    data = load("synthetic", num_users=NUM_CLIENTS, num_items=1000, mean_events=15.0)
    algorithm = fedmf(data.num_items, dim=16)
    engine = build(algorithm)
    start, clients, frozen = jax.jit(engine.init, static_argnums=1)(
        jax.random.key(0), data.num_clients
    )
    fixed = Fixed(frozen, data.clients)
    members = pad_cohort(np.flatnonzero(IS_MEMBER), NUM_CLIENTS // 2)
    step, state = jax.jit(engine.step), start
    for _ in range(ROUNDS):
        state, clients, _ = step(state, clients, members, fixed)
    ids = np.arange(NUM_CLIENTS)
    losses = jax.jit(lambda state, key: client_losses(algorithm, state, fixed, ids, key))
    return losses(state, jax.random.key(7)), losses(start, jax.random.key(7))


def test_an_overfitted_model_gives_its_clients_away(found):
    trained, untrained = found
    for scores in (loss_threshold(trained), calibrated_loss(trained, untrained[None])):
        assert area_under_curve(scores, IS_MEMBER) > 0.9
        assert tpr_at_fpr(scores, IS_MEMBER, 0.01) > 0.1


def test_a_model_that_was_never_trained_gives_nobody_away(found):
    area = area_under_curve(loss_threshold(found[1]), IS_MEMBER)
    assert abs(area - 0.5) < 3 * np.sqrt(1 / 12 * 2 / (NUM_CLIENTS / 2))  # three standard errors


def test_calibration_takes_what_is_easy_for_every_model_for_no_member():
    losses, is_member = np.array([0.1, 0.5, 0.2, 0.6]), np.array([False, True, False, True])
    reference = np.array([[0.1, 0.9, 0.2, 1.0], [0.1, 0.7, 0.2, 0.8]])
    assert area_under_curve(loss_threshold(losses), is_member) < 0.5
    assert area_under_curve(calibrated_loss(losses, reference), is_member) == 1
    with pytest.raises(ValueError, match=r"\[K, n\]"):
        calibrated_loss(losses, losses)
