"""One point of the ROC curve: attacks are judged where they hardly ever err."""

import numpy as np
import numpy.typing as npt

from fedjax_rec.evaluation.area import area_under_curve, checked_groups

__all__ = ["area_under_curve", "tpr_at_fpr"]


def tpr_at_fpr(scores: npt.ArrayLike, is_positive: npt.ArrayLike, fpr: float) -> float:
    """The largest share of positives above a threshold that at most `fpr` of negatives pass.

    Tied scores pass together, so nothing is won by their order.

    Args:
      scores: `[n]`, higher is more likely positive; finite.
      is_positive: `[n]` truth.
      fpr: false positive rate, from 0 to 1.

    Returns:
      The true positive rate; NaN where one of the groups is empty.

    Reference:
      Carlini et al. (2022), "Membership inference attacks from first principles", section III:
      attacks are judged where they hardly ever err.

    >>> tpr_at_fpr([4.0, 3.0, 2.0, 1.0], [True, False, False, True], fpr=0.01)
    0.5
    """
    values, truth = checked_groups(scores, is_positive)
    if not 0 <= fpr <= 1:
        raise ValueError(f"fpr must be from 0 to 1, got {fpr}")
    if not truth.any() or truth.all():
        return float("nan")
    thresholds = np.append(np.unique(values), np.inf)
    positives, negatives = np.sort(values[truth]), np.sort(values[~truth])
    false = 1 - np.searchsorted(negatives, thresholds) / len(negatives)
    true = 1 - np.searchsorted(positives, thresholds) / len(positives)
    return float(true[false <= fpr].max())
