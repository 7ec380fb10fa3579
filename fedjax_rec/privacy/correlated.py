"""How much one client changes what correlated noise hides."""

import math
from collections.abc import Sequence

import numpy as np


def squared_sensitivity(
    strategy: Sequence[float], rounds: int, participations: int, min_separation: int
) -> float:
    """The most that one client's messages of norm 1 change `C x`, squared.

    `max over rounds i_1 < ... < i_k, b apart, of |sum_j C[:, i_j] x_j|^2`, |x_j| <= 1, for
    the lower triangular Toeplitz matrix C of a run. Where its first column c is not negative
    and never rises, the worst case is the earliest rounds at the least distance:
    `|sum_{j < k} shift(c, j b)|^2`. Else columns that cannot overlap are added in squares,
    and any others in norms.

    Args:
      strategy: c; rounds behind its end have coefficient 0.
      rounds: of the run, n.
      participations: the most rounds in which one client takes part, k.
      min_separation: it comes again after at least so many rounds, b.

    Returns:
      The square; infinite for a strategy that is empty, starts with 0 or is not finite.

    Reference:
      Kalinin and Lampert (2024), "Banded square root matrix factorization for differentially
      private model training", arXiv 2405.13763, theorem 2; Choquette-Choo et al. (2023),
      "(Amplified) banded matrix factorization: a unified approach to private training".

    >>> squared_sensitivity((1.0, 0.5), rounds=4, participations=2, min_separation=2)
    2.5
    >>> squared_sensitivity((1.0, 0.5), rounds=4, participations=4, min_separation=1)
    7.75
    """
    column = np.trim_zeros(np.asarray(strategy, np.float64)[:rounds], "b")
    if column.size == 0 or not np.all(np.isfinite(column)) or column[0] == 0:
        return math.inf
    times = min(participations, -(-rounds // min_separation))
    if np.any(column < 0) or np.any(np.diff(column) > 0):
        can_overlap = column.size > min_separation
        return float(column @ column) * (times**2 if can_overlap else times)
    summed = np.zeros(rounds)
    for start in range(0, times * min_separation, min_separation):
        fitting = min(column.size, rounds - start)
        summed[start : start + fitting] += column[:fitting]
    return float(summed @ summed)
