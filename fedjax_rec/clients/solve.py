"""Closed forms that clients solve."""

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array

BLOCK = 16  # columns eliminated together: few passes over the matrices of many clients


def solve_positive_definite(matrix: Array, right: Array) -> Array:
    """`matrix^-1 right` of one positive definite matrix `[D, D]`, by Gauss and Jordan.

    The right side is a vector `[D]` or the columns of a matrix `[D, K]`.

    Clients solve while other devices wait for their sum, and on a CPU a call of LAPACK may
    then wait for the thread that waits. Here is none. Such a matrix needs no pivoting.

    >>> matrix = jnp.array([[2.0, 1.0], [1.0, 3.0]])
    >>> solve_positive_definite(matrix, jnp.array([4.0, 7.0])).round(3).tolist()
    [1.0, 2.0]
    """
    size = matrix.shape[0]
    rows = jnp.concatenate([matrix, right.reshape(size, -1)], axis=1)
    for start in range(0, size, BLOCK):
        own = slice(start, min(start + BLOCK, size))
        left, rows = jnp.split(rows, [own.stop - start], axis=1)
        pivot = _solve_block(left[own], rows[own])
        rows = (rows - left @ pivot).at[own].set(pivot)
    return rows.reshape(right.shape)


def _solve_block(matrix: Array, right: Array) -> Array:
    """The same for a few columns, one after the other."""
    size = matrix.shape[0]

    def eliminate(place: Array, rows: Array) -> Array:
        pivot = rows[place] / rows[place, place]
        return (rows - jnp.outer(rows[:, place], pivot)).at[place].set(pivot)

    rows = jnp.concatenate([matrix, right], axis=1)
    solved: Array = jax.lax.fori_loop(0, size, eliminate, rows)
    return solved[:, size:]
