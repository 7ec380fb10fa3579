"""Pooled training against one step written out, and the examples of the federated round."""

from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_rec.algorithms import fedmf
from fedjax_rec.algorithms.pfedrec import pfedrec
from fedjax_rec.base import PREPARE, Fixed, LengthClass, Sampler, derive_key
from fedjax_rec.baselines import bpr_mf, centralised, gmf, popularity
from fedjax_rec.baselines.centralised import _events, _pooled_examples, pooled
from fedjax_rec.data import load
from fedjax_rec.evaluation.personal import scores_of
from fedjax_rec.models import matrix_factorization
from fedjax_rec.objectives import ratings
from fedjax_rec.simulation import build, pad_cohort

KEY = jax.random.key(7)
DATA = load("synthetic", num_users=11, num_items=50, mean_events=12, seed=4)
EVERYONE = pad_cohort(np.arange(DATA.num_clients), DATA.num_clients)


def trained(algorithm: Any, rounds: int = 1, cohort: Any = EVERYONE) -> Any:
    engine = build(algorithm)
    state, clients, frozen = jax.jit(engine.init, static_argnums=1)(KEY, DATA.num_clients)
    fixed, step, start = Fixed(frozen, DATA.clients), jax.jit(engine.step), state
    for _ in range(rounds):
        state, clients, _ = step(state, clients, cohort, fixed)
    return start, state, clients, fixed


def federated_examples(round: int, objective: Any) -> Counter[tuple[int, int, float]]:
    """What every client would draw in a round, as its objective draws it."""
    drawn: Counter[tuple[int, int, float]] = Counter()
    length = LengthClass.covering(DATA.clients.classes)
    for client in range(DATA.num_clients):
        history = DATA.clients.history(jnp.int32(client), length)
        rows, plan = objective.prepare(derive_key(KEY, round, client, PREPARE), history)
        for step in range(int(objective.num_steps(plan))):
            examples = objective.batch(plan, jnp.int32(step))
            ids = examples.inputs.ids
            items = ids if rows["item"] is None else rows["item"][ids]
            for item, label, is_valid in zip(
                items.tolist(), examples.label.tolist(), examples.is_valid.tolist(), strict=True
            ):
                drawn[client, item, label] += is_valid
    return +drawn


def pooled_examples(state: Any, sampler: Sampler) -> Counter[tuple[int, int, float]]:
    longest = LengthClass.covering(DATA.clients.classes)
    draw = _pooled_examples(sampler, _events(DATA.clients), state, longest)
    num_events = DATA.clients.items.shape[0]
    drawn: Counter[tuple[int, int, float]] = Counter()
    for epoch in range(sampler.local_epochs):
        clients, items, examples = draw(jnp.arange(num_events + 3), jnp.int32(epoch))
        whose = np.repeat(np.asarray(clients), items.shape[1])
        for client, item, label, is_valid in zip(
            whose.tolist(),
            items.ravel().tolist(),
            examples.label.tolist(),
            examples.is_valid.tolist(),
            strict=True,
        ):
            drawn[client, item, label] += is_valid
    return +drawn


@pytest.mark.parametrize("num_negatives", [1, 4, 30])
def test_the_examples_are_those_of_the_federated_round(num_negatives: int) -> None:
    algorithm = fedmf(DATA.num_items, dim=2, num_negatives=num_negatives, local_epochs=2)
    _, state, *_ = trained(centralised(algorithm, DATA.clients))
    sampler = algorithm.objective.sampler
    assert sampler is not None
    assert pooled_examples(state, sampler) == federated_examples(1, algorithm.objective)


