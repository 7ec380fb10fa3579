"""FedRecon on ratings: rounds from Algorithm 1 as plain loops in float64, and what it is asked."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.algorithms import ALGORITHMS, fedopt, fedrecon, recommender
from fedjax_rec.base import PREPARE, TRAIN, Fixed, LengthClass, derive_key
from fedjax_rec.data import client_data, from_events, hold_out
from fedjax_rec.evaluation.personal import scores_of
from fedjax_rec.simulation import Execution, build, pad_cohort
from fedjax_rec.testing import CHECKS, Subject

ROOT, DIM, BATCH = jax.random.key(6), 3, 2
USER_RATE, ITEM_RATE, DENSE_RATE = 0.3, 0.2, 0.1
SIZES = (9, 4, 1, 2, 6)  # 5, 2, 1, 1 and 3 batches
COHORTS = ([0, 1, 2, 4], [3, 4, 0])


def rated_clients():
    rng = np.random.default_rng(8)
    users = np.repeat(np.arange(len(SIZES)), SIZES)
    items = np.concatenate([rng.permutation(12)[:size] for size in SIZES])
    items[users == 0] = [5, 1, 5, 2, 3, 4, 6, 7, 8]  # a repeat
    events = from_events(users, items, values=rng.integers(1, 6, len(users)))
    nothing = hold_out(events, "users", validation="none", share=0.2)  # whose parts are not used
    return client_data(replace(nothing, train=events)), events.num_items


DATA, NUM_ITEMS = rated_clients()
LENGTH = LengthClass.covering(DATA.classes)
PARTS = recommender(
    NUM_ITEMS,
    feedback="explicit",
    dim=DIM,
    init_stddev=0.5,
    batch_size=BATCH,
    user_learning_rate=USER_RATE,
    item_learning_rate=ITEM_RATE,
    dense_learning_rate=DENSE_RATE,
)


def batches(round, client):
    """A client's `(items, ratings)` of each batch of a round, by the objective alone."""
    key = derive_key(ROOT, round, client, PREPARE)
    rows, plan = PARTS.objective.prepare(key, DATA.history(client, LENGTH))
    ids = np.asarray(rows["item"])
    drawn = [
        PARTS.objective.batch(plan, jnp.int32(step))
        for step in range(int(PARTS.objective.num_steps(plan)))
    ]
    return [
        (ids[np.asarray(one.inputs.ids)[ok]], np.asarray(one.label, np.float64)[ok])
        for one in drawn
        for ok in [np.asarray(one.is_valid)]
    ]


def steps(table, user, batches, moves_items=False, moves_user=False, user_rate=USER_RATE):
    """SGD on the mean squared error of each batch."""
    table, user = table.copy(), user.copy()
    for items, ratings in batches:
        slope = 2 * (table[items] @ user - ratings) / len(items)
        to_items, to_user = np.outer(slope, user), slope @ table[items]
        if moves_items:
            np.add.at(table, items, -ITEM_RATE * to_items)
        if moves_user:
            user -= user_rate * to_user
    return table, user


def rebuilt(table, round, client, support, epochs, most):
    user = PARTS.model.init_private(derive_key(ROOT, round, client, TRAIN)).dense
    support = (support * epochs)[: most or None]
    return steps(table, np.asarray(user, np.float64), support, moves_user=True)[1]


def run(algorithm):
    engine = build(algorithm, Execution(chunk_size=2))
    state, clients, frozen = jax.jit(engine.init, static_argnums=1)(ROOT, len(SIZES))
    start, step = (state, clients), jax.jit(engine.step)
    fixed = Fixed(frozen, DATA)
    for cohort in COHORTS:
        state, clients, _ = step(state, clients, pad_cohort(cohort, len(SIZES)), fixed)
    return start, (state, clients, fixed)


def table_of(state):
    return np.asarray(state.shared.rows["item"], np.float64)


@pytest.mark.parametrize(
    ("training", "epochs", "most"), [("split", 3, 0), ("split", 3, 4), ("unsplit", 2, 0)]
)
def test_rounds_equal_plain_loops(training, epochs, most):
    options = {"training": training, "recon_epochs": epochs, "recon_steps": most}
    (first, store), (state, clients, fixed) = run(fedrecon(*PARTS, **options))
    table = table_of(first)
    for t, cohort in enumerate(COHORTS):
        total, weight = np.zeros_like(table), 0
        for client in cohort:
            drawn = batches(t, client)
            support, query = (drawn[::2], drawn[1::2]) if training == "split" else (drawn, drawn)
            user = rebuilt(table, t, client, support, epochs, most)
            num_examples = sum(len(items) for items, _ in query)
            total += num_examples * (steps(table, user, query, moves_items=True)[0] - table)
            weight += num_examples
        table = table + total / weight
    np.testing.assert_allclose(table_of(state), table, rtol=0, atol=2e-6)
    assert np.abs(table - table_of(first)).max() > 0.05
    jax.tree.map(np.testing.assert_array_equal, store, clients)  # clients keep nothing

    ids = jnp.arange(len(SIZES))
    asked = scores_of(fedrecon(*PARTS, **options), state, clients, fixed)(LENGTH, ids, ids)
    for client in range(len(SIZES)):
        user = rebuilt(table, len(COHORTS), client, batches(len(COHORTS), client), epochs, most)
        np.testing.assert_allclose(asked[client], table @ user, rtol=0, atol=1e-5)


