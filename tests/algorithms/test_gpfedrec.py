"""GPFedRec: a round against plain loops in float64, and what it is without graph and pull."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.algorithms import fedper, gpfedrec, recommender
from fedjax_rec.base import PREPARE, Fixed, LengthClass, Part, Private, derive_key
from fedjax_rec.config import from_dict
from fedjax_rec.data import load
from fedjax_rec.evaluation.personal import scores_of, without_own
from fedjax_rec.experiment import build as build_experiment
from fedjax_rec.experiment import resolve
from fedjax_rec.models.ncf import tower_scores
from fedjax_rec.simulation import Execution, build, pad_cohort
from fedjax_rec.testing import assert_same_movement

DATA = load("synthetic", num_users=9, num_items=30, mean_events=12, seed=3)
LONGEST = LengthClass.covering(DATA.clients.classes)
DIM, RATE, FACTOR, GAMMA, ROUND = 4, 0.3, 0.5, 2.0, 3
USER_RATE, ITEM_RATE = RATE * FACTOR, RATE * FACTOR * DATA.num_items
COHORT = [6, 0, 3, 8, 5]


def make(**options):
    defaults = {
        "dim": DIM,
        "num_negatives": 2,
        "batch_size": 6,
        "local_epochs": 2,
        "learning_rate": RATE,
        "rate_factor": FACTOR,
        "regularization": GAMMA,
    }
    return gpfedrec(DATA.num_items, num_slots=DATA.num_clients, **defaults | options)


@cache
def start():
    """A round in which every client has an R_u, a tower and a vector of its own."""
    init = jax.jit(build(make()).init, static_argnums=1)
    state, clients, frozen = init(jax.random.key(4), DATA.num_clients)
    own = 0.4 * jax.random.normal(jax.random.key(8), state.extra.dense.shape)
    state = state._replace(round=jnp.int32(ROUND), extra=Part({}, own))
    leaves, tree = jax.tree.flatten(clients.private)
    keys = jax.random.split(jax.random.key(15), len(leaves))
    moved = [0.2 * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    clients = clients._replace(private=jax.tree.unflatten(tree, moved))
    return state, clients, Fixed(frozen, DATA.clients)


@cache
def program(**options):
    return jax.jit(build(make(**options), Execution(chunk_size=2)).step)


def step(cohort, **options):
    state, clients, fixed = start()
    return program(**options)(state, clients, pad_cohort(cohort, DATA.num_clients), fixed)


def batches_of(client, **options):
    """`(ids, labels)` of the real examples of each step."""
    algorithm, (state, _, fixed) = make(**options), start()
    key = derive_key(state.key, ROUND, client, PREPARE)
    _, plan = algorithm.objective.prepare(key, fixed.data.history(client, LONGEST))
    for number in range(int(algorithm.objective.num_steps(plan))):
        batch = algorithm.objective.batch(plan, jnp.int32(number))
        is_valid = np.asarray(batch.is_valid)
        yield np.asarray(batch.inputs.ids)[is_valid], np.asarray(batch.label)[is_valid]


# ------------------------------------------------------------------- the tower, by hand


def own_of(clients, client):
    """The client's tower and p."""
    (common, _), (distance, _) = start()[2].frozen.dense, clients.private.dense
    return jax.tree.map(lambda one, far: one + far[client], common, distance)


def layers_of(clients, client):
    """The client's tower as `[weight, bias]` from `[p; v]` on, and p."""
    tower, user = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), own_of(clients, client))
    first = [np.concatenate([tower.user, tower.item]), tower.bias]
    last = [tower.output.weight[:, None], tower.output.bias[None]]
    return [first, *([*layer] for layer in tower.hidden), last], user


def backward(layers, user, item, label, variant):
    """Gradients of one example's cross-entropy: of layers, p and v."""
    inputs = [np.concatenate([user, item])]
    for weight, bias in layers[:-1]:
        inputs.append(np.maximum(inputs[-1] @ weight + bias, 0))
    p = 1 / (1 + np.exp(-(inputs[-1] @ layers[-1][0] + layers[-1][1])))
    slope = p - label
    if variant == "as_released":
        slope = slope * p * (1 - p) / np.maximum(p * (1 - p), 1e-12)
    grads = []
    for (weight, _), value in zip(reversed(layers), reversed(inputs), strict=True):
        grads.insert(0, [np.outer(value, slope), slope])
        slope = (weight @ slope) * (value > 0 if value is not inputs[0] else 1)
    return grads, slope[: len(user)], slope[len(user) :]