def test_a_step_of_everything_is_a_step_down_the_mean_loss() -> None:
    """One batch holds all examples, so that their order does not matter: NumPy, float64."""
    rate, algorithm = 3.0, fedmf(DATA.num_items, dim=3)
    twin = centralised(algorithm, DATA.clients, optimizer=optax.sgd(rate), batch_size=10**6)
    start, state, *_ = trained(twin)
    table = np.asarray(start.shared.rows["item"], np.float64)
    users = np.asarray(start.extra.dense.users, np.float64)
    to_table, to_users = np.zeros_like(table), np.zeros_like(users)
    examples = federated_examples(0, algorithm.objective)
    for (user, item, label), times in examples.items():
        slope = times * (1 / (1 + np.exp(-users[user] @ table[item])) - label)
        to_table[item] += slope * users[user]
        to_users[user] += slope * table[item]
    size = examples.total()
    np.testing.assert_allclose(
        state.shared.rows["item"], table - rate * to_table / size, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(
        state.extra.dense.users, users - rate * to_users / size, rtol=1e-4, atol=1e-6
    )


def test_a_step_of_all_ratings_is_a_step_down_their_mean_squared_error() -> None:
    rate, objective = 0.3, ratings(DATA.num_items, local_epochs=2)
    model = matrix_factorization(DATA.num_items, 3, init_stddev=0.3)
    twin = pooled(model, objective, DATA.clients, optax.sgd(rate), batch_size=10**6)
    start, state, *_ = trained(twin)
    table = np.asarray(start.shared.rows["item"], np.float64)
    users = np.asarray(start.extra.dense.users, np.float64)
    data = DATA.clients
    events = list(zip(start.extra.dense.events.clients, data.items, data.values, strict=True))
    for _ in range(2):
        to_table, to_users = np.zeros_like(table), np.zeros_like(users)
        for user, item, value in events:
            slope = 2 * (users[user] @ table[item] - float(value))
            to_table[item] += slope * users[user]
            to_users[user] += slope * table[item]
        table, users = (
            old - rate * slope / len(events)
            for old, slope in ((table, to_table), (users, to_users))
        )
    np.testing.assert_allclose(state.shared.rows["item"], table, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(state.extra.dense.users, users, rtol=1e-4, atol=1e-6)


def test_clients_are_scored_with_their_own_row() -> None:
    twin = centralised(fedmf(DATA.num_items, dim=3), DATA.clients)
    _, state, clients, fixed = trained(twin)
    ids = jnp.arange(DATA.num_clients)
    length = LengthClass.covering(DATA.clients.classes)
    scores = scores_of(twin, state, clients, fixed)(length, ids, ids)
    expected = state.extra.dense.users @ state.shared.rows["item"].T
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


def test_the_cohort_does_not_matter() -> None:
    twin = centralised(fedmf(DATA.num_items, dim=3), DATA.clients, batch_size=30)
    few = pad_cohort(np.array([4]), DATA.num_clients)
    for one, two in zip(
        jax.tree.leaves(trained(twin)[1].shared),
        jax.tree.leaves(trained(twin, cohort=few)[1].shared),
        strict=True,
    ):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("batch_size", [1, 7, 10**6])
def test_any_batch_will_do(batch_size: int) -> None:
    twin = gmf(DATA.num_items, data=DATA.clients, dim=2, batch_size=batch_size)
    _, state, *_ = trained(twin)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.shared))


def test_batches_of_ratings_reach_everyone_once_an_epoch() -> None:
    """Users' steps on a frozen table add up: every rating came once, padding never."""
    still = matrix_factorization(DATA.num_items, 2, init_stddev=0.5)
    rate, fixed_table = 1e-5, optax.partition({0: optax.set_to_zero(), 1: optax.sgd(1e-5)}, (0, 1))
    twins = (
        pooled(still, ratings(DATA.num_items), DATA.clients, optimizer, batch_size=size)
        for optimizer, size in ((fixed_table, 1), (fixed_table, 10**6))
    )
    (start, one_by_one, *_), (_, at_once, *_) = (trained(twin) for twin in twins)
    users = start.extra.dense.users
    moved, mean_moved = (
        np.asarray(state.extra.dense.users - users) for state in (one_by_one, at_once)
    )
    size = DATA.clients.items.shape[0]
    np.testing.assert_allclose(moved / rate, size * mean_moved / rate, rtol=0.02, atol=0.5)


def test_what_cannot_be_pooled_is_refused() -> None:
    with pytest.raises(ValueError, match="neither sampled nor"):
        centralised(popularity(DATA.num_items), DATA.clients)
    with pytest.raises(ValueError, match="frozen"):
        centralised(pfedrec(DATA.num_items), DATA.clients)
    with pytest.raises(ValueError, match="regularization must be"):
        bpr_mf(DATA.num_items, data=DATA.clients, regularization=-1.0)
