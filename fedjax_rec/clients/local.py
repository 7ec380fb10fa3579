"""Local training: some optimizer steps on one client's own examples."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import optax

from fedjax_rec.base import (
    Array,
    ClientOutput,
    ClientUpdate,
    Key,
    LocalSGD,
    Model,
    Objective,
    Part,
    Private,
    PyTree,
    Stat,
    Support,
    Task,
    View,
)
from fedjax_rec.clients.gradients import loss_gradients, rows_of
from fedjax_rec.optimizers import as_sgd
from fedjax_rec.tree import add_at, mask, subtract

Carry = TypeVar("Carry")
PartT = TypeVar("PartT", Part, Private)
Run = Callable[[Key, View, Task], ClientOutput]


def masked_loop(body: Callable[[Array, Carry], Carry], carry: Carry, task: Task) -> Carry:
    """Runs `body(step, carry)` for this client's own number of steps.

    Clients of a chunk loop together to the longest one's end; past its own end a client's
    carry stays as it is. Write every local loop with it: a step on padding moves any
    optimizer that has momentum.

    Args:
      body: `(step, carry) -> carry`.
      carry: any pytree.
      task: says how many steps.

    Returns:
      The carry after `task.num_steps` steps.
    """

    def masked(step: Array, carry: Carry) -> Carry:
        is_running = step < task.num_steps
        kept: Carry = jax.tree.map(
            lambda new, old: jnp.where(is_running, new, old), body(step, carry), carry
        )
        return kept

    done: Carry = jax.lax.fori_loop(0, task.max_steps, masked, carry)
    return done


def by_role(
    shared: optax.GradientTransformation, private: optax.GradientTransformation
) -> optax.GradientTransformation:
    """One optimizer for the shared, another for the private parameters.

    >>> optimizer = by_role(optax.sgd(1.0), optax.sgd(0.1))
    >>> grads = (Part({}, jnp.ones(1)), Private({}, jnp.ones(1)))
    >>> updates, _ = optimizer.update(grads, optimizer.init(grads))
    >>> [round(float(part.dense[0]), 2) for part in updates]
    [-1.0, -0.1]
    """

    def labels(params: tuple[Part, Private]) -> PyTree:
        names = ("shared", "private")
        return tuple(
            jax.tree.map(lambda _, name=name: name, part)
            for name, part in zip(names, params, strict=True)
        )

    return optax.partition({"shared": shared, "private": private}, labels)


def local_training(
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    support: Support = "slice",
) -> ClientUpdate:
    """Local steps of an optimizer, started afresh each round.

    For each batch b the client minimises the mean loss of its real examples,
    `sum(weight * loss) / sum(weight)`, over its copy of the shared rows and its private
    parameters together; it sends `local - global`.

    Args:
      model: what scores.
      objective: what draws examples and measures them; needs `batch` and `loss`.
      optimizer: any optax optimizer of `(shared, private)`; see `by_role`.
      support: `slice` is right for optimizers that map zero gradients to zero steps from
        a fresh state (SGD, momentum, Adam); declare `lazy` for weight decay, which then
        acts on touched rows only.

    Returns:
      A client update; its weight is the number of examples of the round.

    Reference:
      McMahan et al. (2017), "Communication-efficient learning of deep networks from
      decentralized data", Algorithm 1, ClientUpdate.
    """
    if objective.batch is None or objective.loss is None:
        raise ValueError("local_training needs an objective with batch and loss")
    local = as_sgd(optimizer)
    if local and not local.momentum and model.is_row_wise and objective.sampler:
        run = _sparse_steps(model, objective, objective.sampler.table, local)
    else:
        run = _dense_steps(model, objective, optimizer)
    return ClientUpdate(run, support, local)


def _dense_steps(model: Model, objective: Objective, optimizer: Any) -> Run:
    """Steps of any optimizer, over every row of the client's slice."""
    batch, loss = cast(Any, objective.batch), cast(Any, objective.loss)

    def run(key: Key, view: View, task: Task) -> ClientOutput:
        def local_step(step: Array, carry: PyTree) -> PyTree:
            trained, opt_state, seen = carry
            now = view._replace(shared=trained[0], private=trained[1])
            grads, _, *loss_seen = loss_gradients(model, loss, now, batch(task.plan, step))
            updates, opt_state = optimizer.update(grads, opt_state, trained)
            return optax.apply_updates(trained, updates), opt_state, _merge(seen, *loss_seen)

        start = (view.shared, view.private)
        carry = (start, optimizer.init(start), Stat(jnp.float32(0), jnp.float32(0)))
        (shared, private), _, seen = masked_loop(local_step, carry, task)
        return _output(view, shared, private, seen)

    return run


def _sparse_steps(model: Model, objective: Objective, table: str, local: LocalSGD) -> Run:
    """The same for plain SGD, which moves no row outside the batch: only those are visited.

    Steps past the client's own number have no loss, so no gradient, and move nothing.
    """
    batch, loss = cast(Any, objective.batch), cast(Any, objective.loss)

    def run(key: Key, view: View, task: Task) -> ClientOutput:
        def local_step(step: Array, carry: PyTree) -> PyTree:
            (shared, private), seen = carry
            examples = batch(task.plan, step)
            ids, is_running = examples.inputs.ids, step < task.num_steps
            examples = examples._replace(
                inputs=replace(examples.inputs, ids=None), is_valid=examples.is_valid & is_running
            )
            now = rows_of(view._replace(shared=shared, private=private), table, ids)
            grads, _, *loss_seen = loss_gradients(model, loss, now, examples)
            grads = mask(is_running, grads)  # a score that overflows has no gradient of 0
            trained = (
                _descend(shared, grads[0], local.shared_learning_rate, table, ids),
                _descend(private, grads[1], local.private_learning_rate, table, ids),
            )
            return trained, _merge(seen, *loss_seen)

        start = (view.shared, view.private), Stat(jnp.float32(0), jnp.float32(0))
        (shared, private), seen = jax.lax.fori_loop(0, task.max_steps, local_step, start)
        return _output(view, shared, private, seen)

    return run


def _descend(part: PartT, grads: PartT, learning_rate: float, table: str, ids: Array) -> PartT:
    """`w <- w - learning_rate g`, g given for the rows `ids` of one table."""

    def move(leaf: Array, grad: Array) -> Array:
        return leaf - learning_rate * grad

    def move_rows(leaf: Array, grad: Array) -> Array:
        return add_at(leaf, ids, -learning_rate * grad)

    rows = {name: jax.tree.map(move_rows, part.rows[name], grads.rows[name]) for name in grads.rows}
    dense = jax.tree.map(move, part.dense, grads.dense)
    return part._replace(rows=part.rows | rows, dense=dense)


def _merge(seen: Stat, total: Array, weight: Array) -> Stat:
    """Observations stay in float32, whatever the parameters are."""
    return seen.merge(Stat(total.astype(jnp.float32), weight.astype(jnp.float32)))


def _output(view: View, shared: Part, private: Private, seen: Stat) -> ClientOutput:
    update = subtract(shared, view.shared)
    return ClientOutput(update, private, view.memory, seen.weight, {"loss": seen})
