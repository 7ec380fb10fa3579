"""Changes of rows as a list, for tables much larger than what a cohort touches."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array, PyTree

SEGMENT = 4096  # rows added to the table at a time


class RowBuffer(NamedTuple):
    """Rows to add to a table.

    Attributes:
      ids: `[R]` which row of the table.
      rows: leaves `[R, ...]`, what is added to it.
      used: `[]` how many of them are real; what lies behind is left from before.
    """

    ids: Array
    rows: PyTree
    used: Array


def new_buffer(table: PyTree, capacity: int) -> RowBuffer:
    """An empty buffer for rows of this table."""
    capacity += -capacity % SEGMENT
    rows = jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape[1:]), leaf.dtype), table)
    return RowBuffer(jnp.zeros(capacity, jnp.int32), rows, jnp.int32(0))


def push(buffer: RowBuffer, ids: Array, changes: PyTree) -> RowBuffer:
    """Appends rows `ids` with their changes, leaves `[..., ...]` of the shape of ids first."""

    def write(whole: Array, new: Array) -> Array:
        new = new.reshape((ids.size, *new.shape[ids.ndim :]))
        return jax.lax.dynamic_update_slice_in_dim(whole, new, buffer.used, 0)

    return RowBuffer(
        write(buffer.ids, ids),
        jax.tree.map(write, buffer.rows, changes),
        buffer.used + ids.size,
    )


def add_to_table(buffer: RowBuffer, table: PyTree, factor: Array) -> PyTree:
    """`table[ids] += factor * rows`, in place where the table is donated."""

    def segment(number: Array, table: PyTree) -> PyTree:
        def cut(leaf: Array) -> Array:
            return jax.lax.dynamic_slice_in_dim(leaf, number * SEGMENT, SEGMENT)

        is_real = number * SEGMENT + jnp.arange(SEGMENT) < buffer.used

        def add(leaf: Array, rows: Array) -> Array:
            ids = jnp.where(is_real, cut(buffer.ids), leaf.shape[0])
            return leaf.at[ids].add(factor.astype(leaf.dtype) * cut(rows), mode="drop")

        return jax.tree.map(add, table, buffer.rows)

    return jax.lax.fori_loop(0, (buffer.used + SEGMENT - 1) // SEGMENT, segment, table)
