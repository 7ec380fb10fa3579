"""Whether two methods differ: over people and over seeds together, corrected for many pairs.

All take per-client values `[S, N]`, a row a seed and a column a person, NaN where a person
holds no item out. NumPy alone.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.floating]

LEVEL = 0.05
"""The chance of telling rows apart that do not differ, over all pairs with the best."""


class Difference(NamedTuple):
    """How far one method is from another.

    Attributes:
      mean: of the difference, over the people whom both were asked about.
      standard_error: of that mean.
      p: two-sided, of no difference.
    """

    mean: float
    standard_error: float
    p: float


def error_over_people(values: Values) -> float:
    """The standard error of the mean over people, `sd_u(m_u) / sqrt(N)`, `m_u = mean_s v_su`.

    NaN with fewer than two people.

    >>> round(error_over_people(np.array([[0.0, 1.0], [0.0, 0.5]])), 4)
    0.375
    """
    people = _people(np.asarray(values, np.float64))
    if people.size < 2:
        return math.nan
    return float(people.std(ddof=1) / math.sqrt(people.size))


def difference(one: Values, other: Values) -> Difference | None:
    """The difference of two methods, paired over people, with the variance of the seeds.

    `z = mean_u d_u / sqrt(var_u(d_u) / N + sd_a^2 / S_a + sd_b^2 / S_b)` with
    `d_u = mean_s a_su - mean_s b_su`, `sd` the deviation of a method's means over its seeds
    (both with one degree of freedom less), and `p = 2 (1 - Phi(|z|))`. Where the seeds'
    terms are the larger ones, the normal law is too sure of few seeds: with two, and terms four
    times that of people, rows without a difference are told apart in 12 of 100 cases.

    Args:
      one: `[S_a, N]`.
      other: `[S_b, N]`, the same people in the same order.

    Returns:
      `None` where a method has one seed, which says nothing of the method, and where fewer than
      two people were asked by both.

    >>> a = np.array([[0.5, 0.25, 0.0], [0.75, 0.25, 0.0]])
    >>> found = difference(a, a - 0.125)
    >>> found.mean, round(found.standard_error, 4), round(found.p, 4)
    (0.125, 0.0589, 0.0339)
    """
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    asked = np.isfinite(a).all(axis=0) & np.isfinite(b).all(axis=0)
    if min(len(a), len(b)) < 2 or asked.sum() < 2:
        return None
    a, b = a[:, asked], b[:, asked]
    paired = a.mean(axis=0) - b.mean(axis=0)
    variance = paired.var(ddof=1) / paired.size
    for values in (a, b):
        variance += values.mean(axis=1).var(ddof=1) / len(values)
    mean, error = float(paired.mean()), math.sqrt(variance)
    if error == 0:
        return Difference(mean, error, 1.0 if mean == 0 else 0.0)
    return Difference(mean, error, math.erfc(abs(mean) / error / math.sqrt(2)))


def holm(p: Sequence[float]) -> list[float]:
    """Probabilities corrected for their number, in their order.

    `p~_(i) = max_{j <= i} min(1, (m - j + 1) p_(j))` of the `m` probabilities in rising order.

    Reference:
      Holm (1979), "A simple sequentially rejective multiple test procedure", Scandinavian
      Journal of Statistics 6(2).

    >>> [round(one, 3) for one in holm([0.04, 0.01, 0.03])]
    [0.06, 0.03, 0.06]
    """
    corrected = [0.0] * len(p)
    highest = 0.0
    for place, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        highest = max(highest, min(1.0, (len(p) - place) * p[index]))
        corrected[index] = highest
    return corrected


def _people(values: Values) -> npt.NDArray[np.float64]:
    """Each person's mean over seeds, of those who were asked."""
    means = values.mean(axis=0)
    return np.asarray(means[np.isfinite(means)], np.float64)
