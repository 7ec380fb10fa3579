"""Rows of parts, the view a client gets, and pytree arithmetic that `optax.tree` lacks."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.interpreters.partial_eval import dce_jaxpr

from fedjax_rec.base import (
    Array,
    Entry,
    FederatedAlgorithm,
    Part,
    Private,
    PyTree,
    RowIds,
    ServerState,
    View,
)

PartT = TypeVar("PartT", bound=Part)


def take(part: PartT, row_ids: RowIds) -> PartT:
    """The part cut to some rows of each table; dense leaves are unchanged.

    Args:
      part: leaves of `rows[table]` are `[I_table, ...]`.
      row_ids: table -> `[S]` ids, or `None` (or no entry) for the whole table. Padding
        ids past the end read zero.

    Returns:
      The same kind of part, leaves of `rows[table]` `[S, ...]`.

    >>> import jax.numpy as jnp
    >>> table = Part({"item": jnp.array([10.0, 11.0, 12.0])}, ())
    >>> take(table, {"item": jnp.array([2, 0, 3])}).rows["item"].tolist()
    [12.0, 10.0, 0.0]
    """

    def rows_of(table: str, tree: PyTree) -> PyTree:
        ids = row_ids.get(table)
        if ids is None:
            return tree
        return jax.tree.map(lambda leaf: leaf.at[ids].get(mode="fill", fill_value=0), tree)

    return part._replace(rows={name: rows_of(name, tree) for name, tree in part.rows.items()})


def named_leaves(tree: PyTree) -> dict[str, Any]:
    """Path -> leaf: `{"shared/dense/w": ...}`; keys, fields and places alike.

    >>> named_leaves(Part({"item": 1}, (2, {"w": 3})))
    {'rows/item': 1, 'dense/0': 2, 'dense/1/w': 3}
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def with_named(tree: PyTree, named: Mapping[str, Any]) -> PyTree:
    """The tree with other leaves at some of its paths.

    >>> with_named(Part({"item": 1}, {"w": 3}), {"dense/w": 4, "dense/of another": 5})
    Part(rows={'item': 1}, dense={'w': 4})
    """
    values, structure = named_leaves(tree), jax.tree.structure(tree)
    return jax.tree.unflatten(structure, [named.get(name, leaf) for name, leaf in values.items()])


def put(part: PartT, row_ids: RowIds, new: Part) -> PartT:
    """The part with some rows of each table replaced, and dense leaves: the way back of `take`.

    >>> import jax.numpy as jnp
    >>> table = Part({"item": jnp.array([10.0, 11.0, 12.0])}, ())
    >>> new = Part({"item": jnp.array([22.0, 20.0, 99.0])}, ())
    >>> put(table, {"item": jnp.array([2, 0, 3])}, new).rows["item"].tolist()
    [20.0, 11.0, 22.0]
    """

    def rows_of(table: str, tree: PyTree) -> PyTree:
        ids = row_ids.get(table)
        if ids is None:
            return new.rows[table]
        return jax.tree.map(
            lambda leaf, rows: leaf.at[ids].set(rows, mode="drop"), tree, new.rows[table]
        )

    rows = {name: rows_of(name, tree) for name, tree in part.rows.items()}
    return part._replace(rows=rows, dense=new.dense)


def take_view(view: View, row_ids: RowIds) -> View:
    """Every part of a view cut to some rows."""
    shared, private, frozen, memory, extra = view
    return View(
        take(shared, row_ids),
        take(private, row_ids),
        take(frozen, row_ids),
        take(memory, row_ids),
        take(extra, row_ids),
    )


def client_view(
    algorithm: FederatedAlgorithm,
    state: ServerState,
    frozen: Part,
    entry: Entry,
    private: Private,
    memory: Private,
    row_ids: RowIds,
) -> View:
    """What this client gets to see: every part, cut to its rows.

    Args:
      private: this client's, with whole tables, as the store holds it.
      memory: likewise.
      row_ids: the rows; `{}` for whole tables.
    """
    if algorithm.broadcast is None:
        return take_view(View(state.shared, private, frozen, memory, state.extra), row_ids)
    shared, extra = algorithm.broadcast(state, entry, row_ids)
    return View(shared, take(private, row_ids), take(frozen, row_ids), take(memory, row_ids), extra)


def joined(one: PyTree, other: PyTree) -> PyTree:
    """Two trees that have leaves in different places, as one; `()` and `None` stand for nothing.

    Raises:
      ValueError: both have something in one place.

    >>> joined(Part({}, {"a": 1}), Part({"item": 2}, {"b": {"c": 3}}))
    Part(rows={'item': 2}, dense={'a': 1, 'b': {'c': 3}})
    """
    for left, right in ((one, other), (other, one)):
        if left is None or (isinstance(left, tuple) and len(left) == 0):
            return right
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: joined(one.get(key), other.get(key)) for key in {**one, **other}}
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        both = [joined(*pair) for pair in zip(one, other, strict=True)]
        return type(one)(*both) if hasattr(one, "_fields") else tuple(both)
    raise ValueError("two parts hold a parameter in the same place")


def rows_at(leaf: Array, ids: Array) -> Array:
    """`leaf[ids]` for ids in range: nothing is checked, and none counts from the end."""
    return leaf.at[ids].get(mode="promise_in_bounds", wrap_negative_indices=False)


def add_at(leaf: Array, ids: Array, rows: Array) -> Array:
    """`leaf[ids] += rows` likewise; a row that comes several times gets the sum."""
    return leaf.at[ids].add(rows, mode="promise_in_bounds", wrap_negative_indices=False)


def leaves_read(fun: Callable[..., PyTree], *args: PyTree) -> list[bool]:
    """Which leaves of the arguments a function reads, from shapes alone: nothing is computed.

    >>> import jax.numpy as jnp
    >>> leaves_read(lambda pair: jnp.sin(pair[1]), (jnp.zeros(2), jnp.zeros(3)))
    [False, True]
    """
    traced = jax.make_jaxpr(fun)(*args).jaxpr
    _, is_read = dce_jaxpr(traced, [True] * len(traced.outvars))
    return list(is_read)


def is_part(node: object) -> bool:
    """For `is_leaf`: stops at parts."""
    return isinstance(node, Part)


def subtract(left: PyTree, right: PyTree) -> PyTree:
    """`left - right`, leaf by leaf."""
    return jax.tree.map(jnp.subtract, left, right)


def zeros_like(tree: PyTree) -> PyTree:
    """Zeros of the same shapes; accepts `jax.ShapeDtypeStruct` leaves."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), tree)


def mask(is_kept: Array, tree: PyTree) -> PyTree:
    """The tree where `is_kept`, else zeros (also in place of NaN)."""
    return jax.tree.map(lambda leaf: jnp.where(is_kept, leaf, jnp.zeros_like(leaf)), tree)


def is_finite(tree: PyTree) -> Array:
    """Whether every number of every floating leaf is finite."""
    checks = [
        jnp.all(jnp.isfinite(leaf))
        for leaf in jax.tree.leaves(tree)
        if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
    ]
    return jnp.all(jnp.array(checks)) if checks else jnp.array(True)


def touched(tree: PyTree) -> Array:
    """`[S]` which rows of a table's change are not all zero.

    >>> import jax.numpy as jnp
    >>> touched({"a": jnp.array([[0.0, 1.0], [0.0, 0.0]])}).tolist()
    [True, False]
    """
    flags = [
        jnp.any(leaf.reshape(leaf.shape[0], -1) != 0, axis=1) for leaf in jax.tree.leaves(tree)
    ]
    return jnp.any(jnp.stack(flags), axis=0)
