"""How alike clients are, by what they sent."""

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array


def cosines(vectors: Array) -> Array:
    """`[C, C]` cosines between the rows of `[C, P]`; 0 beside a row of zeros.

    >>> cosines(jnp.array([[3.0, 4.0], [4.0, 3.0], [0.0, 0.0]]))[0].tolist()
    [1.0, 0.9599999785423279, 0.0]
    """
    norm = jnp.sqrt(jnp.sum(vectors**2, axis=1))
    # all may be close to 1: fewer bits than float32 has would not tell neighbours apart
    product = jnp.matmul(vectors, vectors.T, precision=jax.lax.Precision.HIGHEST)
    return product / jnp.maximum(norm * norm[:, None], jnp.finfo(norm.dtype).tiny)
