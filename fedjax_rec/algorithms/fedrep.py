"""FedRep: heads of their own on a common representation, trained in turn.

Collins et al. (2021), "Exploiting shared representations for personalized federated
learning", ICML.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from fedjax_rec.algorithms.checks import refuse_outside
from fedjax_rec.algorithms.fedavg import fedavg
from fedjax_rec.algorithms.personalise import matches, personalise
from fedjax_rec.base import (
    AggregateTransform,
    ClientOutput,
    ClientUpdate,
    FederatedAlgorithm,
    Key,
    Model,
    Objective,
    PyTree,
    Task,
    View,
    parametric,
)
from fedjax_rec.clients import local_training


@parametric
def fedrep(
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    paths: str = "dense",
    body_epochs: int = 1,
    encodes_alone: bool = False,
    aggregate: AggregateTransform | None = None,
    server_optimizer: optax.GradientTransformation | None = None,
) -> FederatedAlgorithm:
    """Federated averaging of a representation, with heads that are trained first.

    Client i takes its steps on the head h_i with the representation phi it received held
    still, then on phi with the new h_i held still, and sends the change of phi.

    Args:
      model: how items are scored.
      objective: a sampled one; the head is trained for all its local epochs.
      optimizer: of a client's copy of `(shared, private)`, with h where the model has it;
        started afresh for head and body.
      paths: which shared parameters belong to h (see `personalise.matches`), besides those
        that are private anyway; may be empty.
      body_epochs: passes for phi, over the first of the round's local epochs once more;
        from 1 to that many.
      encodes_alone: h may hold what encodes items: each client then encodes the catalogue for
        itself in every evaluation.
      aggregate: what happens to updates; `mean("client")` by default.
      server_optimizer: `optax.sgd(1.0)` by default.

    Returns:
      The algorithm's filled slots.

    Raises:
      ValueError: a path names nothing or leaves nothing to share, the objective is not
        sampled, or `body_epochs` is out of range.

    Reference:
      Collins et al. (2021), Algorithm 1. Differences: more than one step for phi; heads start
      alike, which the paper leaves open.

    >>> from fedjax_rec.recommenders import recommender
    >>> fedrep(*recommender(100, model="ncf"), paths="dense/output").client_update.support
    'slice'
    """
    if objective.sampler is None:
        raise ValueError("fedrep counts local epochs: it needs a sampled objective")
    epochs = objective.sampler.local_epochs
    refuse_outside(f"[1, {epochs}]", body_epochs=body_epochs)
    is_head = matches(model, paths)

    def of_part(is_moving: bool) -> optax.GradientTransformation:
        """The optimizer for the head alone, or for the body alone."""

        def labels(params: PyTree) -> tuple[Any, Any]:
            shared, private = params
            of_shared = jax.tree_util.tree_map_with_path(
                lambda path, _: is_head(path) == is_moving, shared
            )
            return of_shared, jax.tree.map(lambda _: is_moving, private)

        return optax.partition({True: optimizer, False: optax.set_to_zero()}, labels)

    head, body = (local_training(model, objective, of_part(side)) for side in (True, False))

    def run(key: Key, view: View, task: Task) -> ClientOutput:
        first = head.run(key, view, task)
        shared = jax.tree.map(jnp.add, view.shared, first.update)
        num_steps, max_steps = (
            steps // epochs * body_epochs for steps in (task.num_steps, task.max_steps)
        )
        second = body.run(
            key,
            view._replace(shared=shared, private=first.private),
            task._replace(num_steps=num_steps, max_steps=max_steps),
        )
        update = jax.tree.map(jnp.add, first.update, second.update)
        return first._replace(update=update, private=second.private)

    algorithm = fedavg(model, objective, ClientUpdate(run), aggregate, server_optimizer)
    return personalise(algorithm, paths, encodes_alone=encodes_alone)
