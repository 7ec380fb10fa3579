"""Local training, against a loop in NumPy on the same examples."""

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.typing import NDArray

from fedjax_rec.base import (
    Entry,
    History,
    Inputs,
    LocalSGD,
    Model,
    Objective,
    Part,
    Private,
    Sampled,
    Task,
    View,
    empty,
    nothing_private,
)
from fedjax_rec.clients import by_role, local_training, masked_loop
from fedjax_rec.models import gmf, matrix_factorization
from fedjax_rec.objectives import Sampler, binary_cross_entropy, sampled, squared_error

NUM_ITEMS, DIM = 40, 3
MODEL = matrix_factorization(NUM_ITEMS, DIM)
RNG = np.random.default_rng(0)
SHARED = Part({"item": jnp.asarray(RNG.normal(0, 0.5, (NUM_ITEMS, DIM)), jnp.float32)}, ())
PRIVATE = Private({}, jnp.asarray(RNG.normal(0, 0.5, DIM), jnp.float32))
HISTORY = History(
    items=jnp.array([7, 2, 7, 31, 40, 40]),  # item 7 recurs; two places of padding
    values=jnp.ones(6),
    times=jnp.zeros(6, jnp.int32),
    num_events=jnp.int32(4),
    excluded=jnp.array([2, 7, 31, 40]),
    num_excluded=jnp.int32(3),
)
ENTRY = Entry(jnp.int32(0), jnp.int32(0), jnp.bool_(True))


def task(plan: Any, num_steps: Any, max_steps: Any) -> Task:
    return Task(ENTRY, jnp.int32(0), plan, jnp.int32(num_steps), jnp.int32(max_steps))


# ------------------------------------------------------------------ one whole client


class Case(NamedTuple):
    local_epochs: int
    momentum: float


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))


