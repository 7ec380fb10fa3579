"""Losses of sampled examples."""

import chex
import optax

from fedjax_rec.base import Array, Sampled


def binary_cross_entropy(scores: Array, examples: Sampled) -> tuple[Array, Array]:
    """Binary cross-entropy of scores taken as logits.

    `-y log sigmoid(s) - (1 - y) log(1 - sigmoid(s))` for each example.

    Args:
      scores: `[B]` logits.
      examples: labels in {0, 1} and which examples are real.

    Returns:
      `[B]` losses and `[B]` weights, 0 where an example is padding.

    Reference:
      He et al. (2017), "Neural collaborative filtering", equation 7.

    >>> import jax.numpy as jnp
    >>> from fedjax_rec.base import Inputs
    >>> examples = Sampled(Inputs(jnp.array([4])), jnp.array([1.0]), jnp.array([True]))
    >>> loss, weight = binary_cross_entropy(jnp.array([0.0]), examples)
    >>> f"{float(loss[0]):.4f} {float(weight[0])}"
    '0.6931 1.0'
    """
    chex.assert_equal_shape([scores, examples.label, examples.is_valid])
    loss = optax.sigmoid_binary_cross_entropy(scores, examples.label)
    return loss, examples.is_valid.astype(loss.dtype)
