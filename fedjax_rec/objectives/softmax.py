"""The softmax over a large catalogue without all of its scores at once."""

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array


def chunked_cross_entropy(
    queries: Array, keys: Array, label: Array, items_at_once: int = 8192
) -> Array:
    """`-log softmax(q_t K^T)[x_t]`, a stretch of the catalogue after another.

    `log sum_i exp(q k_i) = m + log sum_i exp(q k_i - m)`, with the largest score m so far and
    the sum so far carried from stretch to stretch. The scores of a stretch are made again for
    the gradient, so that memory is `W x items_at_once` and never `W x I`.

    Args:
      queries: `[W, D]`.
      keys: `[I, D]` of the whole catalogue.
      label: `[W]` the item that is asked for.
      items_at_once: of a stretch, at least 1.

    Returns:
      `[W]` losses in float32, equal to those of the whole scores but for rounding.

    Reference:
      Milakov and Gimelshein (2018), "Online normalizer calculation for softmax", algorithm 3;
      Chen et al. (2016), "Training deep nets with sublinear memory cost", for making again
      what the gradient needs.

    >>> queries, keys = jnp.eye(2), jnp.array([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    >>> losses = chunked_cross_entropy(queries, keys, jnp.array([0, 2]), items_at_once=2)
    >>> [round(float(loss), 3) for loss in losses]
    [2.17, 0.349]
    """
    num_items, dim = keys.shape
    size = min(items_at_once, num_items)
    num_stretches = -(-num_items // size)
    padded = jnp.pad(keys, ((0, num_stretches * size - num_items), (0, 0)))
    is_real = (jnp.arange(num_stretches * size) < num_items).reshape(num_stretches, size)

    @jax.checkpoint
    def add(
        carry: tuple[Array, Array], stretch: tuple[Array, Array]
    ) -> tuple[tuple[Array, Array], None]:
        (largest, total), (some, is_item) = carry, stretch
        scores = jnp.where(is_item, (queries @ some.T).astype(jnp.float32), -jnp.inf)
        now = jnp.maximum(largest, jax.lax.stop_gradient(scores.max(axis=1)))
        total = total * jnp.exp(largest - now) + jnp.exp(scores - now[:, None]).sum(axis=1)
        return (now, total), None

    start = jnp.full(queries.shape[0], -jnp.inf), jnp.zeros(queries.shape[0])
    stretches = padded.reshape(num_stretches, size, dim), is_real
    (largest, total), _ = jax.lax.scan(add, start, stretches)
    asked = jnp.einsum("wd,wd->w", queries, keys[label]).astype(jnp.float32)
    loss: Array = largest + jnp.log(total) - asked
    return loss
