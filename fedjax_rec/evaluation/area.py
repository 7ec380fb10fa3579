"""How well scores tell two groups apart: the area under the ROC curve."""

import numpy as np
import numpy.typing as npt


def area_under_curve(scores: npt.ArrayLike, is_positive: npt.ArrayLike) -> float:
    """The probability that a positive scores above a negative; ties count half.

    `AUC = (sum of the positives' ranks - P (P + 1) / 2) / (P N)`, tied scores sharing the mean
    of their ranks. 1/2 is chance.

    Args:
      scores: `[n]`, higher is more likely positive; finite.
      is_positive: `[n]` truth.

    Returns:
      The area, from 0 to 1; NaN where one of the groups is empty.

    Reference:
      Hanley and McNeil (1982), "The meaning and use of the area under a receiver operating
      characteristic (ROC) curve", section III: the Wilcoxon statistic.

    >>> area_under_curve([3.0, 1.0, 2.0, 1.0], [True, False, True, True])
    0.8333333333333334
    """
    values, truth = checked_groups(scores, is_positive)
    num_positive, num_negative = int(truth.sum()), int((~truth).sum())
    if not num_positive or not num_negative:
        return float("nan")
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(count) - (count - 1) / 2
    above = ranks[place][truth].sum() - num_positive * (num_positive + 1) / 2
    return float(above / (num_positive * num_negative))


def checked_groups(
    scores: npt.ArrayLike, is_positive: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Both as arrays of one length.

    Raises:
      ValueError: they are not, or a score is not finite.
    """
    values, truth = np.asarray(scores, np.float64), np.asarray(is_positive, bool)
    if values.ndim != 1 or values.shape != truth.shape:
        raise ValueError(f"scores {values.shape} and truth {truth.shape} must be [n] both")
    if not np.isfinite(values).all():
        raise ValueError("a score is not finite")
    return values, truth
