"""Sums and stacks of clients' messages, and what clients keep: the scatters of a round."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array, Clients, Message, Part, PyTree, RowIds
from fedjax_rec.tree import is_part


def table_shaped(message: Message, num_rows: Mapping[str, int]) -> Message:
    """Shapes of the total of such messages: `[I_table, ...]` in place of `[S, ...]`."""

    def widen(table: str, leaves: PyTree) -> PyTree:
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((num_rows[table], *leaf.shape[1:]), leaf.dtype),
            leaves,
        )

    rows = {table: widen(table, leaves) for table, leaves in message.update.rows.items()}
    row_weight = {table: widen(table, leaf) for table, leaf in message.row_weight.items()}
    return message._replace(update=message.update._replace(rows=rows), row_weight=row_weight)


def add_messages(total: Message, messages: Message, row_ids: RowIds) -> Message:
    """The table-shaped total and a chunk of messages `[chunk, S, ...]`."""

    def add(leaf: Array, new: Array) -> Array:
        return leaf + jnp.sum(new, axis=0)

    def add_rows(table: str, leaves: PyTree, new: PyTree) -> PyTree:
        ids = row_ids.get(table)
        if ids is None:
            return jax.tree.map(add, leaves, new)
        return jax.tree.map(lambda leaf, new: leaf.at[ids].add(new, mode="drop"), leaves, new)

    def add_tables(tables: dict[str, PyTree], new: dict[str, PyTree]) -> dict[str, PyTree]:
        return {name: add_rows(name, leaves, new[name]) for name, leaves in tables.items()}

    return Message(
        Part(
            add_tables(total.update.rows, messages.update.rows),
            jax.tree.map(add, total.update.dense, messages.update.dense),
        ),
        add(total.weight, messages.weight),
        add_tables(total.row_weight, messages.row_weight),
        jax.tree.map(add, total.stats, messages.stats),
    )


def stack_messages(stack: Message, messages: Message, places: Array, row_ids: RowIds) -> Message:
    """The stack `[C, ...]` with a chunk's messages `[chunk, S, ...]` written at `places`."""
    update = _write(stack.update, messages.update, places, row_ids)
    weights, new = (Part(m.row_weight, (m.weight, m.stats)) for m in (stack, messages))
    row_weight, (weight, stats) = _write(weights, new, places, row_ids)
    return Message(update, weight, row_weight, stats)


def write_store(clients: Clients, kept: Clients, slots: Array, row_ids: RowIds) -> Clients:
    """The store with a chunk's state `[chunk, ...]` written at `slots`."""

    def write(part: Part, new: Part) -> Part:
        return _write(part, new, slots, row_ids)

    return Clients(*jax.tree.map(write, tuple(clients), tuple(kept), is_leaf=is_part))


def _write(part: Part, new: Part, slots: Array, row_ids: RowIds) -> Part:
    """Some clients' parts in their slots; slots and row ids past the end are padding."""

    def write_at(place: Array | tuple[Array, Array], leaves: PyTree, new: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf, new: leaf.at[place].set(new, mode="drop"), leaves, new)

    rows = {}
    for table, leaves in part.rows.items():
        ids = row_ids.get(table)
        place = slots if ids is None else (slots[:, None], ids)
        rows[table] = write_at(place, leaves, new.rows[table])
    return part._replace(rows=rows, dense=write_at(slots, part.dense, new.dense))
