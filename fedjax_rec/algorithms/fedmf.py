"""FedMF: matrix factorisation whose user vectors stay on their clients.

After Chai et al. (2020), "Secure federated matrix factorization", in the implicit form
that later papers use as their baseline: binary cross-entropy with sampled negatives.
"""

import optax

from fedjax_rec.algorithms.fedavg import fedavg
from fedjax_rec.base import AggregateTransform, FederatedAlgorithm
from fedjax_rec.clients import by_role, local_training
from fedjax_rec.models import matrix_factorization
from fedjax_rec.objectives import Sampler, binary_cross_entropy, sampled
from fedjax_rec.optimizers import named_optimizer


def fedmf(
    num_items: int,
    *,
    dim: int = 32,
    init_stddev: float = 0.1,
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
    """Federated matrix factorisation by local steps and averaging."""
    model = matrix_factorization(num_items, dim, init_stddev=init_stddev)
    sampler = Sampler(num_items, num_negatives, local_epochs, batch_size, is_sliced=is_sliced)
    objective = sampled(sampler, binary_cross_entropy)
    optimizer = by_role(
        shared=named_optimizer(local_optimizer, item_learning_rate),
        private=named_optimizer(local_optimizer, user_learning_rate),
    )
    client_update = local_training(model, objective, optimizer)
    return fedavg(model, objective, client_update, aggregate, server_optimizer)
