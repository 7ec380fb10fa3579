"""Rows of a table that a batch scores, and the way back of their gradients."""

import jax.numpy as jnp

from fedjax_rec.base import Array


def gather(table: Array, ids: Array | None) -> Array:
    """`[B, ...]` rows `ids` of the table; all of them, in order, for `None`."""
    return table if ids is None else table[ids]


def scatter(gradients: Array, table: Array, ids: Array | None) -> Array:
    """The transpose of `gather`: the table's gradient from the gradients of gathered rows.

    A row that is scored several times gets the sum.

    >>> table = jnp.zeros((3, 1))
    >>> scatter(jnp.ones((2, 1)), table, jnp.array([2, 2])).tolist()
    [[0.0], [0.0], [2.0]]
    """
    return gradients if ids is None else jnp.zeros_like(table).at[ids].add(gradients)
