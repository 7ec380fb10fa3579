"""Bayesian personalised ranking: a positive is to be scored above its negatives."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array, Sampled


def bpr(num_negatives: int = 4) -> Callable[[Array, Sampled], tuple[Array, Array]]:
    """Bayesian personalised ranking (BPR), for `sampled` with `is_pointwise=False`.

    `-log sigmoid(s_pos - s_neg)` for each negative and the positive of its group. The loss
    stands at the negatives; positives have weight 0. It reads the scores of a whole group, so
    `sampled` has to be told that it is not pointwise.

    Args:
      num_negatives: negatives to each positive (k), at least 1: that of the `Sampler`, whose
        `batch_size` has to be a multiple of 1 + k, so that no group is torn.

    Returns:
      `(scores, examples) -> (loss, weight)`, all `[B]`. Weights depend on labels and
      validity alone. It raises `ValueError` where B is not a multiple of 1 + k.

    Raises:
      ValueError: `num_negatives` is below 1.

    Reference:
      Rendle et al. (2009), "BPR: Bayesian personalized ranking from implicit feedback",
      section 4.1. Differences: several negatives to a positive; no penalty on the size of
      parameters; the mean over a batch's pairs in place of one pair a step.

    >>> from fedjax_rec.base import Inputs
    >>> is_valid = jnp.array([True, True, True])
    >>> examples = Sampled(Inputs(jnp.arange(3)), jnp.array([1.0, 0.0, 0.0]), is_valid)
    >>> loss, weight = bpr(num_negatives=2)(jnp.array([2.0, 2.0, -7.0]), examples)
    >>> [f"{float(value):.4f}" for value in loss], weight.tolist()
    (['0.0000', '0.6931', '0.0001'], [0.0, 1.0, 1.0])
    """
    if num_negatives < 1:
        raise ValueError(f"num_negatives must be at least 1, got {num_negatives}")
    group = 1 + num_negatives

    def loss(scores: Array, examples: Sampled) -> tuple[Array, Array]:
        if scores.shape[0] % group:
            multiple = max(scores.shape[0] // group, 1) * group
            raise ValueError(
                f"bpr needs a batch_size that is a multiple of 1 + num_negatives = {group}, "
                f"got {scores.shape[0]}; use {multiple}"
            )
        is_negative = examples.is_valid & (examples.label == 0)
        groups = scores.reshape(-1, group)
        losses = jax.nn.softplus(groups - groups[:, :1]).reshape(-1)
        return jnp.where(is_negative, losses, 0), is_negative.astype(losses.dtype)

    return loss
