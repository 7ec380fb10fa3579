"""Local fine-tuning: clients train on what they received before they use it.

Cheng, Chadha and Duchi (2021), "Fine-tuning is fine in federated learning".
"""

from dataclasses import replace

import optax

from fedjax_rec.algorithms.fedopt import fedopt
from fedjax_rec.base import AggregateTransform, FederatedAlgorithm, Model, Objective, parametric
from fedjax_rec.clients import trained_view


@parametric
def finetuning(
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    aggregate: AggregateTransform | None = None,
    server_optimizer: optax.GradientTransformation | None = None,
) -> FederatedAlgorithm:
    """Federated averaging whose clients fine-tune the model before they are asked.

    Training is that of `fedopt`. Recommendations come from `w_k`, the model after client k
    has trained on the w that it received, as it would in the round to come; `test_global` are
    those of w itself.

    Args:
      model: how items are scored.
      objective: which examples, and which loss.
      optimizer: of a client's copy of `(shared, private)`, started afresh each time.
      aggregate: what happens to updates; `mean("client")` by default.
      server_optimizer: `optax.sgd(1.0)` by default.

    Returns:
      The algorithm's filled slots.

    Reference:
      Cheng, Chadha and Duchi (2021), FTFA. Difference: steps are those of a round of
      training and are not tuned apart.

    >>> from fedjax_rec.recommenders import recommender
    >>> finetuning(*recommender(100)).adapt is None
    False
    """
    algorithm = fedopt(
        model, objective, optimizer, aggregate=aggregate, server_optimizer=server_optimizer
    )
    adapt = trained_view(algorithm.client_update)
    return replace(algorithm, adapt=adapt, without_own=lambda view: view)
