"""FedPer: some layers of the model stay on their clients.

Arivazhagan et al. (2019), "Federated learning with personalization layers".
"""

import optax

from fedjax_rec.algorithms.fedopt import fedopt
from fedjax_rec.algorithms.personalise import personalise
from fedjax_rec.base import AggregateTransform, FederatedAlgorithm, Model, Objective, parametric


@parametric
def fedper(
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    paths: str = "dense",
    encodes_alone: bool = False,
    aggregate: AggregateTransform | None = None,
    server_optimizer: optax.GradientTransformation | None = None,
) -> FederatedAlgorithm:
    """Federated averaging of base layers, with personalisation layers that are never sent.

    Client k scores by `(W_B, W_Pk)`, trains both together, and sends the change of W_B.

    Args:
      model: how items are scored.
      objective: which examples, and which loss.
      optimizer: of a client's copy of `(shared, private)`, with W_P where the model has it.
      paths: W_P, by paths in the shared part (see `personalise.matches`): `dense` is all
        that is no item's, `dense/output` the last layer of `ncf`; empty: federated averaging.
      encodes_alone: W_P may hold what encodes items: each client then encodes the catalogue for
        itself in every evaluation.
      aggregate: what happens to updates; `mean("client")` by default.
      server_optimizer: `optax.sgd(1.0)` by default.

    Returns:
      The algorithm's filled slots.

    Raises:
      ValueError: a path names nothing, or nothing is left to share.

    Reference:
      Arivazhagan et al. (2019), Algorithms 1 and 2. Differences: how clients are weighed is
      the aggregate's choice; W_Pk start alike, where the paper lets every client draw them.

    >>> from fedjax_rec.recommenders import recommender
    >>> fedper(*recommender(100, model="ncf"), paths="dense/output").model.num_rows
    {'item': 100}
    """
    algorithm = fedopt(
        model, objective, optimizer, aggregate=aggregate, server_optimizer=server_optimizer
    )
    return personalise(algorithm, paths, encodes_alone=encodes_alone)
