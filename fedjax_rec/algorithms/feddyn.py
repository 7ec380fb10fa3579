"""FedDyn: a regulariser on each client that makes its optimum the server's.

Acar et al. (2021), "Federated learning based on dynamic regularization", ICLR.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import optax

from fedjax_rec.algorithms.checks import refuse_outside
from fedjax_rec.algorithms.fedavg import fedavg
from fedjax_rec.base import (
    Array,
    ClientOutput,
    ClientUpdate,
    Cohort,
    FederatedAlgorithm,
    Key,
    Message,
    Model,
    Objective,
    Part,
    Private,
    ServerState,
    ServerUpdate,
    Task,
    View,
    parametric,
)
from fedjax_rec.clients import local_training
from fedjax_rec.tree import zeros_like


@parametric
def feddyn(
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    num_clients: int,
    alpha: float = 0.005,
) -> FederatedAlgorithm:
    """Federated learning with dynamic regularisation.

    Client k minimises `L_k(w) - <g_k, w> + alpha/2 |w - w_t|^2` from the server's w_t, then
    sets `g_k <- g_k - alpha (w_k - w_t)`. The server sets
    `h <- h - alpha/m sum_k (w_k - w_t)` and `w <- mean_k w_k - h / alpha`.

    Args:
      model: how items are scored.
      objective: which examples, and which loss; with whole tables, for a row that a client
        touched once has a g_k ever after, and moves.
      optimizer: of a client's copy of `(shared, private)`, started afresh each round.
      num_clients: m, all clients, at least 1.
      alpha: strength, above 0.

    Returns:
      The algorithm's filled slots. The server's rule is the paper's, with the plain mean.

    Raises:
      ValueError: a number is out of range.

    Reference:
      Acar et al. (2021), Algorithm 1 and equation 1. Differences: the minimum is approached
      by local training, and g_k is updated as if it had been reached, as in the paper;
      private parameters are not regularised; a round in which nobody answers changes nothing.

    >>> from fedjax_rec.recommenders import recommender
    >>> feddyn(*recommender(100, is_sliced=False), num_clients=5).client_update.support
    'table'
    """
    refuse_outside("(0, inf)", alpha=alpha)
    refuse_outside("[1, inf)", num_clients=num_clients)

    def pull(view: View, shared: Part) -> Part:
        pulled: Part = jax.tree.map(
            lambda w, start, g: alpha * (w - start) - g, shared, view.shared, Part(*view.memory)
        )
        return pulled

    train = local_training(model, objective, optimizer, pull=pull, support="table")

    def run(key: Key, view: View, task: Task) -> ClientOutput:
        output = train.run(key, view, task)
        memory = jax.tree.map(lambda g, d: g - alpha * d, Part(*view.memory), output.update)
        return output._replace(memory=Private(*memory))

    def apply(state: ServerState, total: Message, cohort: Cohort) -> ServerState:
        share, is_any = total.weight / num_clients, total.weight > 0
        h = jax.tree.map(lambda h, mean: h - alpha * share * mean, state.extra, total.update)

        def move(w: Array, mean: Array, h: Array) -> Array:
            return jnp.where(is_any, w + mean - h / alpha, w)

        return state._replace(shared=jax.tree.map(move, state.shared, total.update, h), extra=h)

    return replace(
        fedavg(model, objective, train),
        client_update=ClientUpdate(run, support="table"),
        server_update=ServerUpdate(lambda shared: (), apply),
        init_memory=lambda shared: Private(*zeros_like(shared)),
        init_extra=lambda key, shared: zeros_like(shared),
    )
