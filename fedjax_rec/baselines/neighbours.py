"""EASE and item-kNN: closed forms of what occurs together in people's histories.

Both score `s_u = x_u B`: x_u in {0, 1}^I says what person u has, X in {0, 1}^{N x I} what
everybody has, and B follows from the Gram matrix `G = X^T X`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from fedjax_rec.base import (
    Array,
    ClientData,
    FederatedAlgorithm,
    Inputs,
    Key,
    Model,
    Part,
    View,
    decided,
    empty,
    parametric,
)
from fedjax_rec.baselines.pooled_histories import (
    Histories,
    blocks_of,
    co_occurrences,
    dense_rows,
    distinct_items,
    from_histories,
    item_counts,
    pooled_histories,
)

BLOCK = 2**24
"""Numbers of G that are there at once, where it is not needed as a whole."""


@parametric
def ease(
    num_items: int,
    *,
    data: ClientData,
    held_users: npt.NDArray[np.bool_] | None = None,
    regularization: float = 300.0,
) -> FederatedAlgorithm:
    """EASE: the linear model of items by items that predicts best what is held.

    `min_B |X - X B|^2 + lambda |B|^2` with `diag B = 0`, solved by
    `P = (G + lambda I)^-1`, `B_ij = -P_ij / P_jj` off the diagonal.

    With fewer people than items P follows from an inverse of people by people,
    `lambda P = I - X^T (X X^T + lambda I)^-1 X` (Woodbury), and B is kept in two factors:
    `B = diag(1 - 1 / d) + X^T W`, `d = diag(lambda P)`, `W = (X X^T + lambda I)^-1 X diag(1 / d)`.

    A centralised method: its server reads everybody's histories.

    Args:
      num_items: size of the catalogue (I).
      data: everybody's events (N people). The server inverts a matrix of the smaller of N and I.
      held_users: `[N]` whose events do not count; by default everybody's do.
      regularization: lambda, above 0.

    Returns:
      An algorithm that is done after one round of all clients.

    Raises:
      ValueError: `regularization` is not positive and finite.

    Reference:
      Steck (2019), "Embarrassingly shallow autoencoders for sparse data", Algorithm 1.
      Difference: an item that recurs in a history counts once.

    >>> from fedjax_rec.data import load
    >>> data = load("synthetic", num_users=30, num_items=40, mean_events=8)
    >>> ease(data.num_items, data=data.clients).model.num_rows
    {'item': 40}
    """
    if not decided(lambda: 0 < regularization < float("inf")):
        raise ValueError(f"regularization must be above 0 and finite, got {regularization}")
    solved = _by_people if data.num_clients < num_items else _by_items
    return solved(num_items, pooled_histories(data, held_users), regularization)


def _by_items(num_items: int, histories: Histories, regularization: float) -> FederatedAlgorithm:
    """EASE by an inverse of items by items; B is kept."""

    def init(key: Key) -> tuple[Part, Part]:
        return Part({"item": jnp.zeros((num_items, num_items))}, ()), empty()

    def score(view: View, inputs: Inputs) -> Array:
        weights: Array = view.shared.rows["item"]
        return _held(inputs, num_items).astype(weights.dtype) @ (
            weights if inputs.ids is None else weights[:, inputs.ids]
        )

    def solve(histories: Histories) -> Part:
        gram = co_occurrences(histories, 0, num_items)
        inverse = _solve(gram, regularization, jnp.eye(num_items))
        weights = jnp.fill_diagonal(-inverse / jnp.diag(inverse), 0, inplace=False)
        return Part({"item": weights}, ())

    model = Model({"item": num_items}, init, score, needs_history=True)
    return from_histories(model, histories, solve, working_bytes=4 * 3 * num_items**2)


def _by_people(num_items: int, histories: Histories, regularization: float) -> FederatedAlgorithm:
    """EASE by an inverse of people by people; X and W are kept, a row an item, and `1 - 1 / d`."""
    num_people = histories.data.num_clients

    def init(key: Key) -> tuple[Part, Part]:
        table = jnp.zeros((num_items, num_people))
        return Part({"item": {"held": table, "weights": table, "own": table[:, 0]}}, ()), empty()

    def score(view: View, inputs: Inputs) -> Array:
        assert inputs.history is not None
        rows = view.shared.rows["item"]
        items = distinct_items(inputs.history, num_items)
        alike = rows["held"].at[items].get(mode="fill", fill_value=0).sum(axis=0)  # X x_u
        held = _held(inputs, num_items)
        asked = slice(None) if inputs.ids is None else inputs.ids
        scores: Array = held[asked] * rows["own"][asked] + rows["weights"][asked] @ alike
        return scores

    def solve(histories: Histories) -> Part:
        held = dense_rows(histories)
        projected = _solve(held @ held.T, regularization, held)
        left = 1 - jnp.sum(held * projected, axis=0)  # d
        rows = {"held": held.T, "weights": (projected / left).T, "own": 1 - 1 / left}
        return Part({"item": rows}, ())

    model = Model({"item": num_items}, init, score, needs_history=True)
    working = 4 * (2 * num_people * num_items + 3 * num_people**2)
    return from_histories(model, histories, solve, working_bytes=working)


@parametric
def item_knn(
    num_items: int,
    *,
    data: ClientData,
    held_users: npt.NDArray[np.bool_] | None = None,
    num_neighbours: int = 100,
    shrinkage: float = 10.0,
) -> FederatedAlgorithm:
    """Item-kNN: an item scores by how near it is to the client's items.

    `s_ui = sum of c_ij over j in N(i) that u has`, `c_ij = G_ij / (sqrt(G_ii G_jj) + h)`:
    the shrunk cosine, and N(i) the items nearest to i.

    A centralised method; what its server reads is what it reads in `ease`. G is there by
    blocks of rows, and the nearest of each row are kept: memory grows with `I num_neighbours`.

    Args:
      num_items: size of the catalogue (I).
      data: everybody's events.
      held_users: `[N]` whose events do not count; by default everybody's do.
      num_neighbours: size of N(i), at least 1; among equally near ones the lower id goes first.
      shrinkage: h, at least 0: how much cosines of rare items are held back.

    Returns:
      An algorithm that is done after one round of all clients.

    Raises:
      ValueError: a setting is out of range.

    Reference:
      Sarwar et al. (2001), "Item-based collaborative filtering recommendation algorithms",
      section 3, with the shrinkage of Ferrari Dacrema, Cremonesi and Jannach (2019), "Are we
      really making much progress?", section 3.2. Difference: scores are sums, not means
      weighted by similarity, for there are no ratings.

    >>> from fedjax_rec.data import load
    >>> data = load("synthetic", num_users=30, num_items=40, mean_events=8)
    >>> item_knn(data.num_items, data=data.clients).model.num_rows
    {'item': 40}
    """
    if num_neighbours < 1:
        raise ValueError(f"num_neighbours must be at least 1, got {num_neighbours}")
    if not decided(lambda: 0 <= shrinkage < float("inf")):
        raise ValueError(f"shrinkage must be at least 0 and finite, got {shrinkage}")
    num_kept = min(num_neighbours, num_items)
    size = min(max(BLOCK // num_items, 1), num_items)

    def init(key: Key) -> tuple[Part, Part]:
        shape = num_items, num_kept
        rows = {"neighbours": jnp.zeros(shape, jnp.int32), "cosines": jnp.zeros(shape)}
        return Part({"item": rows}, ()), empty()

    def score(view: View, inputs: Inputs) -> Array:
        rows = view.shared.rows["item"]
        asked = slice(None) if inputs.ids is None else inputs.ids
        has_neighbour = _held(inputs, num_items)[rows["neighbours"][asked]]
        return jnp.sum(jnp.where(has_neighbour, rows["cosines"][asked], 0), axis=-1)

    def nearest_of(histories: Histories, counts: Array, begin: Array) -> tuple[Array, Array]:
        gram = co_occurrences(histories, begin, size)
        items = begin + jnp.arange(size)
        norms = jnp.sqrt(counts[items][:, None] * counts)
        cosines = jnp.where(gram > 0, gram / jnp.where(gram > 0, norms + shrinkage, 1), 0)
        cosines = cosines.at[jnp.arange(size), items].set(0)
        values, neighbours = jax.lax.top_k(cosines, num_kept)
        return neighbours, values

    def find(histories: Histories) -> Part:
        counts, begins = item_counts(histories), jnp.array([*blocks_of(num_items, size)])

        def block(number: Array, kept: tuple[Array, Array]) -> tuple[Array, Array]:
            begin = begins[number]
            found = nearest_of(histories, counts, begin)
            neighbours, cosines = (
                jax.lax.dynamic_update_slice_in_dim(whole, rows, begin, 0)
                for whole, rows in zip(kept, found, strict=True)
            )
            return neighbours, cosines

        rows = init(jax.random.key(0))[0].rows["item"]
        start = rows["neighbours"], rows["cosines"]
        neighbours, cosines = jax.lax.fori_loop(0, begins.size, block, start)
        return Part({"item": {"neighbours": neighbours, "cosines": cosines}}, ())

    model = Model({"item": num_items}, init, score, needs_history=True)
    histories = pooled_histories(data, held_users)
    return from_histories(model, histories, find, working_bytes=4 * 4 * size * num_items)


def _held(inputs: Inputs, num_items: int) -> Array:
    """`[I]` whether the client has each item."""
    assert inputs.history is not None
    return jnp.zeros(num_items, bool).at[inputs.history.items].set(True, mode="drop")


def _solve(gram: Array, regularization: float, right: Array) -> Array:
    """`(gram + lambda I)^-1 right`, by Cholesky."""
    regular = gram + regularization * jnp.eye(gram.shape[0])
    solution: Array = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(regular), right)
    return solution
