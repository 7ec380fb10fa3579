"""Federated LightGCN: graph convolution on each client's ego graph.

He et al. (2020), "LightGCN: simplifying and powering graph convolution network for
recommendation", SIGIR.
"""

import optax

from fedjax_rec.algorithms.fedavg import fedavg
from fedjax_rec.base import AggregateTransform, FederatedAlgorithm, parametric
from fedjax_rec.clients import by_role, local_training
from fedjax_rec.models import lightgcn
from fedjax_rec.objectives import LossName, Sampler, implicit, with_history
from fedjax_rec.optimizers import named_optimizer
from fedjax_rec.transforms import mean


@parametric
def fedlightgcn(
    num_items: int,
    *,
    dim: int = 32,
    num_layers: int = 1,
    init_stddev: float = 0.1,
    loss: LossName = "bce",
    num_negatives: int = 4,
    batch_size: int = 256,
    local_epochs: int = 1,
    local_optimizer: str = "sgd",
    user_learning_rate: float = 5.0,
    item_learning_rate: float = 50.0,
    is_sliced: bool = True,
    aggregate: AggregateTransform | None = None,
    server_optimizer: optax.GradientTransformation | None = None,
) -> FederatedAlgorithm:
    """Federated graph convolution of implicit feedback, each client on its own star.

    Client u keeps e_u^(0). It propagates between e_u^(0) and the e_i^(0) of its items, scores by
    the means over the K layers (`models.lightgcn`), and trains the layers 0 through that
    propagation, on the loss of `fedmf`; the changes of e_i^(0) are averaged.

    Args:
      num_items: size of the catalogue (I).
      dim: width of a vector (D), at least 1.
      num_layers: K, at least 0; 0 is `fedmf`, and more than 2 reach nothing new.
      init_stddev: standard deviation of the initial vectors.
      loss: `bce` or `bpr`, see `objectives.implicit`; `bpr` may want smaller rates, for a
        positive is pulled by each of its negatives.
      num_negatives: negatives to each positive, at least 1.
      batch_size: examples of a local step, positives and negatives together; for `bpr` a
        multiple of `1 + num_negatives`.
      local_epochs: passes over a client's items in a round, at least 1.
      local_optimizer: any optax optimizer by name, started afresh each round.
      user_learning_rate: of e_u^(0). Losses are means over a batch, so rates are large.
      item_learning_rate: of e_i^(0), on the client; see `fedmf`.
      is_sliced: False gives every client the whole table: the oracle of the slices.
      aggregate: what happens to updates; `mean("row")` by default.
      server_optimizer: `optax.sgd(1.0)` by default.

    Returns:
      The algorithm's filled slots.

    Raises:
      UserError: an unknown optimizer, or a learning rate that is not positive.
      ValueError: an unknown loss, or a number out of range.

    Reference:
      He et al. (2020), equations 3 to 6. Differences: those of `models.lightgcn`, several
      negatives to a positive, no penalty on the size of parameters. That clients convolve
      their own subgraphs is after Wu et al. (2022), "A federated graph neural network
      framework for privacy-preserving personalization", without their exchange of neighbours.

    >>> fedlightgcn(num_items=100, dim=8).model.num_rows
    {'item': 100}
    """
    model = lightgcn(num_items, dim, num_layers, init_stddev=init_stddev)
    sampler = Sampler(num_items, num_negatives, local_epochs, batch_size, is_sliced=is_sliced)
    objective = with_history(implicit(sampler, loss))
    optimizer = by_role(
        shared=named_optimizer(local_optimizer, item_learning_rate),
        private=named_optimizer(local_optimizer, user_learning_rate),
    )
    client_update = local_training(model, objective, optimizer)
    return fedavg(model, objective, client_update, aggregate or mean("row"), server_optimizer)
