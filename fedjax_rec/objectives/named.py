"""Objectives of implicit feedback, which configurations choose by the name of their loss."""

from typing import Literal

from fedjax_rec.base import Objective, Sampler
from fedjax_rec.objectives.bpr import bpr
from fedjax_rec.objectives.implicit import sampled
from fedjax_rec.objectives.losses import binary_cross_entropy

LossName = Literal["bce", "bpr"]


def implicit(sampler: Sampler, loss: LossName = "bce") -> Objective:
    """Training items with sampled negatives, by the name of the loss.

    Args:
      sampler: how examples are drawn; for `bpr` its `batch_size` is a multiple of
        `1 + num_negatives`.
      loss: `bce`, each example's binary cross-entropy, or `bpr`, each positive above its
        negatives.

    Returns:
      `objectives.sampled` with that loss.

    Raises:
      ValueError: an unknown loss, or a batch that tears groups.

    Reference:
      `bce`: He et al. (2017), "Neural collaborative filtering", equation 7. `bpr`: Rendle et
      al. (2009), "BPR: Bayesian personalized ranking from implicit feedback", section 4.1.

    >>> implicit(Sampler(90, num_negatives=2, batch_size=6), "bpr").is_pointwise
    False
    """
    if loss == "bce":
        return sampled(sampler, binary_cross_entropy)
    if loss == "bpr":
        return sampled(sampler, bpr(sampler.num_negatives), is_pointwise=False)
    raise ValueError(f"loss must be bce or bpr, got {loss!r}")
