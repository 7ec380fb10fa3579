"""SCAFFOLD: control variates that correct what clients' gradients have of their own.

Karimireddy et al. (2020), "SCAFFOLD: stochastic controlled averaging for federated
learning", ICML.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fedjax_rec.algorithms.checks import refuse_outside
from fedjax_rec.algorithms.fedavg import fedavg
from fedjax_rec.base import (
    Array,
    ClientOutput,
    ClientUpdate,
    Cohort,
    Entry,
    FederatedAlgorithm,
    Key,
    Message,
    Model,
    Objective,
    Part,
    Private,
    RowIds,
    ServerState,
    ServerUpdate,
    Task,
    View,
    is_zero,
    parametric,
)
from fedjax_rec.clients import local_training, shapes_of_parameters
from fedjax_rec.optimizers import sgd_rates
from fedjax_rec.tree import subtract, take, zeros_like


@parametric
def scaffold(
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    num_clients: int,
    server_optimizer: optax.GradientTransformation | None = None,
) -> FederatedAlgorithm:
    """Stochastic controlled averaging.

    Client i steps by `y <- y - eta (g_i(y) - c_i + c)` from the server's x, sets
    `c_i+ = c_i - c + (x - y) / (K eta)` after its K steps, and sends y - x and c_i+ - c_i.
    The server adds the mean of the first to x, and |S|/N times that of the second to c.

    Args:
      model: how items are scored.
      objective: which examples, and which loss; with whole tables, for a row that a client
        touched once has a c_i ever after, and moves.
      optimizer: plain SGD of a client's copy of `(shared, private)`, one rate for a leaf.
      num_clients: N, at least 1.
      server_optimizer: of x; `optax.sgd(1.0)` by default.

    Returns:
      The algorithm's filled slots. Clients count alike, for c is a mean of the c_i. A
      client's memory c_i is as large as the model; c travels with x.

    Raises:
      ValueError: `optimizer` is not plain SGD, or `num_clients` is below 1.

    Reference:
      Karimireddy et al. (2020), Algorithm 1 with option II. Differences: private parameters
      have no control variate; a client without examples keeps its c_i.

    >>> from fedjax_rec.recommenders import recommender
    >>> scaffold(*recommender(100, is_sliced=False), num_clients=5).client_update.support
    'table'
    """
    refuse_outside("[1, inf)", num_clients=num_clients)
    rates, momentum = sgd_rates(optimizer, shapes_of_parameters(model)) or (None, 0.0)
    if rates is None or not is_zero(momentum):
        raise ValueError("scaffold needs plain SGD on its clients: c_i divides by its rate")
    if any(map(is_zero, jax.tree.leaves(rates[0]))):
        raise ValueError("scaffold needs learning rates above 0 for all that is shared")

    def correction(view: View, shared: Part) -> Part:
        corrected: Part = subtract(view.extra, Part(*view.memory))
        return corrected

    train = local_training(model, objective, optimizer, pull=correction, support="table")

    def broadcast(state: ServerState, entry: Entry, row_ids: RowIds) -> tuple[Part, Part]:
        return take(state.shared, row_ids), take(state.extra, row_ids)

    def run(key: Key, view: View, task: Task) -> ClientOutput:
        output = train.run(key, view, task)
        is_active = task.num_steps > 0
        num_steps = jnp.maximum(task.num_steps, 1)

        def change(rate: float, moved: Array, control: Array) -> Array:
            return jnp.where(is_active, -moved / (num_steps * rate) - control, 0)

        changed = jax.tree.map(change, rates[0], output.update, view.extra)
        memory = jax.tree.map(jnp.add, Part(*view.memory), changed)
        return output._replace(update=_pair(output.update, changed), memory=Private(*memory))

    parts = fedavg(model, objective, train, None, server_optimizer)

    def apply(state: ServerState, total: Message, cohort: Cohort) -> ServerState:
        moved = parts.server_update.apply(
            state, total._replace(update=_pick(total.update, "model")), cohort
        )
        share = total.weight / num_clients
        extra = jax.tree.map(
            lambda c, mean: c + share * mean, state.extra, _pick(total.update, "control")
        )
        return moved._replace(extra=extra)

    return replace(
        parts,
        client_update=ClientUpdate(run, support="table"),
        server_update=ServerUpdate(parts.server_update.init, apply),
        broadcast=broadcast,
        template=lambda shared: _pair(shared, shared),
        init_memory=lambda shared: Private(*zeros_like(shared)),
        init_extra=lambda key, shared: zeros_like(shared),
    )


def _pair(model: Part, control: Part) -> Part:
    """What a client sends, as one part."""

    def both(one: Any, other: Any) -> dict[str, Any]:
        return {"model": one, "control": other}

    rows = {table: both(leaves, control.rows[table]) for table, leaves in model.rows.items()}
    return Part(rows, both(model.dense, control.dense))


def _pick(pair: Part, name: str) -> Part:
    """One half of it."""
    rows = {table: leaves[name] for table, leaves in pair.rows.items()}
    return Part(rows, pair.dense[name])
