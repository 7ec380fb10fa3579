"""Shared parameters become each client's own copy, from one start."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from fedjax_rec.base import (
    Array,
    ClientOutput,
    FederatedAlgorithm,
    Inputs,
    ItemSide,
    Key,
    Model,
    Part,
    Private,
    PyTree,
    Task,
    View,
    empty,
)
from fedjax_rec.tree import joined, leaves_read

IsOwn = Callable[[Any], bool]
"""Of a leaf's path in the shared part, as jax gives it."""


def own_copies(
    algorithm: FederatedAlgorithm, is_own: IsOwn, *, encodes_alone: bool = False
) -> FederatedAlgorithm:
    """The algorithm with some of its shared parameters private.

    Clients train as they did: model, objective and optimizer see the same parameters in the
    same places. Only the change of what is still shared is sent; of the rest client k keeps
    `start + distance_k`. The start is drawn once for all and frozen; the distance is private
    and 0 at first.

    Args:
      algorithm: whose server sends its table and whose clients send a change of it.
      is_own: which leaves of the shared part move, by path. Of a table that moves the store
        holds one for each client.
      encodes_alone: where items are encoded by what becomes private, each client encodes the
        catalogue for itself in every evaluation; by default that is refused.

    Returns:
      The algorithm.

    Raises:
      ValueError: a parameter that encodes items would be private.

    >>> from fedjax_rec.algorithms import fedmf
    >>> model = own_copies(fedmf(100, dim=2), lambda path: True).model
    >>> shared, start = model.init(jax.random.key(0))
    >>> shared, start.rows["item"][0].shape
    (Part(rows={}, dense=()), (100, 2))
    """
    model, adapt = algorithm.model, algorithm.adapt

    def parted(whole: Part) -> tuple[Part, Part]:
        """What is shared, and what is own; each with None in the other's places."""
        return tuple(  # type: ignore[return-value]
            _without_empty(
                jax.tree_util.tree_map_with_path(
                    lambda path, leaf, side=side: leaf if is_own(path) == side else None, whole
                )
            )
            for side in (False, True)
        )

    def inside(view: View) -> View:
        """What the algorithm's own functions see."""
        (start, frozen), (distance, private) = _unpaired(view.frozen), _unpaired(view.private)
        shared = _joined(view.shared, jax.tree.map(jnp.add, start, distance))
        return view._replace(shared=shared, private=Private(*private), frozen=frozen)

    def kept(view: View, own: Part, private: Private) -> Private:
        """What the client keeps of its own copy."""
        start, _ = _unpaired(view.frozen)
        return Private(*_paired(jax.tree.map(jnp.subtract, own, start), private))

    def init(key: Key) -> tuple[Part, Part]:
        whole, frozen = model.init(key)
        sent, start = parted(whole)
        return sent, _paired(start, frozen)

    def init_private(key: Key) -> Private:
        _, start = parted(jax.eval_shape(model.init, key)[0])
        distance = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), start)
        return Private(*_paired(distance, model.init_private(key)))

    def score(view: View, inputs: Inputs) -> Array:
        return model.score(inside(view), inputs)

    def run(key: Key, view: View, task: Task) -> ClientOutput:
        before = inside(view)
        output = algorithm.client_update.run(key, before, task)
        sent, change = parted(output.update)
        own = jax.tree.map(jnp.add, parted(before.shared)[1], change)
        return output._replace(update=sent, private=kept(view, own, output.private))

    def adapt_inside(key: Key, view: View, task: Task) -> View:
        assert adapt is not None
        after = adapt(key, inside(view), task)
        shared, own = parted(after.shared)
        private = kept(view, own, after.private)
        return after._replace(shared=shared, private=private, frozen=view.frozen)

    weights = model.weights and model.weights.placed(partial(_paired, empty()))
    side = None if _encodes_by_own(model, is_own, encodes_alone) else _side(model, inside)
    return replace(
        algorithm,
        model=model.with_score(
            score,
            init=init,
            init_private=init_private,
            weights=weights,
            item_side=side,
            is_row_wise=model.is_row_wise,
        ),
        client_update=replace(algorithm.client_update, run=run, local=None),
        adapt=adapt and adapt_inside,
        sent=None,
        without_own=None,
    )


def _side(model: Model, inside: Callable[[View], View]) -> ItemSide | None:
    """The item side of what is still shared: it does not read what a client has of its own."""
    side = model.item_side
    if side is None:
        return None

    def encode(sent: Part, frozen: Part, extra: Part) -> PyTree:
        start, rest = _unpaired(frozen)
        return side.encode(_joined(sent, start), rest, extra)

    def score(view: View, inputs: Inputs, encoded: PyTree) -> Array:
        return side.score(inside(view), inputs, encoded)

    return ItemSide(encode, score)


def _encodes_by_own(model: Model, is_own: IsOwn, is_wanted: bool) -> bool:
    """Whether the item side reads a parameter that becomes private.

    Raises:
      ValueError: it does, and that is not wanted.
    """
    if model.item_side is None:
        return False
    shared, drawn = jax.eval_shape(model.init, jax.random.key(0))
    weights = model.weights.like() if model.weights else empty()
    parts = shared, joined(drawn, weights), empty()
    is_read = leaves_read(model.item_side.encode, *parts)
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(parts[0])]
    own = [path for path, reads in zip(paths, is_read, strict=False) if reads and is_own(path)]
    if own and not is_wanted:
        name = jax.tree_util.keystr(own[0], simple=True, separator="/")
        raise ValueError(
            f"{name} would be private, and it encodes items: every client would encode the whole "
            "catalogue for itself in each evaluation; name what lies behind the encoding, or set "
            "encodes_alone"
        )
    return bool(own)


def _without_empty(part: Part) -> Part:
    rows = {table: own for table, own in part.rows.items() if jax.tree.leaves(own)}
    return Part(rows, part.dense if jax.tree.leaves(part.dense) else ())


def _joined(shared: Part, own: Part) -> Part:
    """The way back of `parted`."""

    def either(one: PyTree, other: PyTree) -> PyTree:
        if not jax.tree.leaves(one):
            return other
        if not jax.tree.leaves(other):
            return one
        return jax.tree.map(
            lambda a, b: b if a is None else a, one, other, is_leaf=lambda leaf: leaf is None
        )

    tables = sorted(shared.rows.keys() | own.rows.keys())
    rows = {table: either(shared.rows.get(table), own.rows.get(table)) for table in tables}
    return Part(rows, either(shared.dense, own.dense))


def _paired(own: Part, rest: Part) -> Part:
    """Two parts as one: tables and dense leaves in pairs, None where there is no such table."""
    tables = sorted(own.rows.keys() | rest.rows.keys())
    rows = {table: (own.rows.get(table), rest.rows.get(table)) for table in tables}
    return Part(rows, (own.dense, rest.dense))


def _unpaired(both: Part) -> tuple[Part, Part]:
    """The way back."""
    own, rest = (
        Part({t: pair[side] for t, pair in both.rows.items() if pair[side] is not None}, dense)
        for side, dense in enumerate(both.dense)
    )
    return own, rest
