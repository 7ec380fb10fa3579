"""What clients score: each one's view as it stands, after what it does before it is asked."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp

from fedjax_rec import base, tree
from fedjax_rec.base import (
    Array,
    Clients,
    Entry,
    FederatedAlgorithm,
    Fixed,
    Inputs,
    LengthClass,
    PyTree,
    RowIds,
    ServerState,
    Task,
    View,
)

Scores = Callable[[LengthClass, Array, Array], Array]


def scores_of(
    algorithm: FederatedAlgorithm, state: ServerState, clients: Clients, fixed: Fixed
) -> Scores:
    """`(length, client_ids, slots) -> [C, I]`: scores of the whole catalogue that is ranked.

    Where the algorithm adapts, a client does so as it would in the round to come: on the
    same examples, in the same order.

    Args:
      algorithm: supplies model, broadcast and adaption.
      state: the server's, as it stands.
      clients: the store.
      fixed: frozen parameters and data; the histories of those asked for fit `length`.
    """
    model, objective, adapt = algorithm.model, algorithm.objective, algorithm.adapt

    def key_of(entry: Entry, purpose: int) -> base.Key:
        return base.derive_key(state.key, state.round, entry.client_id, purpose)

    def view_of(entry: Entry) -> View:
        store = (clients.private, clients.memory)
        private, memory = jax.tree.map(lambda leaf: leaf[entry.slot], store)
        return tree.client_view(algorithm, state, fixed.frozen, entry, private, memory, {})

    def score(length: LengthClass, entry: Entry, view: View) -> Array:
        history = fixed.data.history(entry.client_id, length) if model.needs_history else None
        scores = model.score(view, Inputs(None, history, "item"))
        if scores.shape != (fixed.data.num_items,):
            raise ValueError(f"scores {scores.shape} are not one number for each item")
        return scores[: fixed.data.num_ranked]

    def scores(length: LengthClass, client_ids: Array, slots: Array) -> Array:
        entries = Entry(client_ids, slots, jnp.ones(slots.shape, bool))
        if adapt is None:
            plain: Array = jax.vmap(lambda entry: score(length, entry, view_of(entry)))(entries)
            return plain

        def prepare(entry: Entry) -> tuple[RowIds, PyTree, Array]:
            history = fixed.data.history(entry.client_id, length)
            row_ids, plan = objective.prepare(key_of(entry, base.PREPARE), history)
            return row_ids, plan, jnp.asarray(objective.num_steps(plan), jnp.int32)

        row_ids, plans, num_steps = jax.vmap(prepare)(entries)
        max_steps = jnp.max(num_steps)

        def one(entry: Entry, row_ids: RowIds, plan: PyTree, num_steps: Array) -> Array:
            view = view_of(entry)
            task = Task(entry, state.round, plan, num_steps, max_steps)
            near = tree.take_view(view, row_ids)
            near = adapt(key_of(entry, base.TRAIN), near, task)
            shared = tree.put(view.shared, row_ids, near.shared)
            private = tree.put(view.private, row_ids, near.private)
            return score(length, entry, view._replace(shared=shared, private=private))

        adapted: Array = jax.vmap(one)(entries, row_ids, plans, num_steps)
        return adapted

    return scores


def without_own(algorithm: FederatedAlgorithm) -> FederatedAlgorithm:
    """The algorithm as a client would use it that has no item parameters of its own."""
    model, strip = algorithm.model, algorithm.without_own
    assert strip is not None

    def score(view: View, inputs: Inputs) -> Array:
        return model.score(strip(view), inputs)

    stripped = model.with_score(score, is_row_wise=model.is_row_wise)
    return replace(algorithm, model=stripped, adapt=None, without_own=None)
