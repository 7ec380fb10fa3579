"""CoLR: a round against plain loops in float64, and the rank of what moves."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_rec.algorithms import colr, fedopt
from fedjax_rec.base import PREPARE, Entry, Fixed, LengthClass, derive_key
from fedjax_rec.data import load
from fedjax_rec.simulation import Execution, build, pad_cohort
from fedjax_rec.testing import assert_same_movement
from fedjax_rec.transforms import mean

DATA = load("synthetic", num_users=8, num_items=45, mean_events=10, seed=3)
LONGEST = LengthClass.covering(DATA.clients.classes)
DIM, RATE, DECAY, COHORT = 6, 0.4, 0.05, [6, 1, 3]


def make(rank):
    return colr(
        DATA.num_items,
        dim=DIM,
        rank=rank,
        num_negatives=2,
        batch_size=8,
        learning_rate=RATE,
        weight_decay=DECAY,
    )


@cache
def start(rank=2):
    init = jax.jit(build(make(rank)).init, static_argnums=1)
    state, clients, frozen = init(jax.random.key(4), DATA.num_clients)
    return state._replace(round=jnp.int32(5)), clients, Fixed(frozen, DATA.clients)


@cache
def round_of(rank):
    state, clients, fixed = start()
    step = jax.jit(build(make(rank), Execution(chunk_size=2)).step)
    return step(state, clients, pad_cohort(COHORT, DATA.num_clients), fixed)


def basis_of(rank):
    state, _, _ = start()
    entry = Entry(jnp.int32(0), jnp.int32(0), jnp.bool_(True))
    _, extra = make(rank).broadcast(state, entry, {})
    return np.asarray(extra.dense, np.float64)


def examples_of(client):
    state, _, fixed = start()
    objective = make(2).objective
    key = derive_key(state.key, 5, client, PREPARE)
    rows, plan = objective.prepare(key, fixed.data.history(client, LONGEST))
    for number in range(int(objective.num_steps(plan))):
        batch = objective.batch(plan, jnp.int32(number))
        ids = batch.inputs.ids if rows["item"] is None else rows["item"][batch.inputs.ids]
        yield np.asarray(ids)[batch.is_valid], np.asarray(batch.label)[batch.is_valid]


def train(table, user, span, examples):
    """Means by row and by user of single examples' gradients, on the factor."""
    rank = len(span)
    factor, user = np.zeros((len(table), rank)), user.copy()
    orthonormal = span * np.sqrt(rank / DIM)
    for ids, labels in examples:
        by_row, by_user = {}, []
        for item, label in zip(ids, labels, strict=True):
            row = table[item] + factor[item] @ span
            error = 1 / (1 + np.exp(-row @ user)) - label
            by_row.setdefault(item, []).append(error * user + 2 * DECAY * row)
            by_user.append(error * row + 2 * DECAY * user)
        for item, gradients in by_row.items():
            factor[item] -= RATE * np.mean(gradients, axis=0) @ orthonormal.T
        user -= RATE * np.mean(by_user, axis=0)
    return factor, user


@pytest.mark.parametrize("rank", [1, 2, DIM])
def test_a_round_equals_plain_loops(rank):
    state, clients, _ = start()
    new_state, new_clients, _ = round_of(rank)
    span = basis_of(rank)
    np.testing.assert_allclose(span @ span.T, DIM / rank * np.eye(rank), atol=1e-5)
    table = np.asarray(state.shared.rows["item"], np.float64)
    total, count = np.zeros((len(table), rank)), np.zeros(len(table))
    for client in COHORT:
        user = np.asarray(clients.private.dense[client], np.float64)
        factor, user = train(table, user, span, examples_of(client))
        total, count = total + factor, count + factor.any(axis=1)
        np.testing.assert_allclose(new_clients.private.dense[client], user, atol=1e-5)
    expected = table + total / np.maximum(count, 1)[:, None] @ span
    np.testing.assert_allclose(new_state.shared.rows["item"], expected, atol=1e-5)


def test_of_full_rank_and_by_single_examples_it_is_federated_averaging():
    """A square orthonormal basis only rotates; means over one example are the example."""
    options = {"num_negatives": 2, "batch_size": 1, "local_epochs": 1}
    low_rank = colr(
        DATA.num_items, dim=DIM, rank=DIM, learning_rate=RATE, weight_decay=0.0, **options
    )
    averaging = fedopt(low_rank.model, low_rank.objective, optax.sgd(RATE), aggregate=mean("row"))
    state, clients, fixed = start(DIM)
    cohort = pad_cohort(COHORT, DATA.num_clients)
    (one, own, _), (other, vectors, _) = (
        jax.jit(build(algorithm).step)(state, clients, cohort, fixed)
        for algorithm in (low_rank, averaging)
    )
    assert_same_movement(state.shared, other.shared, one.shared, "the limit", 1e-5)
    assert_same_movement(clients.private, vectors.private, own.private, "the limit", 1e-5)


@pytest.mark.parametrize("rank", [1, 2])
def test_the_table_moves_by_a_matrix_of_that_rank(rank):
    state, _, _ = start()
    moved = np.asarray(round_of(rank)[0].shared.rows["item"] - state.shared.rows["item"])
    singular = np.linalg.svd(moved, compute_uv=False)
    assert singular[rank - 1] > 1e-3
    assert singular[rank] < 1e-6


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ValueError, match="rank"):
        colr(5, dim=4, rank=5)
