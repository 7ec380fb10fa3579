"""What clients score: each one's view as it stands, after what it does before it is asked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

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
    ItemSide,
    LengthClass,
    PyTree,
    RowIds,
    ServerState,
    Task,
    View,
)
from fedjax_rec.evaluation.later import Later, followed_by

Scores = Callable[[LengthClass, Array, Array], Array]
EachScores = Callable[[LengthClass, Array, Array, Sequence[Later | None]], list[Array]]


def scores_of(
    algorithm: FederatedAlgorithm, state: ServerState, clients: Clients, fixed: Fixed
) -> Scores:
    """`(length, client_ids, slots) -> [C, I]`: scores of the whole catalogue that is ranked.

    A model that reads a history reads a client's training events, see `each_scores_of`.
    """
    each_scores = each_scores_of(algorithm, state, clients, fixed)

    def scores(length: LengthClass, client_ids: Array, slots: Array) -> Array:
        return each_scores(length, client_ids, slots, [None])[0]

    return scores


def encodes_once(algorithm: FederatedAlgorithm) -> ItemSide | None:
    """The item side that all clients have in common when they are evaluated, if there is one.

    There is none where the model declares none; where clients adapt first, for their parameters
    then are their own; or where the server sends each client something else.
    """
    if algorithm.adapt is not None or algorithm.broadcast is not None:
        return None
    return algorithm.model.item_side


def each_scores_of(
    algorithm: FederatedAlgorithm,
    state: ServerState,
    clients: Clients,
    fixed: Fixed,
    encoded: PyTree | None = None,
) -> EachScores:
    """`(length, client_ids, slots, laters) -> [C, I]` scores on each of several histories.

    An entry of `laters` is what a client's history goes on with behind its training events,
    `[C, V]`, or `None`.

    Where the algorithm adapts, a client does so as it would in the round to come: on the
    same examples, in the same order. It does so once and on its training events alone, whatever
    history it is then scored on.

    Args:
      algorithm: supplies model, broadcast and adaption.
      state: the server's, as it stands.
      clients: the store.
      fixed: frozen parameters and data; the training events of those asked for fit `length`.
      encoded: what the item side that all have in common gives (`encodes_once`); by default it
        is computed here, once for everything that is then scored.
    """
    side = encodes_once(algorithm)
    if side is not None and encoded is None:
        encoded = side.encode(state.shared, fixed.frozen, state.extra)
    scoring = _Scoring(algorithm, state, clients, fixed, side, encoded)

    def each_scores(
        length: LengthClass, client_ids: Array, slots: Array, laters: Sequence[Later | None]
    ) -> list[Array]:
        entries = Entry(client_ids, slots, jnp.ones(slots.shape, bool))
        ask = scoring.as_they_stand if algorithm.adapt is None else scoring.once_adapted
        return ask(length, entries, list(laters))

    return each_scores


@dataclass(frozen=True)
class _Scoring:
    """What clients score with: the arguments of `each_scores_of`."""

    algorithm: FederatedAlgorithm
    state: ServerState
    clients: Clients
    fixed: Fixed
    side: ItemSide | None
    encoded: PyTree

    def as_they_stand(
        self, length: LengthClass, entries: Entry, laters: list[Later | None]
    ) -> list[Array]:
        """`[C, I]` scores on each history."""

        def one(entry: Entry, laters: list[Later | None]) -> list[Array]:
            return self._scores(length, entry, self._view(entry), laters)

        scores: list[Array] = jax.vmap(one)(entries, laters)
        return scores

    def once_adapted(
        self, length: LengthClass, entries: Entry, laters: list[Later | None]
    ) -> list[Array]:
        """Likewise, after what a client does before it is asked."""
        algorithm = self.algorithm
        adapt = algorithm.adapt
        assert adapt is not None

        def prepare(entry: Entry) -> tuple[RowIds, PyTree, Array]:
            history = self.fixed.data.history(entry.client_id, length)
            row_ids, plan = algorithm.objective.prepare(self._key(entry, base.PREPARE), history)
            num_steps = algorithm.objective.num_steps(plan)
            return row_ids, plan, jnp.asarray(num_steps, jnp.int32)

        row_ids, plans, num_steps = jax.vmap(prepare)(entries)
        max_steps = jnp.max(num_steps)

        def one(
            entry: Entry,
            laters: list[Later | None],
            row_ids: RowIds,
            plan: PyTree,
            num_steps: Array,
        ) -> list[Array]:
            view = self._view(entry)
            task = Task(entry, self.state.round, plan, num_steps, max_steps)
            near = adapt(self._key(entry, base.TRAIN), tree.take_view(view, row_ids), task)
            shared = tree.put(view.shared, row_ids, near.shared)
            private = tree.put(view.private, row_ids, near.private)
            view = view._replace(shared=shared, private=private)
            return self._scores(length, entry, view, laters)

        scores: list[Array] = jax.vmap(one)(entries, laters, row_ids, plans, num_steps)
        return scores

    def _key(self, entry: Entry, purpose: int) -> base.Key:
        return base.derive_key(self.state.key, self.state.round, entry.client_id, purpose)

    def _view(self, entry: Entry) -> View:
        store = (self.clients.private, self.clients.memory)
        private, memory = jax.tree.map(lambda leaf: leaf[entry.slot], store)
        return tree.client_view(
            self.algorithm, self.state, self.fixed.frozen, entry, private, memory, {}
        )

    def _scores(
        self, length: LengthClass, entry: Entry, view: View, laters: list[Later | None]
    ) -> list[Array]:
        """`[I]` one client's scores on each of its histories."""
        model, data = self.algorithm.model, self.fixed.data
        history = data.history(entry.client_id, length) if model.needs_history else None
        found = []
        for later in laters:
            read = history
            if history is not None and later is not None:
                read = followed_by(history, later, data.num_items)
            inputs = Inputs(None, read, "item")
            if self.side is None:
                scores = model.score(view, inputs)
            else:
                scores = self.side.score(view, inputs, self.encoded)
            if scores.shape != (data.num_items,):
                raise ValueError(f"scores {scores.shape} are not one number for each item")
            found.append(scores[: data.num_ranked])
        return found


def without_own(algorithm: FederatedAlgorithm) -> FederatedAlgorithm:
    """The algorithm as a client would use it that has no item parameters of its own."""
    model, strip = algorithm.model, algorithm.without_own
    assert strip is not None

    def score(view: View, inputs: Inputs) -> Array:
        return model.score(strip(view), inputs)

    stripped = model.with_score(score, is_row_wise=model.is_row_wise)
    return replace(algorithm, model=stripped, adapt=None, without_own=None)
