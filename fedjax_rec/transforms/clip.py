"""Clipping of a client's whole update."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from fedjax_rec.base import AggregateTransform, Array, Key, Message, PyTree, is_concrete


def clip_by_norm(clip_norm: float) -> AggregateTransform:
    """Scales an update down to an L2 norm of at most `clip_norm`.

    `delta <- delta * min(1, clip_norm / |delta|_2)`, over all rows and dense leaves.

    Args:
      clip_norm: the bound S, positive and finite.

    Returns:
      A transform whose bound is `min(bound, clip_norm)`; updates leave it as float32.

    Raises:
      ValueError: `clip_norm` is not positive and finite.

    Formal guarantee: one client changes the sum of updates by at most `clip_norm` in L2
    when it joins or leaves. The engine has replaced a non-finite update by zero before.

    Reference:
      McMahan et al. (2018), "Learning differentially private recurrent language models",
      section 3, flat clipping.

    >>> from fedjax_rec.base import Part
    >>> message = Message(Part({}, jnp.array([3.0, 4.0])), jnp.float32(1), {}, {})
    >>> clipped, _ = clip_by_norm(1.0).encode(None, message, (), (), 0.0)
    >>> [round(float(x), 4) for x in clipped.update.dense]
    [0.6, 0.8]
    """
    if is_concrete(clip_norm) and not 0 < clip_norm < float("inf"):
        raise ValueError(f"clip_norm must be positive and finite, got {clip_norm}")

    def encode(
        key: Key, message: Message, state: PyTree, residual: PyTree, bound: Array
    ) -> tuple[Message, PyTree]:
        return message._replace(update=clipped(message.update, clip_norm)[0]), residual

    def bound_after(bound: Any, state: PyTree) -> Any:
        is_known = state is None and is_concrete(clip_norm)
        return min(bound, clip_norm) if is_known else jnp.minimum(bound, clip_norm)

    return AggregateTransform(encode=encode, bound=bound_after, scaling="by_norm")


def clipped(update: PyTree, clip_norm: Any) -> tuple[PyTree, Array]:
    """An update scaled down to a norm of at most `clip_norm`, and the norm that it had.

    Both are float32 or better, whatever the update's type: a norm rounded to 8 bits would
    break the bound. What has no finite norm becomes zero.

    Raises:
      TypeError: a leaf holds whole numbers, which no factor scales.
    """
    leaves = jax.tree.leaves(update)
    if any(not jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
        raise TypeError("an update of whole numbers cannot be clipped: send floats")
    update = jax.tree.map(
        lambda leaf: leaf.astype(jnp.promote_types(leaf.dtype, "float32")), update
    )
    norm = optax.tree.norm(update)
    scale = jnp.minimum(1.0, clip_norm / jnp.maximum(norm, jnp.finfo(norm.dtype).tiny))
    is_finite = jnp.isfinite(norm)
    return jax.tree.map(lambda leaf: jnp.where(is_finite, leaf * scale, 0), update), norm
