"""Changes of rows as a list, for tables much larger than what a cohort touches."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedjax_rec import tree
from fedjax_rec.base import Array, PyTree
from fedjax_rec.simulation.devices import joined_over_devices, most_of_devices

SEGMENT = 1024  # rows added to the table at a time


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


def new_buffer(table: PyTree, capacity: int, num_devices: int = 1) -> RowBuffer:
    """An empty buffer for rows of this table, on each device."""
    capacity = num_devices * (capacity + -capacity % SEGMENT)
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


def add_to_table(buffer: RowBuffer, table: PyTree, factor: Array, num_devices: int = 1) -> PyTree:
    """`table[ids] += factor * rows`, in place where the table is donated.

    With several devices each has a buffer and a copy of the table, and adds all buffers.
    """
    is_alone = num_devices == 1

    def segment(number: Array, table: PyTree) -> PyTree:
        def cut(leaf: Array) -> Array:
            return jax.lax.dynamic_slice_in_dim(leaf, number * SEGMENT, SEGMENT)

        def of_all(part: Array) -> Array:
            return part if is_alone else joined_over_devices(part)

        is_used = number * SEGMENT + jnp.arange(SEGMENT) < buffer.used
        ids = of_all(jnp.where(is_used, cut(buffer.ids), 0))

        def add(leaf: Array, rows: Array) -> Array:
            change = factor.astype(leaf.dtype) * cut(rows)
            is_real = is_used.reshape((-1,) + (1,) * (rows.ndim - 1))
            return tree.add_at(leaf, ids, of_all(jnp.where(is_real, change, 0)))

        return jax.tree.map(add, table, buffer.rows)

    num_segments = (buffer.used + SEGMENT - 1) // SEGMENT
    if not is_alone:
        num_segments = most_of_devices(num_segments)
    return jax.lax.fori_loop(0, num_segments, segment, table)