def by_hand(
    batches: list[tuple[NDArray[Any], ...]],
    table: NDArray[np.float64],
    user: NDArray[np.float64],
    rates: tuple[float, float],
    momentum: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Stochastic gradient descent on the mean binary cross-entropy of each batch."""
    table, user = table.copy(), user.copy()
    speeds = np.zeros_like(table), np.zeros_like(user)
    summed_loss = 0.0
    for ids, label, is_valid in batches:
        gradients = np.zeros_like(table), np.zeros_like(user)
        for i, y, ok in zip(ids, label, is_valid, strict=True):
            if not ok:
                continue
            score = table[i] @ user
            error = (sigmoid(score) - y) / is_valid.sum()
            gradients[0][i] += error * user
            gradients[1][:] += error * table[i]
            summed_loss += np.logaddexp(0, score) - y * score
        for parameter, speed, gradient, rate in zip(
            (table, user), speeds, gradients, rates, strict=True
        ):
            speed *= momentum
            speed += gradient
            parameter -= rate * speed
    return table, user, summed_loss


@pytest.mark.parametrize("case", [Case(1, 0.0), Case(1, 0.9), Case(3, 0.0), Case(3, 0.9)], ids=str)
def test_local_training_equals_a_loop_in_numpy(case: Case) -> None:
    sampler = Sampler(NUM_ITEMS, num_negatives=2, local_epochs=case.local_epochs, batch_size=5)
    objective = sampled(sampler, binary_cross_entropy)
    rates = (0.8, 0.3)
    optimizer = by_role(
        shared=optax.sgd(rates[0], momentum=case.momentum or None),
        private=optax.sgd(rates[1], momentum=case.momentum or None),
    )
    update = local_training(MODEL, objective, optimizer)
    memory = Private({}, jnp.arange(2.0))

    @jax.jit
    def client(key: jax.Array, shared: Part, private: Private) -> Any:
        row_ids, plan = objective.prepare(key, HISTORY)
        view = View(shared, private, empty(), memory, empty())
        num_steps = objective.num_steps(plan)
        # whole tables, so that rows stand for items here and in the loop
        plan = plan._replace(rows=plan.rows if row_ids["item"] is None else row_ids["item"])
        examples = jax.vmap(objective.batch, (None, 0))(plan, jnp.arange(3 * case.local_epochs))
        output = update.run(key, view, task(plan, num_steps, num_steps + 4))
        return num_steps, examples, output

    num_steps, examples, output = client(jax.random.key(3), SHARED, PRIVATE)
    assert num_steps == 3 * case.local_epochs  # 12 examples by fives
    batches = list(zip(examples.inputs.ids, examples.label, examples.is_valid, strict=True))
    batches = [tuple(np.asarray(values) for values in batch) for batch in batches]
    start = np.asarray(SHARED.rows["item"], np.float64), np.asarray(PRIVATE.dense, np.float64)
    new_table, new_user, loss = by_hand(batches, *start, rates, case.momentum)

    moved = output.update.rows["item"]
    np.testing.assert_allclose(moved, new_table - start[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(output.private.dense, new_user, rtol=1e-5)
    assert (np.asarray(moved)[(new_table == start[0]).all(1)] == 0).all(), "an untouched row moves"
    assert type(output.update) is Part
    assert type(output.private) is Private

    assert output.weight == 12 * case.local_epochs
    assert output.info["loss"].weight == output.weight
    assert output.info["loss"].total == pytest.approx(loss, rel=1e-5)
    np.testing.assert_array_equal(output.memory.dense, memory.dense)


@pytest.mark.parametrize("model", [MODEL, gmf(NUM_ITEMS, DIM)], ids=["mf", "gmf"])
def test_steps_on_the_rows_of_a_batch_are_steps_on_the_table(model: Model) -> None:
    """Plain SGD of a row-wise model visits these rows alone; padding steps move nothing."""
    sampler = Sampler(NUM_ITEMS, num_negatives=2, local_epochs=2, batch_size=5)
    objective = sampled(sampler, binary_cross_entropy)
    optimizer = by_role(optax.sgd(0.8), optax.sgd(0.3))
    shared = SHARED._replace(dense=jnp.ones(DIM) if model is not MODEL else ())

    @jax.jit
    def both() -> Any:
        _, plan = objective.prepare(jax.random.key(3), HISTORY)
        view = View(shared, PRIVATE, empty(), nothing_private(), empty())
        work = task(plan, objective.num_steps(plan), 9)
        updates = (
            local_training(model_of, objective, optimizer)
            for model_of in (model, replace(model, is_row_wise=False, score_vjp=None))
        )
        return [update.run(jax.random.key(3), view, work) for update in updates]

    sparse, dense = both()
    moved = np.asarray(sparse.update.rows["item"])
    assert 0 < (moved == 0).all(1).sum() < NUM_ITEMS
    for one, other in zip(*map(jax.tree.leaves, (sparse, dense)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (by_role(optax.sgd(0.5), optax.sgd(2.0)), LocalSGD(0.5, 2.0, 0.0)),
        (optax.sgd(0.5, momentum=0.75), LocalSGD(0.5, 0.5, 0.75)),
        (optax.adam(0.5), None),
    ],
    ids=["sgd", "momentum", "adam"],
)
def test_steps_are_promised_where_they_are_plain(optimizer: Any, expected: Any) -> None:
    objective = sampled(Sampler(NUM_ITEMS), binary_cross_entropy)
    assert local_training(MODEL, objective, optimizer).local == expected


def test_a_step_past_the_end_moves_nothing_where_its_scores_overflow() -> None:
    """Zero times infinity is no zero: a client must not depend on how long others train."""
    objective = sampled(Sampler(NUM_ITEMS, num_negatives=1, batch_size=4), squared_error)
    update = local_training(MODEL, objective, by_role(optax.sgd(1.0), optax.sgd(1e-9)))
    table = jnp.full((NUM_ITEMS, DIM), 1e19)
    view = View(
        Part({"item": table}, ()),
        Private({}, jnp.full(DIM, 1e20)),
        empty(),
        nothing_private(),
        empty(),
    )

    @jax.jit
    def client(max_steps: Any) -> Any:
        _, plan = objective.prepare(jax.random.key(2), HISTORY)
        return update.run(jax.random.key(2), view, task(plan, 0, max_steps))

    for output in map(client, (0, 2)):
        assert not np.any(output.update.rows["item"])
        np.testing.assert_array_equal(output.private.dense, view.private.dense)


def test_a_step_minimises_the_mean_loss_also_when_weights_are_fractions() -> None:
    def batch(plan: Any, step: Any) -> Sampled:
        return Sampled(Inputs(jnp.array([1, 2])), jnp.array([1.0, 0.0]), jnp.array([True, False]))

    def loss(scores: Any, examples: Sampled) -> Any:
        losses, weights = binary_cross_entropy(scores, examples)
        return losses, 0.25 * weights

    objective = Objective(lambda key, history: ({}, ()), lambda plan: 1, batch, loss)
    update = local_training(MODEL, objective, optax.sgd(1.0))
    table, user = np.full((NUM_ITEMS, DIM), 0.5, np.float32), np.ones(DIM, np.float32)
    view = View(
        Part({"item": jnp.asarray(table)}, ()),
        Private({}, jnp.asarray(user)),
        empty(),
        nothing_private(),
        empty(),
    )
    output = jax.jit(lambda: update.run(jax.random.key(0), view, task((), 1, 1)))()
    expected = (1 - sigmoid(np.float64(1.5))) * user  # a mean over one example: weights cancel
    np.testing.assert_allclose(output.update.rows["item"][1], expected, rtol=1e-5)
    assert output.weight == 0.25


def test_a_client_without_steps_sends_nothing_and_stays_as_it_is() -> None:
    objective = sampled(Sampler(NUM_ITEMS, num_negatives=1, batch_size=4), binary_cross_entropy)
    update = local_training(MODEL, objective, optax.sgd(1.0, momentum=0.9))

    @jax.jit
    def client(shared: Part, private: Private) -> Any:
        _, plan = objective.prepare(jax.random.key(2), HISTORY)
        view = View(shared, private, empty(), nothing_private(), empty())
        return update.run(jax.random.key(3), view, task(plan, 0, 3))

    output = client(SHARED, PRIVATE)
    assert not np.any(output.update.rows["item"])
    np.testing.assert_array_equal(output.private.dense, PRIVATE.dense)
    assert output.weight == 0
    assert output.info["loss"].mean() == 0


def test_an_objective_without_batches_is_refused() -> None:
    with pytest.raises(ValueError, match="needs an objective with batch and loss"):
        local_training(MODEL, Objective(lambda key, history: ({}, ())), optax.sgd(1.0))


# ----------------------------------------------------------------------- masked_loop

OPTIMIZERS = {"momentum": optax.sgd(0.1, momentum=0.9), "adam": optax.adam(0.1)}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_short_client_ends_where_it_would_alone(name: str) -> None:
    optimizer = OPTIMIZERS[name]
    start = jnp.array([1.0, -2.0, 0.5])

    def body(step: Any, carry: Any) -> Any:
        x, state = carry
        updates, state = optimizer.update(x * (1 + step), state, x)
        return optax.apply_updates(x, updates), state

    @jax.jit
    def run(num_steps: Any, max_steps: Any) -> Any:
        return masked_loop(body, (start, optimizer.init(start)), task((), num_steps, max_steps))

    @jax.jit
    def together(num_steps: Any) -> Any:
        return jax.vmap(lambda own: run(own, jnp.max(num_steps)))(num_steps)

    lengths = [0, 2, 5]
    cohort = together(jnp.array(lengths))
    for place, own in enumerate(lengths):
        alone = jax.tree.leaves(run(own, own))
        for padded, other in zip(jax.tree.leaves(run(own, 9)), alone, strict=True):
            np.testing.assert_array_equal(padded, other)
        for beside, other in zip(jax.tree.leaves(cohort), alone, strict=True):
            np.testing.assert_allclose(beside[place], other, rtol=1e-6, atol=1e-7)
    assert np.any(run(2, 2)[0] != run(5, 5)[0]), "the control: steps move something"


def test_what_a_step_past_the_end_computes_is_never_seen() -> None:
    def body(step: Any, carry: Any) -> Any:
        return {"x": jnp.where(step < 3, carry["x"] + 1, jnp.nan), "steps": carry["steps"] + 1}

    carry = {"x": jnp.float32(0), "steps": jnp.int32(0)}
    end = jax.jit(lambda: masked_loop(body, carry, task((), 3, 10)))()
    assert (float(end["x"]), int(end["steps"])) == (3.0, 3)


# --------------------------------------------------------------------------- by_role


def test_each_role_has_its_own_optimizer_and_state() -> None:
    optimizer = by_role(optax.sgd(1.0, momentum=0.5), optax.sgd(0.1))
    grads = (Part({"item": jnp.ones((2, 2))}, {"head": jnp.ones(1)}), Private({}, jnp.ones(3)))

    @jax.jit
    def two_steps() -> Any:
        first, state = optimizer.update(grads, optimizer.init(grads))
        second, _ = optimizer.update(grads, state)
        return first, second

    for number, updates in enumerate(two_steps()):
        shared, private = updates
        assert isinstance(private, Private)
        expected = -(1 + 0.5 * number)
        np.testing.assert_allclose(shared.rows["item"], np.full((2, 2), expected))
        np.testing.assert_allclose(shared.dense["head"], [expected])
        np.testing.assert_allclose(private.dense, [-0.1] * 3, rtol=1e-6)


def test_dense_parameters_may_have_an_optimizer_of_their_own() -> None:
    optimizer = by_role(optax.sgd(1.0), optax.sgd(0.1), dense=optax.sgd(0.25))
    grads = (Part({"item": jnp.ones((2, 2))}, {"head": jnp.ones(1)}), Private({}, jnp.ones(3)))
    (shared, private), _ = optimizer.update(grads, optimizer.init(grads))
    np.testing.assert_allclose(shared.rows["item"], np.full((2, 2), -1.0))
    np.testing.assert_allclose(shared.dense["head"], [-0.25])
    np.testing.assert_allclose(private.dense, [-0.1] * 3, rtol=1e-6)
