"""FedSGD: one gradient of all of a client's examples a round.

McMahan et al. (2017), "Communication-efficient learning of deep networks from
decentralized data", AISTATS.
"""

from typing import Any, cast

import jax
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
    parametric,
)
from fedjax_rec.clients import loss_gradients, masked_loop
from fedjax_rec.tree import zeros_like


@parametric
def fedsgd(
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    aggregate: AggregateTransform | None = None,
    server_optimizer: optax.GradientTransformation | None = None,
) -> FederatedAlgorithm:
    """Federated stochastic gradient descent: a full-batch gradient is what a client sends.

    `w <- w - eta sum_k p_k grad F_k(w)`, F_k the mean loss over all examples of client k.

    Args:
      model: how items are scored.
      objective: which examples, and which loss; its batches only bound the memory.
      optimizer: of a client's copy of `(shared, private)`; makes one step. By SGD of rate eta
        what is sent is `-eta grad F_k(w)`.
      aggregate: what happens to updates; `mean("client")` by default, the paper's is
        `mean("example")`.
      server_optimizer: `optax.sgd(1.0)` by default.

    Returns:
      The algorithm's filled slots.

    Raises:
      ValueError: the objective has no batches.

    Reference:
      McMahan et al. (2017), section 2, and Algorithm 1 with E = 1 and B = infinity.
      Differences: eta is in what the client sends; private parameters make the same one step.

    >>> from fedjax_rec.recommenders import recommender
    >>> fedsgd(*recommender(100)).client_update.support
    'slice'
    """
    if objective.batch is None or objective.loss is None:
        raise ValueError("fedsgd needs an objective with batch and loss")
    batch, loss = cast(Any, objective.batch), objective.loss

    def run(key: Key, view: View, task: Task) -> ClientOutput:
        one = jnp.float32(1)
        start = (view.shared, view.private)

        def add_batch(step: Array, carry: PyTree) -> PyTree:
            gradients, seen = carry
            found = loss_gradients(model, loss, view, batch(task.plan, step), divisor=one)
            summed = jax.tree.map(jnp.add, gradients, found.gradients)
            return summed, seen.merge(Stat(*map(jnp.float32, (found.total, found.weight))))

        nothing = Stat(jnp.float32(0), jnp.float32(0))
        gradients, seen = masked_loop(add_batch, (zeros_like(start), nothing), task)
        divisor = jnp.where(seen.weight > 0, seen.weight, one)
        gradients = jax.tree.map(lambda leaf: leaf / divisor.astype(leaf.dtype), gradients)
        (update, moved), _ = optimizer.update(gradients, optimizer.init(start), start)
        private = optax.apply_updates(view.private, moved)
        return ClientOutput(update, private, view.memory, seen.weight, {"loss": seen})

    return fedavg(model, objective, ClientUpdate(run), aggregate, server_optimizer)
