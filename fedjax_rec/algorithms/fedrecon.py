"""FedRecon: clients keep nothing, and rebuild their private parameters in every round.

Singhal et al. (2021), "Federated reconstruction: partially local federated learning", NeurIPS.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, cast, get_args

import jax.numpy as jnp
import optax

from fedjax_rec.algorithms.checks import refuse_outside
from fedjax_rec.algorithms.fedavg import fedavg
from fedjax_rec.base import (
    AggregateTransform,
    Array,
    ClientOutput,
    ClientUpdate,
    FederatedAlgorithm,
    Inputs,
    Key,
    Model,
    Objective,
    PyTree,
    Stat,
    Task,
    View,
    nothing_private,
    parametric,
)
from fedjax_rec.clients import local_training, masked_loop
from fedjax_rec.clients.gradients import loss_gradients
from fedjax_rec.models import common_user
from fedjax_rec.transforms import mean
from fedjax_rec.tree import subtract, zeros_like

Training = Literal["split", "unsplit", "joint", "kept", "global"]
SHARED, PRIVATE = 0, 1
"""The roles, in the order of an optimizer's parameters."""


@parametric
def fedrecon(
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    training: Training = "split",
    recon_epochs: int = 5,
    recon_steps: int = 0,
    aggregate: AggregateTransform | None = None,
    server_optimizer: optax.GradientTransformation | None = None,
) -> FederatedAlgorithm:
    """Federated reconstruction.

    A client's batches are parted: the even ones are its support set, the odd ones its query
    set. From fresh private parameters `l` it takes steps on the support set with the shared
    `g` frozen, then steps of `g` on the query set with `l` frozen. It sends the change of `g`,
    weighed by its query examples, and forgets `l`. To be scored it rebuilds `l` on all its
    training examples, in as many passes and steps.

    Args:
      model: how items are scored; `init_private` is where reconstruction starts.
      objective: which examples, and which loss; needs `batch` and `loss`. Batches should be
        small: a client with a single one has no query set and sends nothing.
      optimizer: of `(shared, private)`, started afresh for each of the two.
      training: `split` is the above, of the paper. `unsplit` takes all batches for both sets.
        `joint` trains `g` and a fresh `l` together, one pass over all batches, and `kept` does
        so with an `l` that clients keep over rounds (federated averaging). `global` averages one
        `l` of everybody as it does `g`. Of these three only what clients are scored by is
        rebuilt, from fresh private parameters.
      recon_epochs: passes over the support set, at least 1.
      recon_steps: the most steps that they make together; 0: as many as there are.
      aggregate: what happens to updates; `mean("example")` by default.
      server_optimizer: `optax.sgd(1.0)` by default.

    Returns:
      The algorithm's filled slots; what the store holds of a client never changes, but under
      `kept`.

    Raises:
      ValueError: a number is out of range, or `training` is unknown.

    Reference:
      Singhal et al. (2021), Algorithm 1, and the ablations of its section 5; `global` is the
      FedAvg of its released code. Like that it parts the data by batches; there they are the
      same in every round, here shuffled.

    >>> from fedjax_rec.recommenders import recommender
    >>> fedrecon(*recommender(100)).model.num_rows
    {'item': 100}
    """
    refuse_outside("[1, inf)", recon_epochs=recon_epochs)
    refuse_outside("[0, inf)", recon_steps=recon_steps)
    if training not in get_args(Training):
        raise ValueError(f"training must be one of {get_args(Training)}, got {training!r}")
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

    def limited(num_steps: Array) -> Array:
        num_steps = recon_epochs * num_steps
        return jnp.minimum(num_steps, recon_steps) if recon_steps else num_steps

    def rebuild(key: Key, view: View, task: Task, stride: int) -> View:
        """Private parameters from every `stride`-th batch, beginning with the first."""
        num_batches, most = (-(-steps // stride) for steps in (task.num_steps, task.max_steps))
        support = task._replace(num_steps=limited(num_batches), max_steps=limited(most))
        fresh = view._replace(private=model.init_private(key))
        num_batches = jnp.maximum(num_batches, 1)
        return train(fresh, support, PRIVATE, lambda count: stride * (count % num_batches))[0]

    def run(key: Key, view: View, task: Task) -> ClientOutput:
        stride = 2 if training == "split" else 1
        rebuilt = rebuild(key, view, task, stride)
        query = task._replace(
            num_steps=task.num_steps // stride, max_steps=task.max_steps // stride
        )
        trained, seen = train(rebuilt, query, SHARED, lambda count: stride * count + stride - 1)
        update = subtract(trained.shared, view.shared)
        return ClientOutput(update, view.private, view.memory, seen.weight, {"loss": seen})

    def adapt(key: Key, view: View, task: Task) -> View:
        return rebuild(key, view, task, stride=1)

    together = local_training(model, objective, optimizer)

    def run_together(key: Key, view: View, task: Task) -> ClientOutput:
        fresh = view._replace(private=model.init_private(key))
        return together.run(key, fresh, task)._replace(private=view.private)

    updates = {"joint": ClientUpdate(run_together), "kept": together}
    algorithm = fedavg(
        model,
        objective,
        updates.get(training, ClientUpdate(run)),
        aggregate or mean("example"),
        server_optimizer,
    )
    algorithm = replace(algorithm, adapt=adapt)
    return _with_one_user(algorithm, optimizer) if training == "global" else algorithm


def _with_one_user(
    algorithm: FederatedAlgorithm, optimizer: optax.GradientTransformation
) -> FederatedAlgorithm:
    """The algorithm, but what trains is one `l` for everybody; what is asked stays as it is."""
    model, adapt = algorithm.model, cast(Any, algorithm.adapt)
    of_all = common_user(model)
    together = local_training(of_all, algorithm.objective, optimizer)

    def run(key: Key, view: View, task: Task) -> ClientOutput:
        output = together.run(key, view._replace(private=nothing_private()), task)
        return output._replace(private=view.private)

    def without_common(view: View) -> View:
        dense, _ = view.shared.dense
        return view._replace(shared=view.shared._replace(dense=dense))

    def adapt_own(key: Key, view: View, task: Task) -> View:
        return view._replace(private=adapt(key, without_common(view), task).private)

    def score(view: View, inputs: Inputs) -> Array:
        return model.score(without_common(view), inputs)

    return replace(
        algorithm,
        model=model.with_score(score, init=of_all.init, is_row_wise=model.is_row_wise),
        client_update=ClientUpdate(run),
        adapt=adapt_own,
    )
