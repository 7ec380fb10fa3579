"""Federated averaging of a classifier over records, for a few owners of data.

McMahan et al. (2017), "Communication-efficient learning of deep networks from
decentralized data", Algorithm 1.
"""

import optax

from fedjax_rec.algorithms.fedavg import fedavg
from fedjax_rec.base import AggregateTransform, Array, FederatedAlgorithm, parametric
from fedjax_rec.clients import local_training
from fedjax_rec.models import perceptron
from fedjax_rec.objectives import binary_cross_entropy, ratings
from fedjax_rec.optimizers import named_optimizer


@parametric
def fedavg_records(
    num_items: int,
    *,
    features: Array,
    num_hidden: int = 10,
    batch_size: int = 100,
    local_epochs: int = 1,
    local_optimizer: str = "adam",
    learning_rate: float = 0.001,
    is_sliced: bool = True,
    aggregate: AggregateTransform | None = None,
    server_optimizer: optax.GradientTransformation | None = None,
) -> FederatedAlgorithm:
    """Federated averaging of a perceptron that tells which records are positive.

    Owner k takes optimizer steps on `-y log sigmoid(s) - (1 - y) log(1 - sigmoid(s))` of its
    own records (x, y), with `s = perceptron(x)`; the server adds the mean change. What an
    owner's optimizer keeps ends with the round.

    Args:
      num_items: how many records there are (I), all owners' and the held-out ones together.
      features: `[I, F]` of each record.
      num_hidden: units of the hidden layer, at least 1.
      batch_size: records of a local step, at least 1.
      local_epochs: passes over an owner's records in a round, at least 1.
      local_optimizer: any optax optimizer by name, started afresh each round.
      learning_rate: of that optimizer.
      is_sliced: False shows every owner the features of all records: the oracle of the slices.
      aggregate: what happens to updates; `mean("client")` by default, which is Algorithm 1's
        mean by size where owners hold equally much.
      server_optimizer: `optax.sgd(1.0)` by default.

    Returns:
      The algorithm's filled slots.

    Raises:
      UserError: an unknown optimizer, or a learning rate that is not positive.
      ValueError: a number is below 1.

    Reference:
      McMahan et al. (2017), Algorithm 1. Difference: any local optimizer.

    >>> import jax.numpy as jnp
    >>> fedavg_records(num_items=7, features=jnp.ones((7, 3))).model.num_rows
    {'item': 7}
    """
    model = perceptron(features, num_hidden)
    objective = ratings(
        num_items,
        binary_cross_entropy,
        local_epochs=local_epochs,
        batch_size=batch_size,
        is_sliced=is_sliced,
    )
    optimizer = named_optimizer(local_optimizer, learning_rate)
    client_update = local_training(model, objective, optimizer)
    return fedavg(model, objective, client_update, aggregate, server_optimizer)
