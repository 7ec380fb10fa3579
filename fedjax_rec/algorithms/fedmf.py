"""FedMF: matrix factorisation whose user vectors stay on their clients.

After Chai et al. (2020), "Secure federated matrix factorization", in the implicit form
that later papers use as their baseline.
"""

from typing import Literal

import optax

from fedjax_rec.algorithms.fedavg import fedavg
from fedjax_rec.base import AggregateTransform, FederatedAlgorithm, parametric
from fedjax_rec.clients import by_role, local_training
from fedjax_rec.models import matrix_factorization
from fedjax_rec.objectives import LossName, Sampler, implicit
from fedjax_rec.optimizers import named_optimizer
from fedjax_rec.transforms import mean


@parametric
def fedmf(
    num_items: int,
    *,
    dim: int = 32,
    init_stddev: float = 0.1,
    loss: LossName = "bce",
    num_negatives: int = 4,
    batch_size: int = 256,
    local_epochs: int = 1,
    local_optimizer: str = "sgd",
    user_learning_rate: float = 5.0,
    item_learning_rate: float = 50.0,
    permutation: Literal["affine", "feistel"] = "affine",
    is_sliced: bool = True,
    aggregate: AggregateTransform | None = None,
    server_optimizer: optax.GradientTransformation | None = None,
) -> FederatedAlgorithm:
    """Federated matrix factorisation of implicit feedback.

    Client u keeps p_u and trains it with the item vectors q_i that it touches, on
    `-log sigmoid(p_u . q_i)` for its items and `-log sigmoid(-p_u . q_j)` for sampled
    negatives j (`bce`), or on `-log sigmoid(p_u . q_i - p_u . q_j)` for pairs of them (`bpr`);
    the changes of q are averaged.

    Args:
      num_items: size of the catalogue (I).
      dim: width of a vector (D), at least 1.
      init_stddev: standard deviation of the initial vectors.
      loss: `bce` or `bpr`, see `objectives.implicit`; `bpr` may want smaller rates, for a
        positive is pulled by each of its negatives.
      num_negatives: negatives to each positive, at least 1.
      batch_size: examples of a local step, positives and negatives together; for `bpr` a
        multiple of `1 + num_negatives`.
      local_epochs: passes over a client's items in a round, at least 1.
      local_optimizer: any optax optimizer by name, started afresh each round.
      user_learning_rate: of p_u. Losses are means over a batch, so rates are large.
      item_learning_rate: of q, on the client. The default suits a mean by row; a mean by
        client divides a row's change by the whole cohort, and wants more in proportion.
      permutation: how negatives are put in random order, see `base.Sampler`.
      is_sliced: False gives every client the whole table: the oracle of the slices.
      aggregate: what happens to updates; `mean("row")` by default.
      server_optimizer: `optax.sgd(1.0)` by default.

    Returns:
      The algorithm's filled slots.

    Raises:
      UserError: an unknown optimizer, or a learning rate that is not positive.
      ValueError: an unknown loss, or a number out of range.

    Reference:
      Chai et al. (2020), Algorithm 1. Differences: losses of implicit feedback with sampled
      negatives in place of squared error on ratings (`fedmf_explicit` has it), several local
      steps in place of one gradient, no regularisation, and updates in the clear. `bpr` is
      that of Rendle et al. (2009), "BPR: Bayesian personalized ranking from implicit
      feedback"; papers on attacks take it for their recommender, with a sum of clipped rows
      in place of the mean.

    >>> fedmf(num_items=100, dim=8).model.num_rows
    {'item': 100}
    """
    model = matrix_factorization(num_items, dim, init_stddev=init_stddev)
    sampler = Sampler(
        num_items,
        num_negatives,
        local_epochs,
        batch_size,
        is_sliced=is_sliced,
        permutation=permutation,
    )
    objective = implicit(sampler, loss)
    optimizer = by_role(
        shared=named_optimizer(local_optimizer, item_learning_rate),
        private=named_optimizer(local_optimizer, user_learning_rate),
    )
    client_update = local_training(model, objective, optimizer)
    return fedavg(model, objective, client_update, aggregate or mean("row"), server_optimizer)
