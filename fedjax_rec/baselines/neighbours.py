"""EASE and item-kNN: closed forms of item co-occurrences, which one round counts.

Both score `s_u = x_u B`: x_u in {0, 1}^I says what the client has, and B is computed from
the Gram matrix `G = sum_u x_u^T x_u`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from fedjax_rec.base import (
    Array,
    FederatedAlgorithm,
    History,
    Inputs,
    Key,
    Model,
    Part,
    RowIds,
    View,
    decided,
    empty,
    parametric,
)
from fedjax_rec.baselines.counting import counted


@parametric
def ease(
    num_items: int, *, regularization: float = 300.0, is_sliced: bool = True
) -> FederatedAlgorithm:
    """EASE: the linear model of items by items that predicts best what is held.

    `min_B |X - X B|^2 + lambda |B|^2` with `diag B = 0`, solved by
    `P = (G + lambda I)^-1`, `B_ij = -P_ij / P_jj` off the diagonal.

    A centralised method. Its server learns G, which items are held together and by how many;
    each client's `x_u^T x_u`, where it is not summed in secret, is the client's whole history.

    Args:
      num_items: size of the catalogue (I). The server inverts a matrix of `[I, I]`.
      regularization: lambda, above 0.
      is_sliced: False has clients send whole matrices in place of their items' rows.

    Returns:
      An algorithm that is done after one round of all clients.

    Raises:
      ValueError: `regularization` is not positive and finite.

    Reference:
      Steck (2019), "Embarrassingly shallow autoencoders for sparse data", Algorithm 1.
      Difference: an item that recurs in a history counts once.

    >>> ease(num_items=3).model.num_rows
    {'item': 3}
    """
    if not decided(lambda: 0 < regularization < float("inf")):
        raise ValueError(f"regularization must be above 0 and finite, got {regularization}")

    def solve(gram: Array) -> Array:
        regular = gram + regularization * jnp.eye(num_items)
        factor = jax.scipy.linalg.cho_factor(regular)
        inverse = jax.scipy.linalg.cho_solve(factor, jnp.eye(num_items))
        return jnp.fill_diagonal(-inverse / jnp.diag(inverse), 0, inplace=False)

    return _from_gram(num_items, solve, is_sliced=is_sliced)


@parametric
def item_knn(
    num_items: int,
    *,
    num_neighbours: int = 100,
    shrinkage: float = 10.0,
    is_sliced: bool = True,
) -> FederatedAlgorithm:
    """Item-kNN: an item scores by how near it is to the client's items.

    `s_ui = sum of c_ij over j in N(i) that u has`, `c_ij = G_ij / (sqrt(G_ii G_jj) + h)`:
    the shrunk cosine, and N(i) the items nearest to i.

    A centralised method; what its server learns is what it learns in `ease`.

    Args:
      num_items: size of the catalogue (I).
      num_neighbours: size of N(i), at least 1; among equally near ones the lower id goes first.
      shrinkage: h, at least 0: how much cosines of rare items are held back.
      is_sliced: False has clients send whole matrices in place of their items' rows.

    Returns:
      An algorithm that is done after one round of all clients.

    Raises:
      ValueError: a setting is out of range.

    Reference:
      Sarwar et al. (2001), "Item-based collaborative filtering recommendation algorithms",
      section 3, with the shrinkage of Ferrari Dacrema, Cremonesi and Jannach (2019), "Are we
      really making much progress?", section 3.2. Difference: scores are sums, not means
      weighted by similarity, for there are no ratings.

    >>> item_knn(num_items=3).model.num_rows
    {'item': 3}
    """
    if num_neighbours < 1:
        raise ValueError(f"num_neighbours must be at least 1, got {num_neighbours}")
    if not decided(lambda: 0 <= shrinkage < float("inf")):
        raise ValueError(f"shrinkage must be at least 0 and finite, got {shrinkage}")

    def nearest(gram: Array) -> Array:
        norms = jnp.sqrt(jnp.diag(gram) * jnp.diag(gram)[:, None])
        cosines = jnp.where(gram > 0, gram / jnp.where(gram > 0, norms + shrinkage, 1), 0)
        cosines = jnp.fill_diagonal(cosines, 0, inplace=False)
        values, neighbours = jax.lax.top_k(cosines, min(num_neighbours, num_items))
        item = jnp.arange(num_items)[:, None]
        return jnp.zeros_like(cosines).at[neighbours, item].set(values)

    return _from_gram(num_items, nearest, is_sliced=is_sliced)


def distinct_items(history: History, num_items: int) -> Array:
    """`[L]` the client's items, each once, and the number of items for padding.

    >>> items = jnp.array([7, 2, 7, 9])
    >>> distinct_items(History(items, items, items, jnp.int32(3), items, jnp.int32(0)), 9).tolist()
    [2, 7, 9, 9]
    """
    items = jnp.sort(history.items)
    is_first = jnp.append(True, items[1:] != items[:-1])[: items.shape[0]]
    return jnp.where(is_first, items, num_items)


def _from_gram(
    num_items: int, solve: Callable[[Array], Array], *, is_sliced: bool
) -> FederatedAlgorithm:
    """Clients send their items' rows of `x_u^T x_u`; the server solves for B."""

    def init(key: Key) -> tuple[Part, Part]:
        return Part({"item": jnp.zeros((num_items, num_items))}, ()), empty()

    def held(items: Array) -> Array:
        return jnp.zeros(num_items).at[items].set(1.0, mode="drop")

    def score(view: View, inputs: Inputs) -> Array:
        assert inputs.history is not None
        weights: Array = view.shared.rows["item"]
        return held(inputs.history.items) @ (
            weights if inputs.ids is None else weights[:, inputs.ids]
        )

    def plan(history: History) -> tuple[RowIds, Array]:
        items = distinct_items(history, num_items)
        return {"item": items if is_sliced else None}, items

    def count(items: Array) -> Part:
        own = held(items)
        is_row = (items < num_items).astype(own.dtype) if is_sliced else own
        return Part({"item": jnp.outer(is_row, own)}, ())

    return counted(
        Model({"item": num_items}, init, score, needs_history=True),
        count,
        lambda gram: Part({"item": solve(gram.rows["item"])}, ()),
        plan=plan,
    )
