"""Shadow clients: what an attacker trains from the public model, with labels of its own."""

import jax
import jax.numpy as jnp
import optax

from fedjax_rec import tree
from fedjax_rec.base import (
    Array,
    FederatedAlgorithm,
    Fixed,
    Inputs,
    Key,
    Part,
    Private,
    PyTree,
    Sampled,
    ServerState,
    View,
)
from fedjax_rec.errors import UserError
from fedjax_rec.objectives.losses import binary_cross_entropy


def shadow_upload(
    algorithm: FederatedAlgorithm,
    state: ServerState,
    fixed: Fixed,
    item_ids: Array,
    table: str,
    key: Key,
    labels: Array,
    *,
    num_steps: int = 20,
    learning_rate: float = 0.01,
) -> PyTree:
    """How a made-up client would change some rows, as whoever knows the model can find out.

    The client starts with private parameters of its own and minimises the mean binary cross-entropy
    of the labels by full-batch Adam, in all that a client trains.

    Args:
      algorithm: the filled slots.
      state: the server's, as clients receive it.
      fixed: frozen parameters; the data are not read.
      item_ids: `[S]` rows of the table, past its end for padding.
      table: that items index.
      key: of the private parameters' start.
      labels: `[S]` 1 liked, 0 not, -1 no example.
      num_steps: local steps, at least 1.
      learning_rate: of Adam, above 0.

    Returns:
      The change of these rows, leaves `[S, ...]`.

    Raises:
      UserError: the model reads histories, which a shadow does not have.

    >>> from fedjax_rec.algorithms import fedmf
    >>> from fedjax_rec.data import load
    >>> from fedjax_rec.simulation import build
    >>> data = load("synthetic", num_users=30, num_items=40, mean_events=8)
    >>> algorithm = fedmf(data.num_items, dim=4)
    >>> state, _, frozen = build(algorithm).init(jax.random.key(0), data.num_clients)
    >>> fixed = Fixed(frozen, data.clients)
    >>> ids, labels = jnp.array([3, 7, 40]), jnp.array([1.0, 0.0, -1.0])
    >>> shadow_upload(algorithm, state, fixed, ids, "item", jax.random.key(1), labels).shape
    (3, 4)
    """
    if algorithm.model.needs_history:
        raise UserError("shadow clients: the model reads histories, which an attacker cannot guess")
    whole = View(
        state.shared,
        algorithm.model.init_private(key),
        fixed.frozen,
        algorithm.init_memory(state.shared),
        state.extra,
    )
    view = tree.take_view(whole, {table: item_ids})
    inputs = Inputs(jnp.arange(item_ids.size), table=table)
    examples = Sampled(inputs, jnp.maximum(labels, 0.0), labels >= 0)

    def loss(trained: tuple[Part, Private]) -> Array:
        now = view._replace(shared=trained[0], private=trained[1])
        losses, weights = binary_cross_entropy(algorithm.model.score(now, inputs), examples)
        return jnp.sum(losses * weights) / jnp.maximum(jnp.sum(weights), 1)

    optimizer = optax.adam(learning_rate)

    def step(_: Array, carry: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
        trained, memory = carry
        changes, memory = optimizer.update(jax.grad(loss)(trained), memory, trained)
        return optax.apply_updates(trained, changes), memory

    start = view.shared, view.private
    (shared, _), _ = jax.lax.fori_loop(0, num_steps, step, (start, optimizer.init(start)))
    change: PyTree = jax.tree.map(jnp.subtract, shared.rows[table], view.shared.rows[table])
    return change