def train(table, target, layers, user, batches, variant):
    """Everything steps together, on gradients of the same point."""
    table, user = table.copy(), user.copy()
    for ids, labels in batches:
        by_layers = [[np.zeros_like(leaf) for leaf in layer] for layer in layers]
        by_user, by_table = np.zeros_like(user), 2 * GAMMA / table.size * (table - target)
        for item, label in zip(ids, labels, strict=True):
            grads, to_user, to_item = backward(layers, user, table[item], label, variant)
            for layer, grad in zip(by_layers, grads, strict=True):
                for leaf, by in zip(layer, grad, strict=True):
                    leaf += by / len(ids)
            by_user += to_user / len(ids)
            by_table[item] += to_item / len(ids)
        layers = [
            [leaf - RATE * by for leaf, by in zip(*pair, strict=True)]
            for pair in zip(layers, by_layers, strict=True)
        ]
        user -= USER_RATE * by_user
        table -= ITEM_RATE * by_table
    return table, layers, user


def graph_of(tables, threshold, variant):
    """Each client's neighbours, its weights on the tables of all."""
    num, likeness = len(tables), np.zeros((len(tables),) * 2)
    for u in range(num):
        for w in range(num):
            a, b = tables[u].ravel(), tables[w].ravel()
            cosine = a @ b / np.sqrt((a @ a) * (b @ b))
            likeness[u, w] = cosine if variant == "clean" else 1 - cosine
    graph = np.zeros((num, num))
    for u in range(num):
        near = [w for w in range(num) if likeness[u, w] > threshold * likeness.mean()]
        for w in near or [u]:
            graph[u, w] = 1 / len(near or [u])
    return graph


@pytest.mark.parametrize(
    ("variant", "threshold", "graph_layers"),
    [("clean", 1.0, 1), ("clean", 1.005, 2), ("as_released", 1.0, 1)],
)
def test_a_round_equals_plain_loops(variant, threshold, graph_layers):
    options = {"variant": variant, "threshold": threshold, "graph_layers": graph_layers}
    state, clients, _ = start()
    new_state, new_clients, _ = step(COHORT, **options)
    common = np.asarray(state.shared.rows["item"], np.float64)
    own = np.asarray(state.extra.dense, np.float64)
    tables = []
    for client in COHORT:
        layers, user = layers_of(clients, client)
        target, batches = common + own[client], batches_of(client, variant=variant)
        table, layers, user = train(common, target, layers, user, batches, variant)
        tables.append(table)
        found_layers, found_user = layers_of(new_clients, client)
        np.testing.assert_allclose(found_user, user, atol=5e-6)
        for found, layer in zip(found_layers, layers, strict=True):
            for leaf, expected in zip(found, layer, strict=True):
                np.testing.assert_allclose(leaf, expected, atol=5e-6)
    graph = graph_of(tables, threshold, variant)
    assert not (graph == graph[0]).all(), "all have the same neighbours"
    assert (np.count_nonzero(graph, axis=1) > 1).any(), "nobody has neighbours"
    mixed = np.tensordot(np.linalg.matrix_power(graph, graph_layers), np.stack(tables), 1)
    np.testing.assert_allclose(new_state.shared.rows["item"], mixed.mean(axis=0), atol=5e-6)
    received = new_state.shared.rows["item"] + new_state.extra.dense
    np.testing.assert_allclose(received[np.array(COHORT)], mixed, atol=5e-6)
    others = np.setdiff1d(np.arange(DATA.num_clients), COHORT)
    np.testing.assert_array_equal(new_state.extra.dense[others], own[others])


# ------------------------------------------------------------------ what it comes down to


def plain():
    parts = recommender(
        DATA.num_items,
        model="ncf",
        dim=DIM,
        init_stddev=1.0,
        num_negatives=2,
        batch_size=6,
        local_epochs=2,
        user_learning_rate=USER_RATE,
        item_learning_rate=ITEM_RATE,
        dense_learning_rate=RATE,
        is_sliced=False,
    )
    return fedper(*parts)


