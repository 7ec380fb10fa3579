"""FCF: every client solves its own vector in closed form, the server descends on the items.

Ammad-ud-din et al. (2019), "Federated collaborative filtering for privacy-preserving
personalized recommendation system".
"""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import jax.numpy as jnp
import optax

from fedjax_rec.base import (
    AggregateTransform,
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
    PyTree,
    RowIds,
    ServerState,
    ServerUpdate,
    Stat,
    Task,
    View,
    decided,
    parametric,
)
from fedjax_rec.clients import solve_positive_definite
from fedjax_rec.errors import UserError
from fedjax_rec.models import matrix_factorization
from fedjax_rec.transforms import chain, total


class Own(NamedTuple):
    """A client's own items.

    Attributes:
      is_held: `[S]` False for padding.
      confidence: `[S]` c_ui; 0 for padding.
      num_events: `[]` that it has.
    """

    is_held: Array
    confidence: Array
    num_events: Array


STRENGTHS: Mapping[str, Callable[[Array, Array], Array]] = {
    "value": lambda total, ratio: total,
    "log": lambda total, ratio: jnp.log1p(total),
    "one": lambda total, ratio: jnp.ones_like(total),
    "share": lambda total, ratio: jnp.broadcast_to(ratio, total.shape),
}
"""r_ui, by the sum of the values of u's events with i, and the ratio of I to u's items."""


@parametric
def fcf(
    num_items: int,
    *,
    dim: int = 32,
    init_stddev: float = 0.1,
    alpha: float = 1.0,
    strength: Literal["value", "log", "one", "share"] = "value",
    regularization: float = 1.0,
    aggregate: AggregateTransform | None = None,
    server_optimizer: optax.GradientTransformation | None = None,
) -> FederatedAlgorithm:
    """Federated collaborative filtering of implicit feedback.

    With preferences `p_ui` in {0, 1} and confidences `c_ui = 1 + alpha r_ui`, the cost is
    `J = sum_ui c_ui (p_ui - x_u . y_i)^2 + lambda (sum_u |x_u|^2 + sum_i |y_i|^2)`. Client u
    solves `x_u = (Y' C_u Y + lambda I)^-1 Y' C_u p_u`; the server steps on
    `dJ/dy_i = -2 sum_u f(u, i) + 2 lambda y_i`, `f(u, i) = c_ui (p_ui - x_u . y_i) x_u`.

    Of an item that u does not have, `f(u, i) = -x_u x_u' y_i`. So u sends the matrix
    `x_u x_u'`, and of its own items `f(u, i) + x_u x_u' y_i`; the sum of all f follows from theirs.

    Args:
      num_items: size of the catalogue (I).
      dim: width of a vector (D), at least 1.
      init_stddev: standard deviation of the initial vectors.
      alpha: what an r_ui of 1 adds to the confidence, at least 0.
      strength: r_ui is the `value` of u's events with i, `log` of 1 and that, or `one`: counts
        that reach thousands, such as plays, drown all other items as they are. `share` is I over
        the number of u's items, so that these together add alpha times what the catalogue
        weighs, however sparse the data.
      regularization: lambda, above 0.
      aggregate: what happens to what clients send; the plain sum by default. No mean by row.
      server_optimizer: `optax.adam(0.01)` by default; the paper steps by Adam too.

    Returns:
      The algorithm's filled slots. Every client is scored by the x_u that it solves on the
      table as it stands.

    Raises:
      ValueError: a number is out of range.
      UserError: when traced: the aggregate is a mean by row.

    Reference:
      Ammad-ud-din et al. (2019), Algorithm 1, equations 4 to 8; the cost is that of Hu, Koren
      and Volinsky (2008), "Collaborative filtering for implicit feedback datasets", equation
      3, and `log` their equation 6 with epsilon 1. Differences: values of several events with
      one item add up; the server steps once a round, however many clients took part; `one` and
      `share` are ours.

    >>> fcf(num_items=100, dim=8).model.num_rows
    {'item': 100}
    """
    _check(alpha, strength, regularization)
    optimizer = server_optimizer or optax.adam(0.01)

    def prepare(key: Key, history: History) -> tuple[RowIds, Own]:
        return _own_items(history, num_items, alpha, STRENGTHS[strength])

    def solve(rows: Array, gram: Array, own: Own) -> Array:
        return _user(rows, gram + regularization * jnp.eye(dim), own)

    def run(key: Key, view: View, task: Task) -> ClientOutput:
        rows, gram, own = view.shared.rows["item"], view.extra.dense, task.plan
        user = solve(rows, gram, own)
        scores = rows @ user
        error = own.confidence * (1 - scores)
        own_part = jnp.where(own.is_held, error + scores, 0)  # f(u, i) + (x_u . y_i) x_u
        update = Part({"item": jnp.outer(own_part, user)}, jnp.outer(user, user))
        cost = user @ gram @ user + jnp.sum(error * (1 - scores))
        cost += regularization * user @ user - jnp.sum(jnp.where(own.is_held, scores**2, 0))
        private = view.private._replace(dense=user)
        info = {"loss": Stat(cost, jnp.float32(num_items))}
        weight = own.num_events.astype(jnp.float32)
        return ClientOutput(update, private, view.memory, weight, info)

    def adapt(key: Key, view: View, task: Task) -> View:
        user = solve(view.shared.rows["item"], view.extra.dense, task.plan)
        return view._replace(private=view.private._replace(dense=user))

    def init(shared: Part) -> PyTree:
        return optimizer.init(shared)

    def descend(state: ServerState, message: Message, cohort: Cohort) -> ServerState:
        if message.row_weight:
            raise UserError(
                "fcf: a mean by row weighs clients' own items and all others differently; set "
                "aggregate.mean to sum or client"
            )
        table, update = state.shared.rows["item"], message.update
        f = update.rows["item"] - table @ update.dense
        gradient = Part({"item": -2 * f + 2 * regularization * table}, ())
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.shared)
        shared = optax.apply_updates(state.shared, updates)
        return state._replace(shared=shared, opt_state=opt_state, extra=_gram_of(shared))

    def template(shared: Part) -> Part:
        return shared._replace(dense=jnp.zeros((dim, dim)))

    return FederatedAlgorithm(
        matrix_factorization(num_items, dim, init_stddev=init_stddev),
        Objective(prepare),
        ClientUpdate(run),
        chain(aggregate or total()),
        ServerUpdate(init, descend),
        template=template,
        init_extra=lambda key, shared: _gram_of(shared),
        adapt=adapt,
    )


