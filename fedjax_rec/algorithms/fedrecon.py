"""FedRecon: clients keep nothing, and rebuild their private parameters in every round.

Singhal et al. (2021), "Federated reconstruction: partially local federated learning", NeurIPS.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import jax.numpy as jnp
import optax

from fedjax_rec.algorithms.fedavg import fedavg
from fedjax_rec.base import (
    AggregateTransform,
    Array,
    ClientOutput,
    ClientUpdate,
    FederatedAlgorithm,
    Key,
    Model,
    Objective,
    PyTree,
    Stat,
    Task,
    View,
)
from fedjax_rec.clients import masked_loop
from fedjax_rec.clients.gradients import loss_gradients
from fedjax_rec.transforms import mean
from fedjax_rec.tree import subtract, zeros_like

SHARED, PRIVATE = 0, 1
"""The roles, in the order of an optimizer's parameters."""


def fedrecon(
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    recon_epochs: int = 5,
    aggregate: AggregateTransform | None = None,
    server_optimizer: optax.GradientTransformation | None = None,
) -> FederatedAlgorithm:
    """Federated reconstruction.

    A client's batches are parted: the even ones are its support set, the odd ones its query
    set. From fresh private parameters `l` it takes steps on the support set with the shared
    `g` frozen, then steps of `g` on the query set with `l` frozen. It sends the change of `g`,
    weighed by its query examples, and forgets `l`. To be scored it rebuilds `l` on all its
    training examples.

    Args:
      model: how items are scored; `init_private` is where reconstruction starts.
      objective: which examples, and which loss; needs `batch` and `loss`. Batches should be
        small: a client with a single one has no query set and sends nothing.
      optimizer: of `(shared, private)`, started afresh for each of the two.
      recon_epochs: passes over the support set, at least 1.
      aggregate: what happens to updates; `mean("example")` by default.
      server_optimizer: `optax.sgd(1.0)` by default.

    Returns:
      The algorithm's filled slots; what the store holds of a client never changes.

    Raises:
      ValueError: `recon_epochs` is below 1.

    Reference:
      Singhal et al. (2021), Algorithm 1. Like the released code it parts the data by batches.

    >>> from fedjax_rec.algorithms.recommender import recommender
    >>> fedrecon(*recommender(100)).model.num_rows
    {'item': 100}
    """
    if recon_epochs < 1:
        raise ValueError(f"recon_epochs must be at least 1, got {recon_epochs}")
    batch, loss = cast(Any, objective.batch), cast(Any, objective.loss)

    def train(
        view: View, task: Task, role: int, number_of: Callable[[Array], Array]
    ) -> tuple[View, Stat]:
        """Steps of one role on the batches `number_of(0), number_of(1), ...`."""

        def step(count: Array, carry: PyTree) -> PyTree:
            trained, opt_state, seen = carry
            now = view._replace(shared=trained[SHARED], private=trained[PRIVATE])
            examples = batch(task.plan, number_of(count))
            grads, _, shown, weight = loss_gradients(model, loss, now, examples)
            kept = tuple(g if i == role else zeros_like(g) for i, g in enumerate(grads))
            updates, opt_state = optimizer.update(kept, opt_state, trained)
            return optax.apply_updates(trained, updates), opt_state, seen.merge(Stat(shown, weight))

        start = (view.shared, view.private)
        nothing = Stat(jnp.float32(0), jnp.float32(0))
        carry: PyTree = (start, optimizer.init(start), nothing)
        (shared, private), _, seen = masked_loop(step, carry, task)
        return view._replace(shared=shared, private=private), seen

    def run(key: Key, view: View, task: Task) -> ClientOutput:
        num_support = (task.num_steps + 1) // 2
        support = task._replace(
            num_steps=recon_epochs * num_support,
            max_steps=recon_epochs * ((task.max_steps + 1) // 2),
        )
        query = task._replace(num_steps=task.num_steps // 2, max_steps=task.max_steps // 2)
        fresh = view._replace(private=model.init_private(key))
        rebuilt, _ = train(
            fresh, support, PRIVATE, lambda count: 2 * (count % jnp.maximum(num_support, 1))
        )
        trained, seen = train(rebuilt, query, SHARED, lambda count: 2 * count + 1)
        update = subtract(trained.shared, view.shared)
        return ClientOutput(update, view.private, view.memory, seen.weight, {"loss": seen})

    def adapt(key: Key, view: View, task: Task) -> View:
        everything = task._replace(
            num_steps=recon_epochs * task.num_steps, max_steps=recon_epochs * task.max_steps
        )
        fresh = view._replace(private=model.init_private(key))
        num_steps = jnp.maximum(task.num_steps, 1)
        return train(fresh, everything, PRIVATE, lambda count: count % num_steps)[0]

    algorithm = fedavg(
        model, objective, ClientUpdate(run), aggregate or mean("example"), server_optimizer
    )
    return replace(algorithm, adapt=adapt)