def test_where_all_are_neighbours_and_nothing_pulls_it_is_fedper():
    state, clients, fixed = start()
    common = fixed.frozen.dense[0][1]
    one = step(COHORT, regularization=0.0, threshold=-10.0)
    engine, cohort = build(plain(), Execution(chunk_size=2)), pad_cohort(COHORT, DATA.num_clients)

    def of_fedper(private):
        """FedPer's clients draw their vectors apart and keep them whole."""
        (towers, users), _ = private.dense
        return Private({}, (towers, common + users))

    @jax.jit
    def averaged(key, private, data):
        first, store, frozen = engine.init(key, DATA.num_clients)
        first, store = first._replace(round=jnp.int32(ROUND)), store._replace(private=private)
        return engine.step(first, store, cohort, Fixed(frozen, data))

    other = averaged(state.key, of_fedper(clients.private), fixed.data)
    np.testing.assert_allclose(one[0].extra.dense[np.array(COHORT)], 0, atol=1e-6)
    assert_same_movement(
        (state.shared, of_fedper(clients.private)),
        (one[0].shared, of_fedper(one[1].private)),
        (other[0].shared, other[1].private),
        "the mean over all differs",
    )


def test_towers_and_vectors_start_alike():
    """As in the released code; no client draws a tower of its own."""
    init = jax.jit(build(make()).init, static_argnums=1)
    _, clients, frozen = init(jax.random.key(4), DATA.num_clients)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(clients.private))
    tower, user = frozen.dense[0]
    assert all(np.any(leaf) for leaf in (tower.user, tower.item, tower.output.weight, user))


def test_rows_without_examples_are_pulled_to_the_neighbours_step_by_step():
    state, _, _ = start()
    client = int(np.argmin(np.bincount(DATA.split.train.users)))
    batches = list(batches_of(client))
    untouched = np.setdiff1d(np.arange(DATA.num_items), np.concatenate([ids for ids, _ in batches]))
    assert len(untouched) > 3
    alone, _, _ = step([client])
    gone = alone.shared.rows["item"] - state.shared.rows["item"]
    left = (1 - 2 * GAMMA * ITEM_RATE / state.shared.rows["item"].size) ** len(batches)
    expected = (1 - left) * state.extra.dense[client]
    np.testing.assert_allclose(gone[untouched], expected[untouched], atol=2e-6)


# ----------------------------------------------------------------------------- evaluation


def test_a_client_is_judged_by_the_table_that_it_would_train_next():
    """A round of one client alone leaves that client's own table on the server."""
    slots = jnp.arange(DATA.num_clients)
    own = jax.jit(lambda *state: scores_of(make(), *state)(LONGEST, slots, slots))(*start())
    for client in (0, 5):
        after, store, _ = step([client])
        tower, user = own_of(store, client)
        expected = tower_scores(tower, user, after.shared.rows["item"])
        np.testing.assert_allclose(own[client], expected, atol=1e-5)


def test_without_its_own_table_a_client_scores_the_table_of_all():
    algorithm, (state, clients, fixed) = make(), start()
    slots = jnp.arange(DATA.num_clients)
    found = scores_of(without_own(algorithm), state, clients, fixed)(LONGEST, slots, slots)
    for client in (0, 5):
        tower, user = own_of(clients, client)
        expected = tower_scores(tower, user, state.shared.rows["item"])
        np.testing.assert_allclose(found[client], expected, atol=1e-5)


# -------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"variant": "released"}, "as_released"),
        ({"regularization": -1.0}, "regularization"),
        ({"graph_layers": 0}, "graph_layers"),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        make(**options)


def test_clients_keep_their_places_where_users_are_held_out():
    own = {"dim": 16, "rate_factor": 1.0, "threshold": 9.0}
    table = {
        "rounds": 1,
        "data": {"name": "synthetic", "num_users": 12, "num_items": 20, "mean_events": 6},
        "algorithm": {"name": "gpfedrec", **own},
        "split": {"holdout": "users", "validation": "users", "share": 0.2},
    }
    experiment = build_experiment(resolve(from_dict(table, "here")), lambda line: None)
    trains = np.isin(np.arange(12), experiment.data.training_clients)
    assert trains[trains.sum() :].any()  # an id is no place among those who train
    state, clients, frozen = build(experiment.algorithm).init(jax.random.key(0), 12)
    cohort = pad_cohort(experiment.data.training_clients, 12)
    fixed = Fixed(frozen, experiment.data.clients)
    after = jax.jit(build(experiment.algorithm).step)(state, clients, cohort, fixed)[0]
    # nobody has neighbours, so that each keeps its own distance from the mean
    is_own = np.abs(np.asarray(after.extra.dense)).sum(axis=(1, 2)) > 0
    np.testing.assert_array_equal(is_own, trains)