def _user(rows: Array, matrix: Array, own: Own) -> Array:
    """x_u: to `Y' Y + lambda I` [D, D], a client's own items Y_u [S, D] add their part.

    With E the own items' `c_ui - 1`, it is `(A + Y_u' E Y_u)^-1 Y_u' c`. Who has fewer items
    than a vector has numbers solves S equations instead of D (Woodbury): with
    `K = Y_u A^-1 Y_u'`, it is `A^-1 Y_u' (c - E^1/2 (I + E^1/2 K E^1/2)^-1 E^1/2 K c)`. All
    invert one A.
    """
    extra = jnp.where(own.is_held, own.confidence - 1, 0)
    if rows.shape[0] >= rows.shape[1]:
        return solve_positive_definite(
            matrix + (rows * extra[:, None]).T @ rows, own.confidence @ rows
        )
    inverse = solve_positive_definite(matrix, jnp.eye(matrix.shape[0]))
    seen, root = rows @ inverse, jnp.sqrt(extra)
    kernel = seen @ rows.T
    system = jnp.eye(rows.shape[0]) + root[:, None] * kernel * root
    inner = solve_positive_definite(system, root * (kernel @ own.confidence))
    return (own.confidence - root * inner) @ seen


def _gram_of(shared: Part) -> Part:
    """`Y' Y`, which every client's equations begin with."""
    table = shared.rows["item"]
    return Part({}, table.T @ table)


def _check(alpha: float, strength: str, regularization: float) -> None:
    if strength not in STRENGTHS:
        raise ValueError(f"strength must be one of {', '.join(STRENGTHS)}, got {strength!r}")
    if not decided(lambda: regularization > 0 and alpha >= 0):
        raise ValueError("regularization must be above 0 and alpha at least 0")


def _own_items(
    history: History, num_items: int, alpha: float, strength_of: Callable[[Array, Array], Array]
) -> tuple[RowIds, Own]:
    """A client's items, each once, with what all its events say."""
    order = jnp.argsort(history.items)
    items, values = history.items[order], history.values[order]
    place = jnp.cumsum(jnp.append(0, items[1:] != items[:-1])[: items.shape[0]])
    distinct = jnp.full_like(items, num_items).at[place].set(items)
    is_held = distinct < num_items
    ratio = num_items / jnp.maximum(is_held.sum(), 1)
    strength = strength_of(jnp.zeros_like(values).at[place].add(values), ratio)
    confidence = jnp.where(is_held, 1 + alpha * strength, 0)
    return {"item": distinct}, Own(is_held, confidence, history.num_events)
