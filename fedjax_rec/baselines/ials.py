"""iALS: matrix factorisation by alternating least squares, one sweep a round."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from fedjax_rec.base import (
    Array,
    ClientOutput,
    ClientUpdate,
    Cohort,
    FederatedAlgorithm,
    History,
    Key,
    Message,
    Objective,
    Part,
    RowIds,
    ServerState,
    ServerUpdate,
    Stat,
    Task,
    View,
    decided,
    is_concrete,
    parametric,
)
from fedjax_rec.baselines.pooled_histories import distinct_items
from fedjax_rec.clients import solve_positive_definite
from fedjax_rec.models import matrix_factorization
from fedjax_rec.transforms import total


class Weighting(NamedTuple):
    """What the two forms of iALS weigh differently.

    An item that is held adds `held (1 - s)^2` to the loss, every item `unheld s^2`, and
    the penalty of a vector is `lambda penalty(weight) |v|^2`.

    Attributes:
      held: weight of `q q^T` of a held item, beside `unheld`.
      target: weight of `q` of a held item.
      unheld: weight of every pair of a user and an item.
      penalty: `num_held, num_pairs -> factor of lambda`.
    """

    held: float
    target: float
    unheld: float
    penalty: Callable[[Array, Array | int], Array]


@parametric
def ials(
    num_items: int,
    *,
    dim: int = 64,
    init_stddev: float = 0.1,
    weighting: Literal["revisited", "original"] = "revisited",
    alpha: float = 1.0,
    regularization: float = 0.003,
    penalty_exponent: float = 1.0,
) -> FederatedAlgorithm:
    """Implicit alternating least squares: all pairs count, those that are held count more.

    With S the pairs (u, i) that are held and `s_ui = p_u . q_i`:

    - `revisited`: `sum_S (1 - s)^2 + alpha sum_all s^2 + lambda R`, where R weighs each
      `|p_u|^2` by `(|S_u| + alpha I)^nu` and each `|q_i|^2` by `(|S_i| + alpha N)^nu`;
    - `original`: `sum_all c (t - s)^2 + lambda (sum |p_u|^2 + sum |q_i|^2)`, with
      `c = 1 + alpha, t = 1` on S and `c = 1, t = 0` elsewhere.

    Each round solves first for every p_u, on its client, then for every q_i, on the server,
    from the clients' normal equations: both are exact, so the loss never rises.

    A centralised method. Its server needs everybody in every round, and learns p_u p_u^T and
    the client's items from what a client sends, unless it is summed in secret; the sum shows
    it `sum_{u has i} p_u p_u^T` for each item.

    Args:
      num_items: size of the catalogue (I).
      dim: width of a vector (D), at least 1. A client sends `D (D + 1)` numbers an item.
      init_stddev: standard deviation of the initial score of a random pair; above 0.
      weighting: see above.
      alpha: above 0. Of `revisited`, the weight of all pairs, commonly up to 1; of
        `original`, the confidence in held ones, commonly 40.
      regularization: lambda, above 0.
      penalty_exponent: nu, from 0 to 1; unused by `original`.

    Returns:
      An algorithm whose rounds are sweeps; each client stores its vector.

    Raises:
      ValueError: a setting is out of range.

    Reference:
      `original`: Hu, Koren and Volinsky (2008), "Collaborative filtering for implicit
      feedback datasets", equations 3 to 5. `revisited`: Rendle, Krichene, Zhang and Koren
      (2022), "Revisiting the performance of iALS on item recommendation benchmarks",
      equations 1 and 4. Difference: an item that recurs in a history counts once.

    >>> ials(num_items=3, dim=2).model.num_rows
    {'item': 3}
    """
    if decided(lambda: init_stddev <= 0):
        raise ValueError(f"init_stddev must be above 0, got {init_stddev}")
    if not decided(lambda: 0 <= penalty_exponent <= 1):
        raise ValueError(f"penalty_exponent must be from 0 to 1, got {penalty_exponent}")
    for name, value in (("alpha", alpha), ("regularization", regularization)):
        if is_concrete(value) and not 0 < value < float("inf"):
            raise ValueError(f"{name} must be above 0 and finite, got {value}")
    model = matrix_factorization(
        num_items, dim, init_stddev=init_stddev**0.5 * max(dim, 1) ** -0.25
    )
    weights = {
        "revisited": Weighting(
            1.0, 1.0, alpha, lambda held, pairs: (held + alpha * pairs) ** penalty_exponent
        ),
        "original": Weighting(alpha, 1 + alpha, 1.0, lambda held, pairs: jnp.ones_like(held)),
    }[weighting]

    def prepare(key: Key, history: History) -> tuple[RowIds, tuple[Array, Array]]:
        items = distinct_items(history, num_items)
        return {"item": items}, (items < num_items, history.num_events)

    def send_equations(key: Key, view: View, task: Task) -> ClientOutput:
        """Solves for p_u, and sends what it adds to the equations of every q_i."""
        is_held, num_events = task.plan
        held = is_held.astype(jnp.float32)
        items = view.shared.rows["item"]  # rows past the client's items read zero
        num_held, gram = held.sum(), view.extra.dense
        penalty = regularization * weights.penalty(num_held, num_items)
        user = solve_positive_definite(
            weights.unheld * gram + weights.held * items.T @ items + penalty * jnp.eye(dim),
            weights.target * held @ items,
        )
        update = Part(
            {
                "item": {
                    "matrix": held[:, None, None] * jnp.outer(user, user),
                    "vector": held[:, None] * user,
                    "num_held": held,
                }
            },
            {"gram": jnp.outer(user, user), "num_users": jnp.float32(1)},
        )
        scores = items @ user
        loss = (
            weights.unheld * user @ gram @ user
            + jnp.sum(held * (weights.held * scores**2 - 2 * weights.target * scores))
            + weights.target * num_held
            + penalty * user @ user
        )
        return ClientOutput(
            update,
            view.private._replace(dense=user),
            view.memory,
            num_events.astype(jnp.float32),
            {"loss": Stat(loss, jnp.float32(1))},
        )

    def solve_for_items(state: ServerState, message: Message, cohort: Cohort) -> ServerState:
        sums, everyone = message.update.rows["item"], message.update.dense
        penalty = regularization * weights.penalty(sums["num_held"], everyone["num_users"])
        table = _solve_many(
            weights.unheld * everyone["gram"]
            + weights.held * sums["matrix"]
            + penalty[:, None, None] * jnp.eye(dim),
            weights.target * sums["vector"],
        )
        # without anybody there is nothing to solve, and the table stays
        table = jnp.where(everyone["num_users"] > 0, table, state.shared.rows["item"])
        shared = Part({"item": table}, ())
        return state._replace(shared=shared, extra=_gram_of(shared))

    def template(shared: Part) -> Part:
        sums = {
            "matrix": jnp.zeros((num_items, dim, dim)),
            "vector": jnp.zeros((num_items, dim)),
            "num_held": jnp.zeros(num_items),
        }
        return Part({"item": sums}, {"gram": jnp.zeros((dim, dim)), "num_users": jnp.float32(0)})

    return FederatedAlgorithm(
        model,
        Objective(prepare),
        ClientUpdate(send_equations),
        total(),
        ServerUpdate(lambda shared: (), solve_for_items),
        template=template,
        init_extra=lambda key, shared: _gram_of(shared),
    )


def _gram_of(shared: Part) -> Part:
    """`Q^T Q`, which every client's equations begin with."""
    table = shared.rows["item"]
    return Part({}, table.T @ table)


def _solve_many(matrix: Array, vector: Array) -> Array:
    """`matrix^-1 vector` of many positive definite matrices `[I, D, D]`, by Cholesky."""
    factor = jnp.linalg.cholesky(matrix)
    half = jax.lax.linalg.triangular_solve(factor, vector[..., None], left_side=True, lower=True)
    whole = jax.lax.linalg.triangular_solve(
        factor, half, left_side=True, lower=True, transpose_a=True
    )
    return whole[..., 0]
