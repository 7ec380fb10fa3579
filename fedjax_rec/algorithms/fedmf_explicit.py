"""Explicit FedMF: clients keep their user vectors and send gradients of their ratings' error.

Chai et al. (2020), "Secure federated matrix factorization", IEEE Intelligent Systems.
"""

import jax.numpy as jnp
import optax

from fedjax_rec.algorithms.checks import refuse_outside
from fedjax_rec.algorithms.fedavg import fedavg
from fedjax_rec.base import (
    AggregateTransform,
    ClientOutput,
    ClientUpdate,
    FederatedAlgorithm,
    Key,
    Objective,
    Part,
    Private,
    Stat,
    Task,
    View,
    parametric,
)
from fedjax_rec.models import matrix_factorization
from fedjax_rec.objectives import ratings
from fedjax_rec.transforms import total


@parametric
def fedmf_explicit(
    num_items: int,
    *,
    dim: int = 32,
    init_stddev: float = 0.3,
    learning_rate: float = 0.01,
    regularization: float = 0.01,
    is_sliced: bool = True,
    aggregate: AggregateTransform | None = None,
    server_optimizer: optax.GradientTransformation | None = None,
) -> FederatedAlgorithm:
    """Federated matrix factorisation of ratings, by one gradient a round.

    Client u has ratings `r_ui` and the vector p_u, which stays with it. Each round it steps
    `p_u <- p_u + gamma (sum_i (r_ui - p_u . v_i) v_i - lambda p_u)`, and with the new p_u sends
    `gamma G_ui`, `G_ui = (r_ui - p_u . v_i) p_u - lambda v_i`, of each item that it rated. The
    server adds up: `v_i <- v_i + sum_u gamma G_ui`.

    A client that sends zeros for all other items hides which it rated (full text), one that
    leaves them out does not (part text). What is learned is the same; which of the two a real
    client would do is the run's `communication.payload`: `table` or `rows`.

    Args:
      num_items: size of the catalogue (I).
      dim: width of a vector (D), at least 1.
      init_stddev: standard deviation of the initial vectors.
      learning_rate: gamma, above 0. Gradients are sums: of the ratings of a client, and of an
        item. Far above `1 / (n |v|^2)`, n the largest number of either, it diverges.
      regularization: lambda, at least 0; an item's counts once for each of its ratings.
      is_sliced: False gives every client the whole table: the oracle of the slices.
      aggregate: what happens to what clients send; the plain sum by default.
      server_optimizer: `optax.sgd(1.0)` by default.

    Returns:
      The algorithm's filled slots. Its loss is the mean squared error of the clients' ratings
      before they step.

    Raises:
      ValueError: a number is out of range.

    Reference:
      Chai et al. (2020), Algorithm 1. Differences: without encryption, which changes no number;
      gamma takes in the factor 2 of the gradient and the number of all ratings, which the paper
      divides the error by. The released code steps p_u rating by rating instead.

    >>> fedmf_explicit(num_items=100, dim=8).model.num_rows
    {'item': 100}
    """
    refuse_outside("(0, inf)", learning_rate=learning_rate)
    refuse_outside("[0, inf)", regularization=regularization)
    gamma, lam = learning_rate, regularization

    def run(key: Key, view: View, task: Task) -> ClientOutput:
        table, user, rated = view.shared.rows["item"], view.private.dense, task.plan
        # padding has rating 0 and a row of zeros, so its errors and gradients are 0
        items = table.at[rated.ids].get(mode="fill", fill_value=0)
        error = rated.values - items @ user
        user = user + gamma * (error @ items - lam * user)
        gradient = jnp.outer(rated.values - items @ user, user) - lam * items
        change = jnp.zeros_like(table).at[rated.ids].add(gamma * gradient, mode="drop")
        weight = rated.num_events.astype(jnp.float32)
        info = {"loss": Stat(jnp.sum(error**2), weight)}
        return ClientOutput(
            Part({"item": change}, ()), Private({}, user), view.memory, weight, info
        )

    return fedavg(
        matrix_factorization(num_items, dim, init_stddev=init_stddev),
        Objective(ratings(num_items, is_sliced=is_sliced).prepare),
        ClientUpdate(run),
        aggregate or total(),
        server_optimizer,
    )
