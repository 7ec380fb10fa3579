"""Local training: some optimizer steps on one client's own examples."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import optax

from fedjax_rec.base import (
    Array,
    ClientOutput,
    ClientUpdate,
    Key,
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
from fedjax_rec.tree import subtract

Carry = TypeVar("Carry")


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
    batch, loss = objective.batch, objective.loss
    if batch is None or loss is None:
        raise ValueError("local_training needs an objective with batch and loss")

    def mean_loss(
        trained: tuple[Part, Private], view: View, examples: PyTree
    ) -> tuple[Array, tuple[Array, Array]]:
        view = view._replace(shared=trained[0], private=trained[1])
        losses, weights = loss(model.score(view, examples.inputs), examples)
        total, weight = jnp.sum(losses * weights), jnp.sum(weights)
        return total / jnp.where(weight > 0, weight, 1.0), (total, weight)

    def run(key: Key, view: View, task: Task) -> ClientOutput:
        def local_step(step: Array, carry: PyTree) -> PyTree:
            trained, opt_state, seen = carry
            examples = batch(task.plan, step)
            grads, (total, weight) = jax.grad(mean_loss, has_aux=True)(trained, view, examples)
            updates, opt_state = optimizer.update(grads, opt_state, trained)
            return optax.apply_updates(trained, updates), opt_state, seen.merge(Stat(total, weight))

        start = (view.shared, view.private)
        carry = (start, optimizer.init(start), Stat(jnp.float32(0), jnp.float32(0)))
        (shared, private), _, seen = masked_loop(local_step, carry, task)
        return ClientOutput(
            subtract(shared, view.shared), private, view.memory, seen.weight, {"loss": seen}
        )

    return ClientUpdate(run, support)
