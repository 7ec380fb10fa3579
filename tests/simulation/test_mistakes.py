"""What the author of a method did wrong is told in the author's words."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from fedjax_rec.algorithms import fedavg
from fedjax_rec.base import ClientOutput, ClientUpdate, Fixed, Objective, Part, Private, Stat
from fedjax_rec.data import load
from fedjax_rec.errors import MethodError
from fedjax_rec.models import matrix_factorization
from fedjax_rec.objectives import Sampler
from fedjax_rec.simulation import build, pad_cohort
from fedjax_rec.transforms import mean

ITEMS = 12


@pytest.fixture(scope="module")
def data():
    return load("synthetic", num_users=6, num_items=ITEMS, mean_events=6, seed=1)


def prepare(key, history):
    return {"item": None}, history


def honest(key, view, task):
    update = jax.tree.map(jnp.zeros_like, view.shared)
    return ClientOutput(update, view.private, view.memory, jnp.float32(1), {})


def algorithm(run=honest, objective=None, support="table"):
    made = fedavg(
        matrix_factorization(ITEMS, dim=2),
        objective or Objective(prepare),
        ClientUpdate(run, support=support),
    )
    return replace(made, init_memory=lambda key: Private({}, {"count": jnp.int32(0)}))


def trace(made, data):
    engine = build(made)
    state, clients, frozen = engine.init(jax.random.key(0), data.num_clients)
    fixed = Fixed(frozen, data.clients)
    return jax.eval_shape(engine.step, state, clients, pad_cohort(jnp.arange(3), 6), fixed)


def changed(**fields):
    return lambda key, view, task: honest(key, view, task)._replace(**fields)


def few_rows(key, view, task):
    return honest(key, view, task)._replace(update=Part({"item": jnp.zeros((3, 2))}, ()))


def counted_as_float(key, view, task):
    return honest(key, view, task)._replace(memory=Private({}, {"count": jnp.float32(1)}))


def branches(key, view, task):
    if task.num_steps > 3:
        return honest(key, view, task)
    return honest(key, view, task)


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (lambda key, view, task: tuple(honest(key, view, task)), "must return ClientOutput"),
        (lambda key, view, task: None, r"must return ClientOutput\(update, .*\); got None"),
        (few_rows, r"update.rows\['item'\] must have the shape \(12, 2\); got \(3, 2\)"),
        (counted_as_float, r"memory.*was int32 and is float32: return it with .astype"),
        (changed(weight=jnp.ones(3)), r"weight must be one number.*shape \(3,\)"),
        (changed(info={"loss": 0.5}), r"info\['loss'\] must be Stat\(total, weight\); got a float"),
        (changed(info=[]), "info must be a dict of Stat; got a list"),
        (
            changed(info={"loss": Stat(jnp.ones(2), jnp.float32(1))}),
            r"info\['loss'\]: total and weight must be single numbers",
        ),
        (branches, r"ClientUpdate.run: .*test_mistakes.py, line \d+: if task.num_steps > 3:.*cond"),
    ],
)
def test_a_wrong_client_is_told_what_was_wrong(run, says, data):
    with pytest.raises(MethodError, match=says) as caught:
        trace(algorithm(run), data)
    assert "\n" not in str(caught.value)


def of_dtype(state, total, cohort):
    shared = jax.tree.map(lambda leaf: leaf.astype(jnp.float16), state.shared)
    return state._replace(shared=shared)


def branching(state, total, cohort):
    assert total.weight > 0
    return state


@pytest.mark.parametrize(
    ("apply", "says"),
    [
        (lambda state, total, cohort: None, "must return a ServerState; got None"),
        (lambda state, total, cohort: state.shared, "must return a ServerState; got a Part"),
        (
            lambda state, total, cohort: state._replace(extra=Part({}, 1.0)),
            "keep the tree of extra",
        ),
        (of_dtype, r"shared.*was float32 and is float16"),
        (branching, r"ServerUpdate.apply: .*line \d+: assert total.weight > 0"),
    ],
)
def test_a_wrong_server_is_told_what_was_wrong(apply, says, data):
    made = algorithm()
    wrong = replace(made, server_update=replace(made.server_update, apply=apply))
    with pytest.raises(MethodError, match=says) as caught:
        trace(wrong, data)
    assert "\n" not in str(caught.value)


def test_what_is_right_is_traced(data):
    trace(algorithm(), data)


def test_a_table_is_refused_with_slices_that_happen_to_cover_it(data):
    """Each client here has so long a history that it gets the whole table."""

    def sliced(key, history):
        is_long = history.excluded.shape[0] > 1
        return {"item": None if is_long else history.excluded}, history

    assert all(length.num_excluded > 1 for length in data.clients.classes)
    for support in ("slice", "lazy"):
        trace(algorithm(objective=Objective(sliced), support=support), data)
    with pytest.raises(ValueError, match="needs every row"):
        trace(algorithm(objective=Objective(sliced)), data)
    with pytest.raises(ValueError, match="needs every row"):
        trace(algorithm(objective=Objective(prepare, sampler=Sampler(ITEMS))), data)
    link = replace(mean("client"), support="table")
    made = replace(algorithm(objective=Objective(sliced), support="slice"), aggregate=link)
    with pytest.raises(ValueError, match="needs every row"):
        trace(made, data)
