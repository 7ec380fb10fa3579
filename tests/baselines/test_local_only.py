"""Local training without federation, against one client that trains alone."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.algorithms import ALGORITHMS, fcf, fedmf
from fedjax_rec.algorithms.pfedrec import pfedrec
from fedjax_rec.base import (
    INIT,
    PREPARE,
    SERVER,
    TRAIN,
    Entry,
    FederatedAlgorithm,
    Fixed,
    Inputs,
    LengthClass,
    Task,
    View,
    derive_key,
    empty,
    nothing_private,
)
from fedjax_rec.baselines import ials, local_only, popularity
from fedjax_rec.data import load
from fedjax_rec.evaluation.personal import scores_of
from fedjax_rec.simulation import Execution, build, evaluate, pad_cohort, simulate
from fedjax_rec.testing import check_algorithm
from fedjax_rec.tree import put, take

KEY = jax.random.key(5)
ROUNDS = 3
DATA = load("synthetic", num_users=9, num_items=60, mean_events=12, seed=2)
SETTINGS = {"dim": 3, "local_epochs": 2, "batch_size": 16}
FACTORIES = {
    "fedmf": partial(fedmf, **SETTINGS),
    "momentum": partial(fedmf, **SETTINGS, local_optimizer="adam", user_learning_rate=0.1),
    "pfedrec": partial(pfedrec, **SETTINGS),
}


def alone(algorithm: FederatedAlgorithm, client: int) -> tuple[View, Any]:
    """What one client has after some rounds of its own, and its scores."""
    model, objective = algorithm.model, algorithm.objective
    length = LengthClass.covering(
        [c for c in DATA.clients.classes if c.start <= DATA.clients.rank[client] < c.stop]
    )
    history = DATA.clients.history(jnp.int32(client), length)
    shared, frozen = model.init(derive_key(KEY, 0, SERVER, INIT))
    private = model.init_private(derive_key(KEY, 0, client, INIT))
    view = View(shared, private, frozen, nothing_private(), empty())
    entry = Entry(jnp.int32(client), jnp.int32(client), jnp.bool_(True))

    def task_of(round: int) -> tuple[Any, Task]:
        row_ids, plan = objective.prepare(derive_key(KEY, round, client, PREPARE), history)
        num_steps = jnp.int32(objective.num_steps(plan))
        return row_ids, Task(entry, jnp.int32(round), plan, num_steps, num_steps)

    def near(view: View, row_ids: Any) -> View:
        return View(*(take(part, row_ids) for part in view))

    def put_back(view: View, row_ids: Any, shared: Any, private: Any) -> View:
        return view._replace(
            shared=put(view.shared, row_ids, shared), private=put(view.private, row_ids, private)
        )

    for round in range(ROUNDS):
        row_ids, task = task_of(round)
        key = derive_key(KEY, round, client, TRAIN)
        output = algorithm.client_update.run(key, near(view, row_ids), task)
        own = jax.tree.map(jnp.add, take(view.shared, row_ids), output.update)
        view = put_back(view, row_ids, own, output.private)
    asked = view
    if algorithm.adapt is not None:
        row_ids, task = task_of(ROUNDS)
        key = derive_key(KEY, ROUNDS, client, TRAIN)
        adapted = algorithm.adapt(key, near(view, row_ids), task)
        asked = put_back(view, row_ids, adapted.shared, adapted.private)
    return view, model.score(asked, Inputs(None))


@pytest.mark.parametrize("name", FACTORIES)
def test_each_client_has_what_it_would_have_alone(name: str) -> None:
    algorithm = FACTORIES[name](DATA.num_items)
    twin = local_only(algorithm)
    engine = build(twin, Execution(chunk_size=2))
    state, clients, frozen = engine.init(KEY, DATA.num_clients)
    fixed, step = Fixed(frozen, DATA.clients), jax.jit(engine.step)
    everyone = pad_cohort(np.arange(DATA.num_clients), DATA.num_clients)
    for _ in range(ROUNDS):
        state, clients, _ = step(state, clients, everyone, fixed)
    ids = jnp.arange(DATA.num_clients)
    length = LengthClass.covering(DATA.clients.classes)
    scores = scores_of(twin, state, clients, fixed)
    for client in (0, 4, 8):
        view, expected = alone(algorithm, client)
        start, moved = frozen.rows["item"][0], clients.private.rows["item"][0][client]
        np.testing.assert_allclose(start + moved, view.shared.rows["item"], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            clients.private.dense[1][client], view.private.dense, rtol=1e-4, atol=1e-5
        )
        found = scores(length, ids[client : client + 1], ids[client : client + 1])[0]
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", FACTORIES)
def test_nothing_leaves_and_nothing_comes(name: str) -> None:
    twin = local_only(FACTORIES[name](DATA.num_items))
    result = simulate(twin, DATA, key=KEY, rounds=2, execution=Execution())
    assert not jax.tree.leaves((result.state.shared, result.state.extra, result.state.opt_state))
    sent = result.summary["communication"]
    assert (sent["total_up"], sent["total_down"]) == (0, 0)
    assert evaluate(twin, DATA, result)["test"].metrics == {
        name.removeprefix("test/"): value
        for name, value in result.summary["metrics"].items()
        if name.startswith("test/")
    }


def test_who_does_not_take_part_stays_as_it_was() -> None:
    twin = local_only(FACTORIES["fedmf"](DATA.num_items))
    engine = build(twin)
    state, before, frozen = engine.init(KEY, DATA.num_clients)
    cohort = pad_cohort(np.array([3]), DATA.num_clients)
    _, after, _ = jax.jit(engine.step)(state, before, cohort, Fixed(frozen, DATA.clients))
    for one, two in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        moved = np.asarray(one != two).reshape(DATA.num_clients, -1).any(axis=1)
        assert moved.tolist() == [client == 3 for client in range(DATA.num_clients)]


@pytest.mark.slow
@pytest.mark.parametrize("factory", [fedmf, pfedrec])
def test_the_twin_keeps_every_law(factory: Any) -> None:
    def twin(
        num_items: int, *, dim: int = 3, local_epochs: int = 1, batch_size: int = 16
    ) -> FederatedAlgorithm:
        algorithm = factory(num_items, dim=dim, local_epochs=local_epochs, batch_size=batch_size)
        return local_only(algorithm)

    check_algorithm(twin)


def test_a_server_that_sends_more_is_refused() -> None:
    sends = replace(fedmf(5), broadcast=lambda state, entry, row_ids: (state.shared, empty()))
    with pytest.raises(ValueError, match="more than its table"):
        local_only(sends)


@pytest.mark.parametrize("factory", [fcf, popularity, ials])
def test_clients_that_send_no_changes_are_refused(factory: Any) -> None:
    with pytest.raises(ValueError, match="something else than changes"):
        local_only(factory(5))


def test_clients_that_remember_the_table_are_refused() -> None:
    with pytest.raises(ValueError, match="remember"):
        local_only(ALGORITHMS["ditto"](5))
