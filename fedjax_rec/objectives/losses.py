"""Losses of single examples."""

from typing import Protocol

import chex
import jax
import jax.numpy as jnp

from fedjax_rec.base import Array, Sampled


class Labelled(Protocol):
    """Examples with a label each, such as `Sampled`."""

    @property
    def label(self) -> Array:
        """`[B]` what the score should be."""
        ...

    @property
    def is_valid(self) -> Array:
        """`[B]` False for padding."""
        ...


def binary_cross_entropy(scores: Array, examples: Labelled) -> tuple[Array, Array]:
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
    # one logarithm where the formula has two
    loss = jax.nn.softplus((1 - 2 * examples.label) * scores)
    return loss, examples.is_valid.astype(loss.dtype)


def saturating_cross_entropy(scores: Array, examples: Sampled) -> tuple[Array, Array]:
    """Binary cross-entropy of probabilities, as frameworks compute it that lack the logits.

    `-y max(log p, -100) - (1 - y) max(log(1 - p), -100)`, p = sigmoid(s). Its slope by s is
    `(p - y) q / max(q, 1e-12)`, q = p (1 - p), which vanishes where p is rounded to 0 or 1:
    an example that is badly wrong has no gradient. Published code with very large learning
    rates relies on that.

    Args:
      scores: `[B]` logits.
      examples: labels in {0, 1} and which examples are real.

    Returns:
      `[B]` losses and `[B]` weights, 0 where an example is padding.

    Reference:
      The bounds are those of PyTorch's `BCELoss`, as its documentation and behaviour show.

    >>> from fedjax_rec.base import Inputs
    >>> examples = Sampled(Inputs(jnp.array([4])), jnp.array([0.0]), jnp.array([True]))
    >>> slope = jax.grad(lambda s: saturating_cross_entropy(s, examples)[0].sum())
    >>> [f"{float(slope(jnp.array([s]))[0]):.3f}" for s in (1.0, 20.0)]
    ['0.731', '0.000']
    """
    chex.assert_equal_shape([scores, examples.label, examples.is_valid])
    loss = _saturating(scores, examples.label)
    return loss, examples.is_valid.astype(loss.dtype)


@jax.custom_jvp
def _saturating(scores: Array, label: Array) -> Array:
    p = jax.nn.sigmoid(scores)
    return -label * jnp.maximum(jnp.log(p), -100) - (1 - label) * jnp.maximum(jnp.log1p(-p), -100)


@_saturating.defjvp
def _saturating_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    scores, label = primals
    p = jax.nn.sigmoid(scores)
    q = p * (1 - p)
    slope = (p - label) * q / jnp.maximum(q, 1e-12)
    return _saturating(scores, label), slope * tangents[0]


def squared_error(scores: Array, examples: Labelled) -> tuple[Array, Array]:
    """Squared error of scores taken as predictions of the labels.

    `(y - s)^2` for each example: the rating of an explicit event, or 1 for a training item
    and 0 for a sampled negative.

    Args:
      scores: `[B]` predictions.
      examples: labels and which examples are real.

    Returns:
      `[B]` losses and `[B]` weights, 0 where an example is padding.

    Reference:
      Koren, Bell and Volinsky (2009), "Matrix factorization techniques for recommender
      systems", equation 2. Difference: no penalty on the size of parameters.

    >>> from fedjax_rec.base import Inputs
    >>> is_valid = jnp.array([True, False])
    >>> examples = Sampled(Inputs(jnp.array([4, 0])), jnp.array([3.0, 0.0]), is_valid)
    >>> loss, weight = squared_error(jnp.array([1.0, 1.0]), examples)
    >>> loss.tolist(), weight.tolist()
    ([4.0, 1.0], [1.0, 0.0])
    """
    chex.assert_equal_shape([scores, examples.label, examples.is_valid])
    loss = jnp.square(examples.label - scores)
    return loss, examples.is_valid.astype(loss.dtype)
