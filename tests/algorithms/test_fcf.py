"""FCF: a round against the textbook formulas with a dense confidence matrix, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_rec.algorithms import fcf
from fedjax_rec.base import Fixed, LengthClass
from fedjax_rec.data import client_data
from fedjax_rec.data.interactions import from_events
from fedjax_rec.data.splits import HeldOut, Split
from fedjax_rec.errors import UserError
from fedjax_rec.evaluation.personal import scores_of
from fedjax_rec.simulation import Execution, build, pad_cohort
from fedjax_rec.transforms import mean, total

NUM_CLIENTS, NUM_ITEMS, DIM, ALPHA, LAMBDA, RATE = 6, 12, 3, 2.5, 0.7, 0.05
COHORT = [4, 0, 3, 1]


def events():
    """Ratings 1 to 5; client 0 meets an item three times."""
    rng = np.random.default_rng(1)
    users = np.repeat(np.arange(NUM_CLIENTS), [5, 3, 1, 7, 2, 4])
    items = np.concatenate([rng.permutation(NUM_ITEMS)[: (users == u).sum()] for u in range(6)])
    items[:3] = items[0]
    return users, items, rng.integers(1, 6, len(users)).astype(float)


def data():
    users, items, values = events()
    everything = np.arange(NUM_ITEMS)  # client 9 makes every item known, and is cut off
    with_all = from_events(
        np.append(users, 0 * everything + 9),
        np.append(items, everything),
        np.append(values, 1.0 + 0 * everything),
    )
    nothing = HeldOut(np.full((NUM_CLIENTS + 1, 1), NUM_ITEMS, np.int32))
    split = Split(with_all, nothing, nothing, "none", "hash", 0)
    return client_data(split)


def make(dim=DIM, **options):
    return fcf(NUM_ITEMS, dim=dim, init_stddev=0.6, alpha=ALPHA, regularization=LAMBDA, **options)


def start(dim=DIM):
    init = jax.jit(build(make(dim)).init, static_argnums=1)
    state, clients, frozen = init(jax.random.key(2), NUM_CLIENTS + 1)
    return state, clients, Fixed(frozen, data())


STRENGTHS = {
    "value": lambda r: r,
    "log": np.log1p,
    "one": lambda r: (r > 0).astype(float),
    "share": lambda r: NUM_ITEMS * (r > 0) / (r > 0).sum(axis=1, keepdims=True),
}


def matrices(kind="value"):
    """`[N, I]` preferences and confidences."""
    strength = np.zeros((NUM_CLIENTS, NUM_ITEMS))
    for user, item, value in zip(*events(), strict=True):
        strength[user, item] += value
    return (strength > 0).astype(float), 1 + ALPHA * STRENGTHS[kind](strength)


def solve(table, client, kind="value"):
    preference, confidence = (matrix[client] for matrix in matrices(kind))
    weighed = table.T * confidence
    return np.linalg.solve(weighed @ table + LAMBDA * np.eye(table.shape[1]), weighed @ preference)


@pytest.mark.parametrize("dim", [DIM, 16])  # fewer numbers than the clients have items, and more
@pytest.mark.parametrize("strength", STRENGTHS)
def test_a_round_equals_the_formulas(strength, dim):
    algorithm = make(dim, server_optimizer=optax.sgd(RATE), strength=strength)
    state, clients, fixed = start(dim)
    step = jax.jit(build(algorithm, Execution(chunk_size=3)).step)
    new_state, new_clients, info = step(state, clients, pad_cohort(COHORT, 7), fixed)
    table = np.asarray(state.shared.rows["item"], np.float64)
    preference, confidence = matrices(strength)
    gradient, cost = 2 * LAMBDA * table, 0.0
    for client in COHORT:
        user = solve(table, client, strength)
        error = preference[client] - table @ user
        gradient -= 2 * np.outer(confidence[client] * error, user)
        cost += confidence[client] @ error**2 + LAMBDA * user @ user
        np.testing.assert_allclose(new_clients.private.dense[client], user, atol=1e-5)
    np.testing.assert_allclose(new_state.shared.rows["item"], table - RATE * gradient, atol=1e-5)
    assert float(info["loss"].total) == pytest.approx(cost, rel=1e-5)


def test_the_gradient_is_that_of_the_cost():
    """The formula of the paper against autodiff of the cost that it is derived from."""
    state, clients, fixed = start()
    step = jax.jit(build(make(server_optimizer=optax.sgd(1.0)), Execution()).step)
    cohort = list(range(NUM_CLIENTS))
    new_state, new_clients, _ = step(state, clients, pad_cohort(cohort, 7), fixed)
    preference, confidence = map(jnp.asarray, matrices())

    def cost(table):
        error = preference - new_clients.private.dense[:NUM_CLIENTS] @ table.T
        return jnp.sum(confidence * error**2) + LAMBDA * jnp.sum(table**2)

    table = state.shared.rows["item"]
    np.testing.assert_allclose(
        table - new_state.shared.rows["item"], jax.grad(cost)(table), rtol=1e-4, atol=1e-3
    )


def test_clients_are_scored_by_what_they_solve_on_the_table_as_it_stands():
    state, clients, fixed = start()
    slots = jnp.arange(NUM_CLIENTS)
    longest = LengthClass.covering(fixed.data.classes)
    found = scores_of(make(), state, clients, fixed)(longest, slots, slots)
    table = np.asarray(state.shared.rows["item"], np.float64)
    expected = np.stack([table @ solve(table, client) for client in range(NUM_CLIENTS)])
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ValueError, match="regularization"):
        fcf(5, regularization=0.0)
    with pytest.raises(
        ValueError, match="strength must be one of value, log, one, share, got 'many'"
    ):
        fcf(5, strength="many")


def test_a_mean_by_row_is_refused_because_own_items_would_weigh_more():
    state, clients, fixed = start()
    step = jax.jit(build(make(aggregate=mean("row")), Execution()).step)
    with pytest.raises(UserError, match=r"set aggregate\.mean to sum or client"):
        step(state, clients, pad_cohort(COHORT, 7), fixed)


def test_a_mean_by_client_is_the_sum_over_their_number():
    state, clients, fixed = start()
    moved = [
        jax.jit(build(make(aggregate=link, server_optimizer=optax.sgd(rate)), Execution()).step)(
            state, clients, pad_cohort(COHORT, 7), fixed
        )[0]
        .shared.rows["item"]
        .astype(float)
        for link, rate in ((mean("client"), 4.0), (total(), 1.0))
    ]
    table = state.shared.rows["item"]
    pulls = [8 * LAMBDA, 2 * LAMBDA]  # the regularisation is the server's, and is in no mean
    by_client, by_sum = (new - table + pull * table for new, pull in zip(moved, pulls, strict=True))
    np.testing.assert_allclose(by_client, by_sum, rtol=1e-3, atol=1e-4)
