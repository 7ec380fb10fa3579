"""Local training: some optimizer steps on one client's own examples."""

from collections.abc import Callable, Sequence
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
    is_zero,
)
from fedjax_rec.clients.gradients import (
    factored_gradients,
    is_factored,
    loss_gradients,
    rows_of,
)
from fedjax_rec.optimizers import as_sgd
from fedjax_rec.tree import add_at, mask, subtract

Carry = TypeVar("Carry")
PartT = TypeVar("PartT", Part, Private)
Run = Callable[[Key, View, Task], ClientOutput]
Pull = Callable[[View, Part], Part]


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
    shared: optax.GradientTransformation | None = None,
    private: optax.GradientTransformation | None = None,
    dense: optax.GradientTransformation | None = None,
) -> optax.GradientTransformation:
    """One optimizer for the shared, another for the private parameters.

    A role without one stays as it is.

    Args:
      shared: of the shared parameters.
      private: of the private ones.
      dense: of those shared parameters that are not rows, in place of `shared`.

    >>> optimizer = by_role(optax.sgd(1.0), optax.sgd(0.1))
    >>> grads = (Part({}, jnp.ones(1)), Private({}, jnp.ones(1)))
    >>> updates, _ = optimizer.update(grads, optimizer.init(grads))
    >>> [round(float(part.dense[0]), 2) for part in updates]
    [-1.0, -0.1]
    """

    def named(tree: PyTree, name: str) -> PyTree:
        return jax.tree.map(lambda _: name, tree)

    def labels(params: tuple[Part, Private]) -> PyTree:
        rows, rest = params[0]
        return Part(named(rows, "shared"), named(rest, "dense")), named(params[1], "private")

    still = optax.set_to_zero()
    optimizers = {"shared": shared, "private": private, "dense": dense or shared}
    return optax.partition({name: one or still for name, one in optimizers.items()}, labels)


def local_training(
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation | list[optax.GradientTransformation],
    *,
    pull: Pull | None = None,
    support: Support = "slice",
) -> ClientUpdate:
    """Local steps of an optimizer, started afresh each round.

    For each batch b the client minimises the mean loss of its real examples,
    `sum(weight * loss) / sum(weight)`, over its copy of the shared rows and its private
    parameters together; it sends `local - global`.

    Args:
      model: what scores.
      objective: what draws examples and measures them; needs `batch` and `loss`.
      optimizer: any optax optimizer of `(shared, private)`; see `by_role`. Of a list each
        steps in turn on every batch, on gradients of its own.
      pull: `(view, shared) -> Part`, added to the gradient of the shared parameters at
        every step: what else the client minimises than its loss. `view` is as received,
        `shared` as it stands.
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
    optimizers = list(optimizer) if isinstance(optimizer, list) else [optimizer]
    params = shapes_of_parameters(model)
    known = [as_sgd(optimizer, params) for optimizer in optimizers if pull is None]
    plain = [local for local in known if local]
    is_plain = len(plain) == len(optimizers) and all(is_zero(local.momentum) for local in plain)
    if is_plain and model.is_row_wise and objective.sampler:
        run = _sparse_steps(model, objective, objective.sampler.table, plain)
    else:
        run = _dense_steps(model, objective, optimizers, pull)
    return ClientUpdate(run, support, plain[0] if plain and len(optimizers) == 1 else None)


def shapes_of_parameters(model: Model) -> tuple[Part, Private]:
    """Shapes of what a client's optimizer sees: the shared and the private part.

    >>> from fedjax_rec.models import matrix_factorization
    >>> shapes_of_parameters(matrix_factorization(5, dim=2))[1].dense.shape
    (2,)
    """

    def params() -> tuple[Part, Private]:
        key = jax.random.key(0)
        return model.init(key)[0], model.init_private(key)

    shapes: tuple[Part, Private] = jax.eval_shape(params)
    return shapes


def trained_view(client_update: ClientUpdate) -> Callable[[Key, View, Task], View]:
    """What a client sees after its local training: an `adapt` for its own copy of the model.

    Args:
      client_update: whose update is a change of the shared parameters.
    """

    def adapt(key: Key, view: View, task: Task) -> View:
        output = client_update.run(key, view, task)
        shared: Part = jax.tree.map(jnp.add, view.shared, output.update)
        return view._replace(shared=shared, private=output.private, memory=output.memory)

    return adapt


def _dense_steps(
    model: Model, objective: Objective, optimizers: Sequence[Any], pull: Pull | None
) -> Run:
    """Steps of any optimizers, over every row of the client's slice."""
    batch, loss = cast(Any, objective.batch), cast(Any, objective.loss)

    def gradients(now: View, examples: PyTree) -> tuple[tuple[Part, Private], Array, Array]:
        if is_factored(model, objective):
            return factored_gradients(model, objective, now, examples)
        found = loss_gradients(model, loss, now, examples)
        return found.gradients, found.total, found.weight

    def run(key: Key, view: View, task: Task) -> ClientOutput:
        def local_step(step: Array, carry: PyTree) -> PyTree:
            trained, opt_states, seen = carry
            examples, states = batch(task.plan, step), []
            for turn, (optimizer, opt_state) in enumerate(zip(optimizers, opt_states, strict=True)):
                now = view._replace(shared=trained[0], private=trained[1])
                grads, *loss_seen = gradients(now, examples)
                if pull is not None:
                    pulled: Part = jax.tree.map(jnp.add, grads[0], pull(view, trained[0]))
                    grads = (pulled, grads[1])
                updates, opt_state = optimizer.update(grads, opt_state, trained)
                trained = optax.apply_updates(trained, updates)
                states.append(opt_state)
                seen = seen if turn else _merge(seen, *loss_seen)
            return trained, states, seen

        start = (view.shared, view.private)
        opt_states = [optimizer.init(start) for optimizer in optimizers]
        carry = (start, opt_states, Stat(jnp.float32(0), jnp.float32(0)))
        (shared, private), _, seen = masked_loop(local_step, carry, task)
        return _output(view, shared, private, seen)

    return run


def _sparse_steps(model: Model, objective: Objective, table: str, turns: Sequence[LocalSGD]) -> Run:
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
            for turn, local in enumerate(turns):
                now = rows_of(view._replace(shared=shared, private=private), table, ids)
                grads, _, *loss_seen = loss_gradients(model, loss, now, examples)
                grads = mask(is_running, grads)  # a score that overflows has no gradient of 0
                shared = _descend(shared, grads[0], local.shared_learning_rate, table, ids)
                private = _descend(private, grads[1], local.private_learning_rate, table, ids)
                seen = seen if turn else _merge(seen, *loss_seen)
            return (shared, private), seen

        start = (view.shared, view.private), Stat(jnp.float32(0), jnp.float32(0))
        (shared, private), seen = jax.lax.fori_loop(0, task.max_steps, local_step, start)
        return _output(view, shared, private, seen)

    return run


def _descend(part: PartT, grads: PartT, learning_rate: float, table: str, ids: Array) -> PartT:
    """`w <- w - learning_rate g`, g given for the rows `ids` of one table."""
    if is_zero(learning_rate):
        return part

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