def test_joint_training_begins_afresh_in_every_round():
    (first, store), (state, clients, _) = run(fedrecon(*PARTS, training="joint"))
    table = table_of(first)
    for t, cohort in enumerate(COHORTS):
        total, weight = np.zeros_like(table), 0
        for client in cohort:
            drawn = batches(t, client)
            user = rebuilt(table, t, client, [], 1, 0)
            trained, _ = steps(table, user, drawn, moves_items=True, moves_user=True)
            total += SIZES[client] * (trained - table)
            weight += SIZES[client]
        table = table + total / weight
    np.testing.assert_allclose(table_of(state), table, rtol=0, atol=2e-6)
    jax.tree.map(np.testing.assert_array_equal, store, clients)


def test_one_vector_of_everybody_is_averaged_and_clients_are_asked_with_their_own():
    averaging = fedrecon(*PARTS, training="global", recon_epochs=2)
    (first, store), (state, clients, fixed) = run(averaging)
    (_, common), table = first.shared.dense, table_of(first)
    common = np.asarray(common, np.float64)
    for t, cohort in enumerate(COHORTS):
        total, weight = [0, 0], 0
        for client in cohort:
            trained = steps(table, common, batches(t, client), True, True, user_rate=DENSE_RATE)
            change = [
                SIZES[client] * (a - b) for a, b in zip(trained, (table, common), strict=True)
            ]
            total, weight = (
                [a + b for a, b in zip(total, change, strict=True)],
                weight + SIZES[client],
            )
        table, common = table + total[0] / weight, common + total[1] / weight
    np.testing.assert_allclose(table_of(state), table, rtol=0, atol=2e-6)
    np.testing.assert_allclose(state.shared.dense[1], common, rtol=0, atol=2e-6)
    assert np.abs(common - first.shared.dense[1]).max() > 0.05
    jax.tree.map(np.testing.assert_array_equal, store, clients)
    ids = jnp.arange(len(SIZES))
    asked = scores_of(averaging, state, clients, fixed)(LENGTH, ids, ids)
    user = rebuilt(table, len(COHORTS), 4, batches(len(COHORTS), 4), 2, 0)
    np.testing.assert_allclose(asked[4], table @ user, rtol=0, atol=1e-5)


def test_what_is_kept_is_federated_averaging_and_asks_rebuilt_clients():
    joint = fedrecon(*PARTS, training="kept", recon_epochs=2)
    (_, _), (state, clients, fixed) = run(joint)
    (_, _), (plain, plain_clients, _) = run(fedopt(*PARTS, aggregate=joint.aggregate))
    jax.tree.map(np.testing.assert_array_equal, state.shared, plain.shared)
    jax.tree.map(np.testing.assert_array_equal, clients.private, plain_clients.private)
    ids = jnp.arange(len(SIZES))
    asked = scores_of(joint, state, clients, fixed)(LENGTH, ids, ids)
    table = table_of(state)
    user = rebuilt(table, len(COHORTS), 4, batches(len(COHORTS), 4), 2, 0)
    np.testing.assert_allclose(asked[4], table @ user, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"recon_epochs": 0}, "recon_epochs must be in"),
        ({"recon_steps": -1}, "recon_steps must be in"),
        ({"training": "both"}, "training must be one of .*, got 'both'"),
    ],
)
def test_what_cannot_be_is_refused(options, match):
    with pytest.raises(ValueError, match=match):
        fedrecon(*PARTS, **options)


def test_feedback_is_implicit_or_explicit():
    assert recommender(9).objective.sampler is not None
    assert recommender(9, feedback="explicit").objective.sampler is None
    with pytest.raises(ValueError, match="feedback must be implicit or explicit, got 'both'"):
        recommender(9, feedback="both")


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_averaging_one_vector_of_everybody_keeps_the_law(check):
    CHECKS[check](Subject(ALGORITHMS["fedrecon"], {"training": "global"}))
