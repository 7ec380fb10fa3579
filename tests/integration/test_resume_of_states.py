"""A run that goes on keeps every part of its state: compared to the bit with one left alone."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_rec import tree
from fedjax_rec.algorithms import fedmf_explicit
from fedjax_rec.algorithms.ditto import ditto
from fedjax_rec.algorithms.fedopt import fedadam
from fedjax_rec.algorithms.scaffold import scaffold
from fedjax_rec.base import AggregateTransform, ClientUpdate, Part, Private
from fedjax_rec.data import load
from fedjax_rec.recommenders import recommender
from fedjax_rec.sampling import Uniform
from fedjax_rec.simulation import CheckpointPlan, EarlyStop, EvaluationPlan, Execution, simulate
from fedjax_rec.transforms import chain, mean

DATA = load("synthetic", num_users=10, num_items=30, mean_events=7, seed=2)
ROUNDS, KILLED = 4, 2
PLAN = EvaluationPlan(every=ROUNDS, at_k=(5,))


def half_now() -> AggregateTransform:
    """Sends half of what is due and keeps the rest; the server counts its rounds and uses it."""

    def encode(key, message, state, residual, bound):
        due = jax.tree.map(jnp.add, message.update, Part(*residual))
        sent = jax.tree.map(lambda leaf: leaf / 2, due)
        return message._replace(update=sent), Private(*tree.subtract(due, sent))

    def decode(key, total, state, bound):
        update = jax.tree.map(lambda leaf: leaf * (1 + state), total.update)
        return total._replace(update=update), state + 0.5

    return AggregateTransform(
        init=lambda key, template: jnp.float32(0),
        init_residual=lambda template: Private(*tree.zeros_like(template)),
        encode=encode,
        decode=decode,
        support="table",
    )


def parts():
    return recommender(DATA.num_items, is_sliced=False)


ALGORITHMS = {
    "optimizer": lambda: fedadam(*parts()),
    "memory+extra": lambda: scaffold(*parts(), num_clients=DATA.num_clients),
    "memory": lambda: ditto(*parts(), strength=0.1),
    "residual+aggregate": lambda: fedmf_explicit(
        DATA.num_items, dim=2, is_sliced=False, aggregate=chain(half_now(), mean("client"))
    ),
}
USES = {
    "optimizer": lambda state, clients: state.opt_state,
    "memory+extra": lambda state, clients: (clients.memory, state.extra),
    "memory": lambda state, clients: clients.memory,
    "residual+aggregate": lambda state, clients: (clients.residual, state.aggregate_state),
}


class KilledError(Exception):
    """Ends a run from within."""


def run(algorithm, data=DATA, **changes):
    settings = {
        "key": jax.random.key(3),
        "rounds": ROUNDS,
        "evaluation": PLAN,
        "sampler": Uniform(len(data.training_clients), 4),
        "execution": Execution(),
        "notice": lambda line: None,
        "checkpoint": CheckpointPlan(every=1),
    }
    return simulate(algorithm, data, **settings | changes)


def kill(report):
    if report.round == KILLED:
        raise KilledError


def resumed(algorithm, folder, data=DATA, **changes):
    with pytest.raises(KilledError):
        run(algorithm, data, output=folder, report=kill, **changes)
    left = run(algorithm, data, output=folder, **changes)
    assert left.first_round == KILLED
    return left


def assert_same(one, other):
    for left, right in zip(*map(jax.tree.leaves, (one, other)), strict=True):
        np.testing.assert_array_equal(np.asarray(left), np.asarray(right))


def bare(left):
    return left.state._replace(key=0), left.clients


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_part_of_the_state_outlives_a_kill(name, tmp_path):
    algorithm, used = ALGORITHMS[name](), USES[name]
    whole = run(algorithm, output=tmp_path / "whole")
    assert_same(bare(whole), bare(resumed(algorithm, tmp_path / "killed")))
    early = run(algorithm, rounds=KILLED)
    for one, other in zip(
        *(jax.tree.leaves(used(left.state, left.clients)) for left in (early, whole)), strict=True
    ):  # or there would be nothing to lose
        assert np.any(np.asarray(one))
        assert not np.array_equal(one, other)


@pytest.fixture(scope="module")
def algorithm():
    return fedmf_explicit(DATA.num_items, dim=2)


def test_bytes_rounds_and_clocks_go_on_counting(algorithm, tmp_path):
    whole = run(algorithm)
    with pytest.raises(KilledError):
        run(algorithm, output=tmp_path, report=kill)
    nothing_left = run(algorithm, output=tmp_path, rounds=KILLED)
    assert nothing_left.first_round == KILLED
    timing = nothing_left.summary["timing"]  # of the session before: this one has not trained
    assert timing["train_seconds"] > 0
    assert timing["compile_seconds"] > 0
    left = run(algorithm, output=tmp_path)
    assert left.summary["communication"] == whole.summary["communication"]
    assert left.summary["communication"]["total_up"] > 0
    assert [line["round"] for line in left.metrics] == list(range(1, ROUNDS + 1))


def test_patience_goes_on_counting(tmp_path):
    """A model that stands still is never better: patience ends it where it would have."""
    still = fedmf_explicit(DATA.num_items, dim=2, server_optimizer=optax.sgd(1e-30))
    still = replace(still, client_update=_private_stands_still(still.client_update))
    changes = {
        "stop": EarlyStop("valid/ndcg@5", patience=3, waits_for="nothing"),
        "evaluation": EvaluationPlan(every=1, at_k=(5,)),
        "rounds": 9,
    }
    whole = run(still, **changes)
    assert whole.summary["rounds"] == 4
    assert resumed(still, tmp_path, **changes).summary["rounds"] == 4


def _private_stands_still(client_update):
    def run(key, view, task):
        return client_update.run(key, view, task)._replace(private=view.private)

    return ClientUpdate(run, client_update.support)


def test_whoever_is_held_out_never_trains(tmp_path):
    data = load(
        "synthetic",
        num_users=15,
        num_items=30,
        mean_events=9,
        seed=2,
        holdout="users",
        validation="users",
        share=0.2,
    )
    held = np.setdiff1d(np.arange(data.num_clients), data.training_clients)
    assert len(held)
    algorithm = fedmf_explicit(data.num_items, dim=2)
    everybody = Uniform(len(data.training_clients), len(data.training_clients))
    whole = run(algorithm, data, sampler=everybody)
    left = resumed(algorithm, tmp_path, data, sampler=everybody)
    assert_same(bare(whole), bare(left))
    start = run(algorithm, data, rounds=1, sampler=Uniform(len(data.training_clients), 1))
    for before, after in zip(
        *map(jax.tree.leaves, (start.clients.private, left.clients.private)), strict=True
    ):
        moved = np.any(np.asarray(before) != np.asarray(after), axis=1)
        assert not moved[held].any()
        assert moved[data.training_clients].sum() >= len(data.training_clients) - 1


def test_bytes_of_clients_that_diverge_are_counted(algorithm):
    bad = replace(algorithm, client_update=_half_of_them_diverge(algorithm.client_update))
    fine, broken = run(algorithm), run(bad)
    assert broken.summary["bad_updates"] > 0
    assert broken.summary["communication"] == fine.summary["communication"]


def _half_of_them_diverge(client_update):
    def run(key, view, task):
        output = client_update.run(key, view, task)
        is_bad = task.entry.client_id % 2 == 0
        return output._replace(weight=jnp.where(is_bad, jnp.nan, output.weight))

    return ClientUpdate(run, client_update.support)
