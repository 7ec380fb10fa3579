"""Federated averaging: the loop's slots, with optax on the server.

McMahan et al. (2017), "Communication-efficient learning of deep networks from
decentralized data", Algorithm 1; with other server optimizers, Reddi et al. (2021),
"Adaptive federated optimization", Algorithm 1 (FedOpt).
"""

import jax
import optax

from fedjax_rec.base import (
    AggregateTransform,
    ClientUpdate,
    Cohort,
    FederatedAlgorithm,
    Message,
    Model,
    Objective,
    Part,
    PyTree,
    ServerState,
    ServerUpdate,
)
from fedjax_rec.optimizers import sgd_rate
from fedjax_rec.transforms import chain, mean


def optax_server(optimizer: optax.GradientTransformation) -> ServerUpdate:
    """A server step by an optax optimizer, which takes minus the aggregate for a gradient.

    `w <- w + optimizer(-Delta)`; with `optax.sgd(1.0)` it is `w <- w + Delta`.
    """

    def init(shared: Part) -> PyTree:
        return optimizer.init(shared)

    def apply(state: ServerState, total: Message, cohort: Cohort) -> ServerState:
        pseudo_gradient = jax.tree.map(lambda leaf: -leaf, total.update)
        updates, opt_state = optimizer.update(pseudo_gradient, state.opt_state, state.shared)
        return state._replace(
            shared=optax.apply_updates(state.shared, updates), opt_state=opt_state
        )

    return ServerUpdate(init, apply, sgd_rate(optimizer), takes_changes=True)


def fedavg(
    model: Model,
    objective: Objective,
    client_update: ClientUpdate,
    aggregate: AggregateTransform | None = None,
    server_optimizer: optax.GradientTransformation | None = None,
) -> FederatedAlgorithm:
    """Federated averaging of any model.

    `w <- w + eta_s * sum_c p_c (w_c - w)`, p_c from `aggregate`.

    Args:
      model: how items are scored.
      objective: which examples, and which loss.
      client_update: how a client trains.
      aggregate: what happens to updates; `mean("client")` by default.
      server_optimizer: `optax.sgd(1.0)` by default.

    Returns:
      The algorithm's filled slots.

    Raises:
      ValueError: `aggregate` is unsound (see `transforms.chain`).
    """
    return FederatedAlgorithm(
        model,
        objective,
        client_update,
        chain(aggregate or mean("client")),
        optax_server(server_optimizer or optax.sgd(1.0)),
    )
