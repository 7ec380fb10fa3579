"""The engine's promises that no single algorithm shows."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.algorithms import fedmf
from fedjax_rec.base import (
    AggregateTransform,
    ClientOutput,
    ClientUpdate,
    FederatedAlgorithm,
    Fixed,
    Model,
    Objective,
    Part,
    Private,
    ServerUpdate,
)
from fedjax_rec.data import client_data, from_events, leave_one_out
from fedjax_rec.simulation import Execution, build, pad_cohort
from fedjax_rec.testing import COHORT, Subject, toy_data
from fedjax_rec.testing.laws import equals_whole_table
from fedjax_rec.transforms import mean

DATA = toy_data()
SMALL = {"dim": 3, "batch_size": 64}


@pytest.mark.parametrize(
    "options",
    [
        {"local_epochs": 2, "local_optimizer": "adam", "item_learning_rate": 0.01},
        {"local_epochs": 3, "num_negatives": 1, "batch_size": 16},
    ],
    ids=str,
)
def test_slices_equal_the_whole_table_where_items_recur(options):
    equals_whole_table(Subject(fedmf, SMALL | options, DATA))


def test_slices_equal_the_whole_table_where_a_client_meets_an_item_again():
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 20, 300), rng.integers(0, 400, 300) ** 2 // 400
    events = from_events([*users, 0], [*items, 399], times=np.arange(301))
    split = leave_one_out(events, repeats="keep")
    pairs = np.stack([split.train.users, split.train.items])
    assert len(np.unique(pairs, axis=1).T) < split.train.num_events
    data = replace(DATA, clients=client_data(split), split=split)
    equals_whole_table(Subject(fedmf, {"local_epochs": 2}, data))


def one_round(algorithm, ids=COHORT, rounds=1):
    engine = build(algorithm, Execution(chunk_size=4))
    state, clients, frozen = engine.init(jax.random.key(0), DATA.num_clients)
    step = jax.jit(engine.step)
    for _ in range(rounds):
        cohort = pad_cohort(ids, len(ids))
        state, clients, info = step(state, clients, cohort, Fixed(frozen, DATA.clients))
    return state, clients, info


def bare_algorithm(run, **slots):
    """An algorithm of one table of three columns whose clients do what `run` says."""

    def init(key):
        return Part({"item": jnp.zeros((DATA.num_items, 3))}, {"bias": jnp.zeros(2)}), Part({}, ())

    def prepare(key, history):
        return {"item": history.items}, history

    def move(state, total, cohort):
        return state._replace(shared=jax.tree.map(jnp.add, state.shared, total.update))

    return FederatedAlgorithm(
        Model({"item": DATA.num_items}, init, lambda view, inputs: jnp.zeros(DATA.num_items)),
        Objective(prepare),
        ClientUpdate(run),
        AggregateTransform(),
        ServerUpdate(lambda shared: (), move),
        **slots,
    )


def ones(view):
    return jax.tree.map(jnp.ones_like, view.shared)


def test_rows_are_scattered_to_the_items_a_client_has():
    def run(key, view, task):
        return ClientOutput(ones(view), view.private, view.memory, jnp.float32(1), {})

    state, _, info = one_round(bare_algorithm(run))
    events = DATA.split.train
    counts = np.bincount(
        events.items[np.isin(events.users, COHORT)], minlength=DATA.num_items
    ).astype(np.float32)
    np.testing.assert_array_equal(state.shared.rows["item"], counts[:, None] * np.ones(3))
    np.testing.assert_array_equal(state.shared.dense["bias"], [len(COHORT)] * 2)
    assert float(info["clients"].total) == len(COHORT)


def test_memory_with_rows_is_kept_by_client_and_by_item():
    def run(key, view, task):
        memory = jax.tree.map(lambda leaf: leaf + 1, view.memory)
        return ClientOutput(ones(view), view.private, memory, jnp.float32(1), {})

    def init_memory(shared):
        return Private({"item": jnp.zeros(DATA.num_items)}, jnp.int32(0))

    _, clients, _ = one_round(bare_algorithm(run, init_memory=init_memory), rounds=2)
    rounds_done = np.zeros(DATA.num_clients)
    rounds_done[COHORT] = 2
    np.testing.assert_array_equal(clients.memory.dense, rounds_done)
    events = DATA.split.train
    expected = np.zeros((DATA.num_clients, DATA.num_items))
    expected[events.users, events.items] = 2
    expected[rounds_done == 0] = 0
    np.testing.assert_array_equal(clients.memory.rows["item"], expected)


def test_frozen_rows_are_sliced_for_the_client_and_kept_out_of_the_state():
    features = jnp.arange(DATA.num_items * 3.0).reshape(-1, 3)

    def run(key, view, task):
        update = Part({"item": view.frozen.rows["item"]}, ones(view).dense)
        return ClientOutput(update, view.private, view.memory, jnp.float32(1), {})

    algorithm = bare_algorithm(run)
    thawed = algorithm.model.init
    model = replace(
        algorithm.model, init=lambda key: (thawed(key)[0], Part({"item": features}, ()))
    )
    state, _, _ = one_round(replace(algorithm, model=model))
    events = DATA.split.train
    counts = np.bincount(events.items[np.isin(events.users, COHORT)], minlength=DATA.num_items)
    np.testing.assert_allclose(state.shared.rows["item"], counts[:, None] * features, rtol=1e-6)
    shapes = [leaf.shape for leaf in jax.tree.leaves(state)]
    assert shapes.count(features.shape) == 1, "the state holds the shared table and no frozen one"


def test_broadcast_decides_what_a_client_sees_and_extra_lives_on_the_server():
    def broadcast(state, entry, row_ids):
        sent = jax.tree.map(lambda leaf: leaf + entry.client_id, state.shared)
        sliced = sent._replace(rows={"item": sent.rows["item"][row_ids["item"]]})
        return sliced, state.extra

    def run(key, view, task):
        update = ones(view)._replace(dense={"bias": view.shared.dense["bias"] * view.extra.dense})
        return ClientOutput(update, view.private, view.memory, jnp.float32(1), {})

    algorithm = bare_algorithm(
        run, broadcast=broadcast, init_extra=lambda key, shared: Part({}, jnp.float32(10))
    )
    state, _, _ = one_round(algorithm)
    np.testing.assert_array_equal(state.shared.dense["bias"], [10 * COHORT.sum()] * 2)
    assert float(state.extra.dense) == 10


def test_an_update_may_have_another_tree_than_the_model_when_it_is_declared():
    def run(key, view, task):
        update = Part({"item": {"model": jnp.ones((32, 3)), "control": jnp.ones(32)}}, ())
        size = view.shared.rows["item"].shape[0]
        update = jax.tree.map(lambda leaf: jnp.ones((size, *leaf.shape[1:])), update)
        return ClientOutput(update, view.private, view.memory, jnp.float32(1), {})

    def template(shared):
        table = shared.rows["item"]
        return Part({"item": {"model": table, "control": table[:, 0]}}, ())

    def apply(state, total, cohort):
        moved = state.shared.rows["item"] + total.update.rows["item"]["control"][:, None]
        return state._replace(shared=state.shared._replace(rows={"item": moved}))

    algorithm = replace(
        bare_algorithm(run, template=template),
        server_update=ServerUpdate(lambda shared: (), apply),
    )
    state, _, _ = one_round(algorithm)
    assert float(state.shared.rows["item"].sum()) > 0


def test_an_undeclared_update_is_refused_with_the_reason():
    def run(key, view, task):
        private = Private(view.shared.rows, view.shared.dense)
        return ClientOutput(private, view.private, view.memory, jnp.float32(1), {})

    with pytest.raises(TypeError, match="Private parameters never leave the client"):
        one_round(bare_algorithm(run))


def test_whoever_needs_every_row_is_refused_slices_with_the_way_out():
    algorithm = fedmf(DATA.num_items, **SMALL, aggregate=AggregateTransform(support="table"))
    with pytest.raises(ValueError, match=r"build it with Sampler\(is_sliced=False\)"):
        one_round(algorithm)


@pytest.mark.parametrize("part", ["update", "weight", "private", "memory"])
def test_a_client_with_one_bad_number_sends_nothing_and_keeps_its_state(part):
    victim = int(COHORT[0])

    def run(key, view, task):
        good = ClientOutput(
            ones(view),
            jax.tree.map(lambda leaf: leaf + 1, view.private),
            jax.tree.map(lambda leaf: leaf + 1, view.memory),
            jnp.float32(1),
            {},
        )
        spoil = jnp.where(task.entry.client_id == victim, jnp.nan, 0.0)
        return good._replace(**{part: jax.tree.map(lambda leaf: leaf + spoil, getattr(good, part))})

    algorithm = bare_algorithm(run, init_memory=lambda shared: Private({}, jnp.float32(0)))
    algorithm = replace(
        algorithm,
        model=replace(algorithm.model, init_private=lambda key: Private({}, jnp.float32(0))),
    )
    state, clients, info = one_round(algorithm)
    kept = np.zeros(DATA.num_clients)
    kept[COHORT[1:]] = 1
    np.testing.assert_array_equal(clients.private.dense, kept)
    np.testing.assert_array_equal(clients.memory.dense, kept)
    np.testing.assert_array_equal(state.shared.dense["bias"], [len(COHORT) - 1] * 2)
    assert float(info["bad_clients"].total) == 1


def test_a_transform_that_makes_a_number_bad_is_guarded_too():
    def encode(key, message, state, residual, bound):
        spoilt = jax.tree.map(lambda leaf: leaf / (message.weight - 1), message.update)
        return message._replace(update=spoilt), residual

    def run(key, view, task):
        weight = jnp.where(task.entry.client_id == COHORT[0], 1.0, 2.0)
        return ClientOutput(ones(view), view.private, view.memory, weight, {})

    algorithm = replace(bare_algorithm(run), aggregate=AggregateTransform(encode=encode))
    state, _, info = one_round(algorithm)
    assert float(info["bad_clients"].total) == 1
    np.testing.assert_array_equal(state.shared.dense["bias"], [len(COHORT) - 1] * 2)


def test_a_round_copies_neither_the_store_nor_the_table():
    """Temporaries stay far under one copy of a large store that is donated."""
    algorithm = fedmf(DATA.num_items, **SMALL | {"dim": 512}, aggregate=mean("client"))
    engine = build(algorithm, Execution(chunk_size=1))
    num_clients = 20_000
    shapes = jax.eval_shape(lambda key: engine.init(key, num_clients), jax.random.key(0))
    state, clients, frozen = shapes
    cohort = jax.eval_shape(lambda: pad_cohort(np.arange(4), 4))
    fixed = Fixed(frozen, DATA.clients)
    program = jax.jit(engine.step, donate_argnums=(0, 1)).lower(state, clients, cohort, fixed)
    memory = program.compile().memory_analysis()
    store = num_clients * 512 * 4
    assert memory.temp_size_in_bytes < store / 2
