"""FedProx: local training that is pulled back to where it began.

Li et al. (2020), "Federated optimization in heterogeneous networks", MLSys.
"""

import jax
import optax

from fedjax_rec.algorithms.checks import refuse_outside
from fedjax_rec.algorithms.fedavg import fedavg
from fedjax_rec.base import (
    AggregateTransform,
    FederatedAlgorithm,
    Model,
    Objective,
    Part,
    View,
    parametric,
)
from fedjax_rec.clients import local_training


@parametric
def fedprox(
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    mu: float = 0.01,
    aggregate: AggregateTransform | None = None,
    server_optimizer: optax.GradientTransformation | None = None,
) -> FederatedAlgorithm:
    """Federated averaging with a proximal term on its clients.

    Client k minimises `F_k(w) + mu/2 |w - w_t|^2` over the shared parameters w, from the w_t
    that it received.

    Args:
      model: how items are scored.
      objective: which examples, and which loss.
      optimizer: of a client's copy of `(shared, private)`, started afresh each round. Plain
        SGD overshoots once a learning rate times `mu` is above 1.
      mu: strength of the pull, at least 0; 0 is federated averaging.
      aggregate: what happens to updates; `mean("client")` by default.
      server_optimizer: `optax.sgd(1.0)` by default.

    Returns:
      The algorithm's filled slots. Rows that a client does not touch stand as received, where
      the pull is zero, so slices are exact.

    Raises:
      ValueError: `mu` is negative.

    Reference:
      Li et al. (2020), Algorithm 2 and equation 2. Differences: private parameters are not
      pulled; every client makes its local epochs in full; who takes part and how updates are
      weighed is the sampler's and the aggregate's choice.

    >>> from fedjax_rec.recommenders import recommender
    >>> fedprox(*recommender(100), mu=0.1).client_update.support
    'slice'
    """
    refuse_outside("[0, inf)", mu=mu)

    def pull(view: View, shared: Part) -> Part:
        pulled: Part = jax.tree.map(lambda w, start: mu * (w - start), shared, view.shared)
        return pulled

    client_update = local_training(model, objective, optimizer, pull=pull)
    return fedavg(model, objective, client_update, aggregate, server_optimizer)
