"""PFedRec: a round against plain loops in float64, and the tables that clients are judged by."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_rec.algorithms import fedrep, pfedrec
from fedjax_rec.base import PREPARE, Clients, Fixed, LengthClass, derive_key
from fedjax_rec.clients import by_role
from fedjax_rec.data import load
from fedjax_rec.evaluation.personal import scores_of, without_own
from fedjax_rec.simulation import Execution, build, pad_cohort
from fedjax_rec.testing import assert_same_movement
from fedjax_rec.transforms import mean

DATA = load("synthetic", num_users=9, num_items=50, mean_events=12, seed=3)
LONGEST = LengthClass.covering(DATA.clients.classes)
OPTIONS = {"dim": 4, "num_negatives": 2, "batch_size": 6, "local_epochs": 2}
COHORT = [6, 0, 3, 8]
RATE, FACTOR = 0.1, 0.3  # the table's rate is 1.5


def make(**options):
    """As in the released code: a rate in units of `eta * I`, and the mean by client."""
    released = {"item_rate_factor": FACTOR, "aggregate": mean("client")}
    return pfedrec(DATA.num_items, **OPTIONS | released | options)


@cache
def start(variant="clean"):
    """Round 3, with heads that are not alike any more."""
    algorithm = make(variant=variant)
    init = jax.jit(build(algorithm).init, static_argnums=1)
    state, clients, frozen = init(jax.random.key(4), DATA.num_clients)
    moved = 0.5 * jax.random.normal(jax.random.key(8), clients.private.dense.shape)
    clients = clients._replace(private=clients.private._replace(dense=moved))
    return algorithm, state._replace(round=jnp.int32(3)), clients, Fixed(frozen, DATA.clients)


def step(algorithm, cohort, chunk_size=2):
    _, state, clients, fixed = start()
    run = jax.jit(build(algorithm, Execution(chunk_size=chunk_size)).step)
    return run(state, clients, pad_cohort(cohort, DATA.num_clients), fixed)


def examples_of(algorithm, client):
    """`(ids of the catalogue, labels)` of the real examples of each step."""
    _, state, _, fixed = start()
    key = derive_key(state.key, 3, client, PREPARE)
    rows, plan = algorithm.objective.prepare(key, fixed.data.history(client, LONGEST))
    for number in range(int(algorithm.objective.num_steps(plan))):
        batch = algorithm.objective.batch(plan, jnp.int32(number))
        ids = batch.inputs.ids if rows["item"] is None else rows["item"][batch.inputs.ids]
        yield np.asarray(ids)[batch.is_valid], np.asarray(batch.label)[batch.is_valid]


def slope(score, label, variant):
    p = 1 / (1 + np.exp(-score))
    q = p * (1 - p)
    return p - label if variant == "clean" else (p - label) * q / max(q, 1e-12)


def train(table, head, examples, variant):
    """The head moves first, then the rows, on gradients of their own; example by example."""
    table, head = table.copy(), head.copy()
    for ids, labels in examples:
        by_head = np.zeros_like(head)
        for item, label in zip(ids, labels, strict=True):
            error = slope(table[item] @ head[:-1] + head[-1], label, variant)
            by_head += error * np.append(table[item], 1) / len(ids)
        head -= RATE * by_head
        by_row = np.zeros_like(table)
        for item, label in zip(ids, labels, strict=True):
            error = slope(table[item] @ head[:-1] + head[-1], label, variant)
            by_row[item] += error * head[:-1] / len(ids)
        table -= RATE * DATA.num_items * FACTOR * by_row
    return table, head


@pytest.mark.parametrize("variant", ["clean", "as_released"])
def test_a_round_equals_plain_loops(variant):
    algorithm = make(variant=variant)
    _, state, clients, fixed = start()
    new_state, new_clients, _ = step(algorithm, COHORT)
    table = np.asarray(state.shared.rows["item"], np.float64)
    first, heads = np.asarray(fixed.frozen.dense, np.float64), np.asarray(clients.private.dense)
    tables = []
    for client in COHORT:
        mine, head = train(table, first + heads[client], examples_of(algorithm, client), variant)
        tables.append(mine)
        np.testing.assert_allclose(new_clients.private.dense[client], head - first, atol=2e-6)
    np.testing.assert_allclose(new_state.shared.rows["item"], np.mean(tables, axis=0), atol=2e-6)
    still = np.setdiff1d(np.arange(DATA.num_clients), COHORT)
    np.testing.assert_array_equal(new_clients.private.dense[still], heads[still])


def test_with_one_batch_a_client_it_is_fedrep():
    """The head's only step comes before the table's only step, as there."""
    options = OPTIONS | {"batch_size": 1000, "local_epochs": 1}
    whole = make(**options)
    rates = {
        "private": optax.sgd(RATE),
        "shared": optax.sgd(RATE * DATA.num_items * FACTOR),
    }
    in_turn = fedrep(whole.model, whole.objective, by_role(**rates), paths="")
    _, state, clients, _ = start()
    (one, own, _), (other, heads, _) = (
        step(algorithm, [6, 0, 3]) for algorithm in (whole, in_turn)
    )
    assert_same_movement(state.shared, other.shared, one.shared, "the limit", 1e-6)
    assert_same_movement(clients.private, heads.private, own.private, "the limit", 1e-6)


def test_by_default_the_rate_is_one_number_and_rows_are_means_over_who_changed_them():
    released, default = make(), make(item_rate_factor=0.0, aggregate=None, item_learning_rate=1.5)
    state = start()[1]
    table = np.asarray(state.shared.rows["item"])
    changes = [
        np.asarray(step(released, [client])[0].shared.rows["item"]) - table for client in COHORT
    ]
    touched = sum((change != 0).any(axis=1) for change in changes)
    assert len(np.unique(touched)) > 2
    expected = np.sum(changes, axis=0) / np.maximum(touched, 1)[:, None]
    found = np.asarray(step(default, COHORT)[0].shared.rows["item"]) - table
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_a_client_is_judged_by_the_table_that_it_would_train_next():
    """A round of one client alone leaves that client's own table on the server."""
    algorithm, state, clients, fixed = start()
    slots = jnp.arange(DATA.num_clients)
    own = jax.jit(
        lambda *state: scores_of(algorithm, *state)(LONGEST, slots, slots),
    )(state, clients, fixed)
    for client in (0, 5):
        after, store, _ = step(algorithm, [client])
        head = fixed.frozen.dense + store.private.dense[client]
        expected = after.shared.rows["item"] @ head[:-1] + head[-1]
        np.testing.assert_allclose(own[client], expected, atol=1e-5)


def test_without_its_own_table_a_client_scores_the_table_of_all():
    algorithm, state, clients, fixed = start()
    slots = jnp.arange(DATA.num_clients)
    found = scores_of(without_own(algorithm), state, clients, fixed)(LONGEST, slots, slots)
    heads = fixed.frozen.dense + clients.private.dense
    expected = heads[:, :-1] @ state.shared.rows["item"].T + heads[:, -1:]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_all_clients_start_from_the_same_head_and_runs_from_their_own():
    def first_heads(seed):
        init = jax.jit(build(make()).init, static_argnums=1)
        _, clients, frozen = init(jax.random.key(seed), DATA.num_clients)
        assert isinstance(clients, Clients)
        return np.asarray(frozen.dense + clients.private.dense)

    assert (first_heads(0) == first_heads(0)[0]).all()
    assert (first_heads(0) != first_heads(1)).all()


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="as_released"):
        make(variant="released")
