"""FCF: every client solves its own vector in closed form, the server descends on the items.

Ammad-ud-din et al. (2019), "Federated collaborative filtering for privacy-preserving
personalized recommendation system".
"""

import jax
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
from fedjax_rec.models import matrix_factorization
from fedjax_rec.transforms import chain, total


@parametric
def fcf(
    num_items: int,
    *,
    dim: int = 32,
    init_stddev: float = 0.1,
    alpha: float = 1.0,
    regularization: float = 1.0,
    aggregate: AggregateTransform | None = None,
    server_optimizer: optax.GradientTransformation | None = None,
) -> FederatedAlgorithm:
    """Federated collaborative filtering of implicit feedback.

    With preferences `p_ui` in {0, 1} and confidences `c_ui = 1 + alpha r_ui`, the cost is
    `J = sum_ui c_ui (p_ui - x_u . y_i)^2 + lambda (sum_u |x_u|^2 + sum_i |y_i|^2)`. Client u
    solves `x_u = (Y' C_u Y + lambda I)^-1 Y' C_u p_u` and sends
    `f(u, i) = c_ui (p_ui - x_u . y_i) x_u` of every item; the server steps on
    `dJ/dy_i = -2 sum_u f(u, i) + 2 lambda y_i`.

    Args:
      num_items: size of the catalogue (I).
      dim: width of a vector (D), at least 1.
      init_stddev: standard deviation of the initial vectors.
      alpha: what an event of value 1 adds to the confidence, at least 0.
      regularization: lambda, above 0.
      aggregate: what happens to what clients send; the plain sum by default.
      server_optimizer: `optax.adam(0.01)` by default; the paper steps by Adam too.

    Returns:
      The algorithm's filled slots. Every client sends and gets whole tables, and is scored
      by the x_u that it solves on the table as it stands.

    Raises:
      ValueError: a number is out of range.

    Reference:
      Ammad-ud-din et al. (2019), Algorithm 1, equations 4 to 8; the cost is that of Hu, Koren
      and Volinsky (2008), "Collaborative filtering for implicit feedback datasets", equation
      3. Differences: an event counts with its value, several of one item add up; the server
      steps once a round, however many clients took part.

    >>> fcf(num_items=100, dim=8).model.num_rows
    {'item': 100}
    """
    if not decided(lambda: regularization > 0 and alpha >= 0):
        raise ValueError("regularization must be above 0 and alpha at least 0")
    optimizer = server_optimizer or optax.adam(0.01)

    def prepare(key: Key, history: History) -> tuple[RowIds, History]:
        return {"item": None}, history

    def preferences(history: History) -> tuple[Array, Array]:
        """`[I]` p_u and c_u; padding falls off the end."""
        is_real = jnp.arange(history.items.shape[0]) < history.num_events
        values = jnp.where(is_real, history.values, 0)
        strength = jnp.zeros(num_items).at[history.items].add(values, mode="drop")
        has_item = jnp.zeros(num_items).at[history.items].set(1.0, mode="drop")
        return has_item, 1 + alpha * strength

    def solve(table: Array, history: History) -> Array:
        """x_u."""
        preference, confidence = preferences(history)
        is_real = jnp.arange(history.items.shape[0]) < history.num_events
        own = table.at[history.items].get(mode="fill", fill_value=0)
        extra = alpha * jnp.where(is_real, history.values, 0)  # c - 1, event by event
        gram = table.T @ table + (own * extra[:, None]).T @ own + regularization * jnp.eye(dim)
        return solve_positive_definite(gram, table.T @ (confidence * preference))

    def run(key: Key, view: View, task: Task) -> ClientOutput:
        table, history = view.shared.rows["item"], task.plan
        preference, confidence = preferences(history)
        user = solve(table, history)
        error = preference - table @ user
        update = Part({"item": jnp.outer(confidence * error, user)}, ())
        cost = jnp.sum(confidence * error**2) + regularization * jnp.sum(user**2)
        weight = history.num_events.astype(jnp.float32)
        private = view.private._replace(dense=user)
        info = {"loss": Stat(cost, jnp.float32(num_items))}
        return ClientOutput(update, private, view.memory, weight, info)

    def adapt(key: Key, view: View, task: Task) -> View:
        user = solve(view.shared.rows["item"], task.plan)
        return view._replace(private=view.private._replace(dense=user))

    def init(shared: Part) -> PyTree:
        return optimizer.init(shared)

    def descend(state: ServerState, message: Message, cohort: Cohort) -> ServerState:
        gradient = jax.tree.map(
            lambda f, y: -2 * f + 2 * regularization * y, message.update, state.shared
        )
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.shared)
        shared = optax.apply_updates(state.shared, updates)
        return state._replace(shared=shared, opt_state=opt_state)

    return FederatedAlgorithm(
        matrix_factorization(num_items, dim, init_stddev=init_stddev),
        Objective(prepare),
        ClientUpdate(run, support="table"),
        chain(aggregate or total()),
        ServerUpdate(init, descend),
        adapt=adapt,
    )
