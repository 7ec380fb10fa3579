"""Closed forms that clients solve."""

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array


def solve_positive_definite(matrix: Array, vector: Array) -> Array:
    """`matrix^-1 vector` of one positive definite matrix `[D, D]`, by Gauss and Jordan.

    Clients solve while other devices wait for their sum, and on a CPU a call of LAPACK may
    then wait for the thread that waits. Here is none. Such a matrix needs no pivoting.

    >>> matrix = jnp.array([[2.0, 1.0], [1.0, 3.0]])
    >>> solve_positive_definite(matrix, jnp.array([4.0, 7.0])).round(3).tolist()
    [1.0, 2.0]
    """

    def eliminate(place: Array, rows: Array) -> Array:
        pivot = rows[place] / rows[place, place]
        return (rows - jnp.outer(rows[:, place], pivot)).at[place].set(pivot)

    rows = jnp.concatenate([matrix, vector[:, None]], axis=1)
    solved: Array = jax.lax.fori_loop(0, vector.shape[0], eliminate, rows)
    return solved[:, -1]
