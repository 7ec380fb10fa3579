"""Signs on the first singular vector: positives apart from sampled negatives, in closed form."""

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array, PyTree

NUM_ITERATIONS = 64


def svd_sign(rows: PyTree) -> Array:
    """Which of the items in one client's upload it likes, and which it drew as negatives.

    In matrix factorisation the change of item i is `-eta (sigmoid(s_i) - y_i) p_u` to first
    order: all rows lie along the user's vector, positives (y = 1) one way and negatives the
    other. So `score_i = delta V_i . v`, v the first right singular vector of the rows. v is
    known up to its sign. Clients draw several negatives for each positive, so the positives
    are taken to be the side with fewer rows; that rule asks nothing of the truth.

    Args:
      rows: what the server sees: one client's change of one table, leaves `[S, ...]`. Rows of
        zeros take no side.

    Returns:
      `[S]` scores, higher for likelier positives.

    v comes by power iteration on the `[D, D]` Gram matrix, from its column of largest norm.

    Reference: this package's own, in the line of Chai et al. (2020), "Secure federated matrix
      factorization", section 4, who solve for ratings from two plain gradients.

    >>> user = jnp.array([0.6, -0.8])
    >>> (svd_sign(jnp.outer(jnp.array([0.5, -0.5, -0.4, -0.5]), user)) > 0).tolist()
    [True, False, False, False]
    """
    leaves = jax.tree.leaves(rows)
    flat = jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)
    scores = flat @ _first_singular_vector(flat)
    num_above, num_below = jnp.sum(scores > 0), jnp.sum(scores < 0)
    return jnp.where(num_above > num_below, -scores, scores)


def _first_singular_vector(matrix: Array) -> Array:
    """`[D]` of `[S, D]`, up to its sign; zeros for a matrix of zeros."""
    gram = matrix.T @ matrix
    start = gram[:, jnp.argmax(jnp.diagonal(gram))]

    def step(_: Array, vector: Array) -> Array:
        return _normalised(gram @ vector)

    vector: Array = jax.lax.fori_loop(0, NUM_ITERATIONS, step, _normalised(start))
    return vector


def _normalised(vector: Array) -> Array:
    scale = jnp.max(jnp.abs(vector))  # first, so that no square is too small for a float
    vector = vector / jnp.where(scale > 0, scale, 1.0)
    return vector / jnp.maximum(jnp.sqrt(jnp.sum(jnp.square(vector))), jnp.finfo(vector.dtype).tiny)
