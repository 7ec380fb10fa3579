"""Reptile: a model from which local training goes far.

Nichol, Achiam and Schulman (2018), "On first-order meta-learning algorithms".
"""

import optax

from fedjax_rec.algorithms.checks import refuse_outside
from fedjax_rec.algorithms.finetuning import finetuning
from fedjax_rec.base import AggregateTransform, FederatedAlgorithm, Model, Objective, parametric


@parametric
def reptile(
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    outer_learning_rate: float = 0.5,
    aggregate: AggregateTransform | None = None,
) -> FederatedAlgorithm:
    """Meta-learning by the mean of how far clients move.

    `phi <- phi + epsilon 1/n sum_i (phi_i - phi)`, phi_i after client i's local training. A
    client adapts phi to itself in the same way before it is asked; `test_global` are the
    recommendations of phi itself.

    Args:
      model: how items are scored.
      objective: which examples, and which loss; more than one local step, or it is plain
        gradient descent.
      optimizer: of a client's copy of `(shared, private)`, started afresh each round.
      outer_learning_rate: epsilon, above 0; 1 is federated averaging.
      aggregate: what happens to updates; `mean("client")` by default, which is the paper's.

    Returns:
      The algorithm's filled slots.

    Raises:
      ValueError: `outer_learning_rate` is not positive.

    Reference:
      Nichol, Achiam and Schulman (2018), Algorithm 2. Differences: epsilon does not fall over
      the rounds; private parameters are no part of phi and stay on their clients.

    >>> from fedjax_rec.recommenders import recommender
    >>> reptile(*recommender(100), outer_learning_rate=0.25).server_update.learning_rate
    0.25
    """
    refuse_outside("(0, inf)", outer_learning_rate=outer_learning_rate)
    server = optax.sgd(outer_learning_rate)
    return finetuning(model, objective, optimizer, aggregate=aggregate, server_optimizer=server)
