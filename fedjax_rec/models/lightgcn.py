"""LightGCN on a client's ego graph: linear propagation between its user and its items."""

import jax.numpy as jnp

from fedjax_rec.base import Array, History, Inputs, Model, View
from fedjax_rec.models.checks import refuse_out_of_range
from fedjax_rec.models.mf import matrix_factorization


def lightgcn(
    num_items: int, dim: int = 32, num_layers: int = 1, *, init_stddev: float = 0.1
) -> Model:
    """Light graph convolution over the edges that a client knows, which are its own.

    The graph is a star: the user u and the items N_u of its history, each counted once. Of its
    degrees a client knows its own, `d_u = |N_u|`; an item has the one edge that it sees. So
    symmetric normalisation `1 / sqrt(d_u d_i)` gives

    `e_u^(k+1) = sum_{i in N_u} e_i^(k) / sqrt(d_u)`, `e_i^(k+1) = e_u^(k) / sqrt(d_u)` for i in
    N_u and 0 for all other items; the score of item i is the product of the layer means
    `1/(K+1) sum_k e_u^(k)` and `1/(K+1) sum_k e_i^(k)`. e_u^(0) is private, e_i^(0) shared.

    What the graph of all users has and the star has not: an item's other users, hence paths
    from one user to another, and its degree, which dampens popular items. Other users reach a
    client only by the e_i^(0) that they trained. On a star two layers lead back to where they
    began, `e_u^(2) = e_u^(0)`, so more than two layers only weigh the first ones anew.

    Args:
      num_items: size of the catalogue (I).
      dim: width of a vector (D), at least 1.
      num_layers: K, at least 0; 0 is matrix factorisation.
      init_stddev: standard deviation of the normal initial values of both, at least 0.

    Returns:
      A model with rows `{"item": [I, D]}` and private dense `[D]`, which start as those of
      `matrix_factorization`. It needs `inputs.history`, whose items are rows of the view; a
      client without events scores by `e_u^(0) / (K + 1)`.

    Raises:
      ValueError: an argument is out of range; when traced: there is no history.

    Reference:
      He et al. (2020), "LightGCN: simplifying and powering graph convolution network for
      recommendation", equations 3, 4 and 6 with alpha_k = 1 / (K + 1). Difference: the graph.
      Wu et al. (2022), "A federated graph neural network framework for privacy-preserving
      personalization", Nature Communications, also let each client convolve its own subgraph,
      and widen it by users that a third party finds; here nobody is found.

    >>> model = lightgcn(num_items=5, dim=2, num_layers=1)
    >>> model.needs_history, model.is_row_wise
    (True, False)
    """
    refuse_out_of_range(dim=dim, init_stddev=init_stddev)
    if num_layers < 0:
        raise ValueError(f"num_layers must be at least 0, got {num_layers}")
    factors = matrix_factorization(num_items, dim, init_stddev=init_stddev)

    def score(view: View, inputs: Inputs) -> Array:
        if inputs.history is None:
            raise ValueError("lightgcn reads a history: use objectives.with_history")
        table, user = view.shared.rows["item"], view.private.dense
        user, table = propagate(user, table, inputs.history, num_layers)
        shared = view.shared._replace(rows={"item": table})
        private = view.private._replace(dense=user)
        return factors.score(view._replace(shared=shared, private=private), inputs)

    return factors.with_score(score, needs_history=True)


def propagate(user: Array, items: Array, history: History, num_layers: int) -> tuple[Array, Array]:
    """The means over the layers of a user's vector `[D]` and of its view's rows `[S, D]`.

    >>> past = jnp.array([0, 0, 9])  # one item, twice
    >>> history = History(past, past, past, jnp.int32(2), past, jnp.int32(1))
    >>> user, items = propagate(jnp.array([4.0]), jnp.array([[2.0], [6.0]]), history, 1)
    >>> user.tolist(), items.tolist()
    ([3.0], [[3.0], [3.0]])
    """
    is_own = jnp.zeros(items.shape[0], items.dtype).at[history.items].set(1, mode="drop")
    edges = is_own / jnp.sqrt(jnp.maximum(jnp.sum(is_own), 1))
    mean_user, mean_items = user, items
    for _ in range(num_layers):
        user, items = edges @ items, jnp.outer(edges, user)
        mean_user, mean_items = mean_user + user, mean_items + items
    return mean_user / (num_layers + 1), mean_items / (num_layers + 1)
