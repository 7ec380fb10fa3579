"""Shared parameters become each client's own: leaves move between roles, by path."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from fedjax_rec.base import (
    Array,
    ClientOutput,
    FederatedAlgorithm,
    Inputs,
    Key,
    Model,
    Part,
    Private,
    PyTree,
    Task,
    View,
)
from fedjax_rec.clients import shapes_of_parameters

IsMoved = Callable[[Any], bool]


def matches(model: Model, paths: str) -> IsMoved:
    """Which leaves of the shared part some paths name.

    Args:
      model: whose shared part it is.
      paths: beginnings of paths, joined by commas; empty for none. A path joins the names of
        fields, keys and places by slashes: `dense`, `dense/output`, `rows/item`.

    Returns:
      Whether the path of a leaf, as jax gives it, lies under one of them.

    Raises:
      ValueError: one of them names no leaf, or all leaves are named.

    >>> from fedjax_rec.models import gmf
    >>> path = (jax.tree_util.GetAttrKey("dense"),)
    >>> matches(gmf(5), "dense")(path), matches(gmf(5), "rows/item")(path)
    (True, False)
    """
    wanted = [path.strip() for path in paths.split(",") if path.strip()]
    shared = jax.tree_util.tree_leaves_with_path(shapes_of_parameters(model)[0])
    known = [_name(path) for path, _ in shared]

    def lies_under(name: str, path: str) -> bool:
        return name == path or name.startswith(f"{path}/")

    for path in wanted:
        if not any(lies_under(name, path) for name in known):
            raise ValueError(f"no shared parameter lies under {path!r}; there are {known}")
    if wanted and all(any(lies_under(name, path) for path in wanted) for name in known):
        raise ValueError(f"paths {paths!r} leave nothing that is shared")
    return lambda path: any(lies_under(_name(path), one) for one in wanted)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def personalise(algorithm: FederatedAlgorithm, paths: str) -> FederatedAlgorithm:
    """The algorithm with some of its shared parameters private.

    Clients train as they did: model, objective and optimizer see the same parameters in the
    same places. Only the change of what is still shared is sent, and each client keeps its
    own copy of the rest, which it draws itself.

    Args:
      algorithm: whose server sends its table, whose clients send a change of it and neither
        of which remembers more.
      paths: which leaves of the shared part, see `matches`. Tables too may become private: the
        store then holds one for each client.

    Returns:
      The algorithm; without paths as it was.

    Raises:
      ValueError: a path names nothing, nothing is left to share, or the algorithm sends or
        remembers more than its model.

    >>> from fedjax_rec.algorithms.fedopt import fedopt
    >>> from fedjax_rec.algorithms.recommender import recommender
    >>> algorithm = personalise(fedopt(*recommender(100, model="gmf", dim=2)), "dense")
    >>> shared, private = shapes_of_parameters(algorithm.model)
    >>> shared.dense, [leaf.shape for leaf in private.dense]
    (None, [(2,), (2,)])
    """
    model, adapt = algorithm.model, algorithm.adapt
    is_moved = matches(model, paths)
    if not paths.strip():
        return algorithm
    shared = shapes_of_parameters(model)[0]
    sent, memory = jax.eval_shape(lambda: _sends(algorithm))
    is_same = str(jax.tree.structure(sent)) == str(jax.tree.structure(shared))
    if algorithm.broadcast or not is_same or memory:
        raise ValueError("personalise: the algorithm sends or remembers more than its model")

    def parted(whole: Part) -> tuple[Part, Part]:
        """What is shared, and what has moved; each with None in the other's places."""
        return tuple(  # type: ignore[return-value]
            _without_empty_tables(
                jax.tree_util.tree_map_with_path(
                    lambda path, leaf, side=side: leaf if is_moved(path) == side else None, whole
                )
            )
            for side in (False, True)
        )

    def inside(view: View) -> View:
        """What the algorithm's own functions see."""
        moved, private = _unpaired(view.private)
        return view._replace(shared=_joined(view.shared, moved), private=private)

    def init(key: Key) -> tuple[Part, Part]:
        whole, frozen = model.init(key)
        return parted(whole)[0], frozen

    def init_private(key: Key) -> Private:
        whole, _ = model.init(jax.random.fold_in(key, 1))
        return _paired(parted(whole)[1], model.init_private(key))

    def score(view: View, inputs: Inputs) -> Array:
        return model.score(inside(view), inputs)

    def run(key: Key, view: View, task: Task) -> ClientOutput:
        own = inside(view)
        output = algorithm.client_update.run(key, own, task)
        sent, change = parted(output.update)
        moved = jax.tree.map(jnp.add, parted(own.shared)[1], change)
        return output._replace(update=sent, private=_paired(moved, output.private))

    def adapt_inside(key: Key, view: View, task: Task) -> View:
        assert adapt is not None
        own = adapt(key, inside(view), task)
        sent, moved = parted(own.shared)
        return own._replace(shared=sent, private=_paired(moved, own.private))

    return replace(
        algorithm,
        model=replace(model, init=init, init_private=init_private, score=score, score_vjp=None),
        client_update=replace(algorithm.client_update, run=run, local=None),
        adapt=adapt and adapt_inside,
        without_own=None,
    )


def _sends(algorithm: FederatedAlgorithm) -> tuple[Part, list[PyTree]]:
    """The tree of an update, and what client and server remember besides."""
    key = jax.random.key(0)
    shared, _ = algorithm.model.init(key)
    memory = algorithm.init_memory(shared), algorithm.init_extra(key, shared)
    return algorithm.template(shared), jax.tree.leaves(memory)


def _without_empty_tables(part: Part) -> Part:
    return part._replace(rows={t: tree for t, tree in part.rows.items() if jax.tree.leaves(tree)})


def _joined(shared: Part, moved: Part) -> Part:
    """The way back of `parted`."""

    def either(one: PyTree, other: PyTree) -> PyTree:
        return jax.tree.map(
            lambda a, b: b if a is None else a, one, other, is_leaf=lambda leaf: leaf is None
        )

    rows = shared.rows | moved.rows
    for table in shared.rows.keys() & moved.rows.keys():
        rows[table] = either(shared.rows[table], moved.rows[table])
    return Part(rows, either(shared.dense, moved.dense))


def _paired(moved: Part, private: Private) -> Private:
    """What a client keeps: the parameters that moved, and those that always were private."""
    tables = moved.rows.keys() | private.rows.keys()
    rows = {t: (moved.rows.get(t), private.rows.get(t)) for t in sorted(tables)}
    return Private(rows, (moved.dense, private.dense))


def _unpaired(both: Private) -> tuple[Part, Private]:
    """The way back."""
    moved, private = (
        {table: pair[side] for table, pair in both.rows.items() if pair[side] is not None}
        for side in (0, 1)
    )
    return Part(moved, both.dense[0]), Private(private, both.dense[1])
