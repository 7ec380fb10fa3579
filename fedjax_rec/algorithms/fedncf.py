"""FedNCF: neural collaborative filtering whose item rows are averaged by who changed them.

Perifanis and Efraimidis (2022), "Federated neural collaborative filtering", Knowledge-Based
Systems.
"""

import optax

from fedjax_rec.algorithms.fedavg import fedavg
from fedjax_rec.base import AggregateTransform, FederatedAlgorithm, Model, Objective, parametric
from fedjax_rec.clients import local_training
from fedjax_rec.transforms import mean


@parametric
def fedncf(
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    aggregate: AggregateTransform | None = None,
    server_optimizer: optax.GradientTransformation | None = None,
) -> FederatedAlgorithm:
    """Federated neural collaborative filtering.

    The user's vectors stay on the client. Of each item's row the server takes the mean over
    the clients that changed it, and of the network's weights the mean over all (MF-FedAvg):
    `V_i <- V_i + sum_u delta_ui / |{u : delta_ui != 0}|`.

    Args:
      model: `gmf`, `ncf` or `neumf`.
      objective: which examples, and which loss.
      optimizer: of a client's copy of `(shared, private)`, started afresh each round.
      aggregate: what happens to updates; `mean("row")` by default.
      server_optimizer: `optax.sgd(1.0)` by default.

    Returns:
      The algorithm's filled slots.

    Reference:
      Perifanis and Efraimidis (2022), Algorithm 2. Differences: without secure aggregation;
      clients send the change of a row and not the row.

    >>> from fedjax_rec.recommenders import recommender
    >>> fedncf(*recommender(100, model="gmf")).model.num_rows
    {'item': 100}
    """
    client_update = local_training(model, objective, optimizer)
    return fedavg(model, objective, client_update, aggregate or mean("row"), server_optimizer)
