"""Explicit FedMF: a round against the formulas, the cost they descend on, and known limits."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_rec.algorithms import fedavg, fedmf_explicit
from fedjax_rec.base import Fixed
from fedjax_rec.clients import by_role, local_training
from fedjax_rec.data import client_data
from fedjax_rec.data.interactions import from_events
from fedjax_rec.data.splits import HeldOut, Split
from fedjax_rec.models import matrix_factorization
from fedjax_rec.objectives import ratings
from fedjax_rec.simulation import Execution, build, pad_cohort
from fedjax_rec.testing import Subject

NUM_ITEMS, DIM, GAMMA, LAMBDA = 30, 3, 0.03, 0.2
SIZES = [5, 3, 1, 7, 2]
NUM_CLIENTS = len(SIZES) + 1  # the last one has every item and stays away
COHORT = [4, 0, 3, 1]


@cache
def events():
    """`(client, item, rating)` rows; client 0 rates an item three times."""
    rng = np.random.default_rng(1)
    users = np.append(np.repeat(np.arange(5), SIZES), np.full(NUM_ITEMS, 5))
    items = np.concatenate([rng.permutation(NUM_ITEMS)[:size] for size in (*SIZES, NUM_ITEMS)])
    items[:3] = items[0]
    return users, items, rng.integers(1, 6, len(users)).astype(float)


@cache
def data():
    nothing = HeldOut(np.full((NUM_CLIENTS, 1), NUM_ITEMS, np.int32))
    return client_data(Split(from_events(*events()), nothing, nothing, "none", "hash", 0))


def make(**options):
    options = {"learning_rate": GAMMA, "regularization": LAMBDA} | options
    return fedmf_explicit(NUM_ITEMS, dim=DIM, init_stddev=0.6, **options)


@cache
def start():
    init = jax.jit(build(make()).init, static_argnums=1)
    state, clients, frozen = init(jax.random.key(2), NUM_CLIENTS)
    return state, clients, Fixed(frozen, data())


def round_of(algorithm, cohort=COHORT):
    step = jax.jit(build(algorithm, Execution(chunk_size=3)).step)
    state, clients, fixed = start()
    return step(state, clients, pad_cohort(cohort, NUM_CLIENTS), fixed)


def before():
    state, clients, _ = start()
    return (np.asarray(x, np.float64) for x in (state.shared.rows["item"], clients.private.dense))


def rated_by(client):
    return [(item, rating) for user, item, rating in zip(*events(), strict=True) if user == client]


@pytest.mark.parametrize("is_sliced", [True, False])
def test_a_round_equals_the_formulas(is_sliced):
    state, clients, info = round_of(make(is_sliced=is_sliced))
    table, users = before()
    moved, error, count = np.zeros_like(table), 0.0, 0
    for client in COHORT:
        user = users[client]
        pull = sum((rating - user @ table[item]) * table[item] for item, rating in rated_by(client))
        new = user + GAMMA * (pull - LAMBDA * user)
        for item, rating in rated_by(client):
            moved[item] += GAMMA * ((rating - new @ table[item]) * new - LAMBDA * table[item])
            error, count = error + (rating - user @ table[item]) ** 2, count + 1
        users[client] = new
    np.testing.assert_allclose(state.shared.rows["item"], table + moved, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(clients.private.dense, users, rtol=1e-5, atol=1e-6)
    still = ~moved.any(axis=1)
    assert still.any()
    start_table = start()[0].shared.rows["item"]
    np.testing.assert_array_equal(state.shared.rows["item"][still], start_table[still])
    assert float(info["loss"].total) == pytest.approx(error, rel=1e-5)
    assert float(info["loss"].weight) == count


def test_items_descend_on_the_regularised_squared_error():
    """The formula of the paper against autodiff of the cost that it is derived from."""
    new_state, new_clients, _ = round_of(make())
    users, items, values = (
        jnp.asarray(column)[np.isin(events()[0], COHORT)] for column in events()
    )

    def cost(table):
        rows, vectors = table[items], new_clients.private.dense[users]
        error = values - jnp.sum(rows * vectors, axis=1)
        return (jnp.sum(error**2) + LAMBDA * jnp.sum(rows**2)) / 2

    table = start()[0].shared.rows["item"]
    expected = table - GAMMA * jax.grad(cost)(table)
    np.testing.assert_allclose(new_state.shared.rows["item"], expected, rtol=1e-5, atol=1e-6)


def test_one_client_alone_steps_its_vector_and_then_its_items():
    """Local training in turns on the mean squared error, at rates that undo the mean."""
    client = 3
    rate = GAMMA * SIZES[client] / 2
    model = matrix_factorization(NUM_ITEMS, DIM, init_stddev=0.6)
    objective = ratings(NUM_ITEMS)
    turns = [by_role(private=optax.sgd(rate)), by_role(shared=optax.sgd(rate))]
    in_turns = fedavg(model, objective, local_training(model, objective, turns))
    expected = round_of(in_turns, [client])
    found = round_of(make(regularization=0.0), [client])
    for one, other in zip(jax.tree.leaves(found[:2]), jax.tree.leaves(expected[:2]), strict=True):
        if jnp.issubdtype(one.dtype, jnp.floating):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_the_error_of_ratings_falls_far():
    subject = Subject(fedmf_explicit)
    state, clients, fixed = subject.start
    everyone = pad_cohort(np.arange(20), 20)
    losses = []
    for _ in range(40):
        state, clients, info = subject.step(state, clients, everyone, fixed)
        losses.append(info["loss"].mean())
    ratings_of_all = np.asarray(fixed.data.values)
    assert losses[0] > 9, "it starts by predicting nothing"
    assert losses[-1] < 0.5 * ratings_of_all.var(), "no better than the mean of all ratings"


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be in"),
        ({"learning_rate": float("nan")}, "learning_rate must be in"),
        ({"regularization": -0.1}, "regularization must be in"),
        ({"dim": 0}, "dim must be at least 1"),
    ],
    ids=str,
)
def test_numbers_out_of_range_are_refused(option, match):
    with pytest.raises(ValueError, match=match):
        fedmf_explicit(NUM_ITEMS, **option)
