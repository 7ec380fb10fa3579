"""How a metric is spread over clients: pure functions of per-client values.

All take `values [N]`, such as `Evaluation.per_client["ndcg@10"]`; clients without a held-out
item hold NaN and are left out. Without any client left the answer is NaN.
"""

import math

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.floating]

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Shares of clients that have at most `p10`, ..., `p90`."""


def spread(values: Values) -> dict[str, float]:
    """Mean, standard deviation, Gini index, the worst decile's mean, and quantiles, by name.

    >>> {name: round(value, 3) for name, value in spread(np.array([0.0, 0.5, 1.0])).items()}
    {'mean': 0.5, 'std': 0.408, 'gini': 0.444, 'worst_decile': 0.0, \
'p10': 0.1, 'p25': 0.25, 'p50': 0.5, 'p75': 0.75, 'p90': 0.9}
    """
    known = _known(values)
    quantiles = np.quantile(known, QUANTILES) if known.size else [math.nan] * len(QUANTILES)
    return {
        "mean": mean(known),
        "std": float(known.std()) if known.size else math.nan,
        "gini": gini(known),
        "worst_decile": worst_mean(known),
    } | {f"p{100 * q:.0f}": float(v) for q, v in zip(QUANTILES, quantiles, strict=True)}


def mean(values: Values) -> float:
    """The mean.

    >>> mean(np.array([0.5, np.nan, 0.25]))
    0.375
    """
    known = _known(values)
    return float(known.mean()) if known.size else math.nan


def gini(values: Values) -> float:
    """Gini index, `sum_ij |v_i - v_j| / (2 n^2 mean)`: 0 where all are equal, below 1.

    Args:
      values: `[N]`, at least 0; all zero counts as equal.

    Raises:
      ValueError: a value is negative.

    Reference:
      Gini (1912); the sorted form is that of Dorfman (1979), "A formula for the Gini
      coefficient".

    >>> gini(np.array([0.0, 0.0, 0.0, 1.0])), gini(np.array([0.3, 0.3]))
    (0.75, 0.0)
    """
    known = np.sort(_known(values))
    if known.size and known[0] < 0:
        raise ValueError(f"gini needs values of at least 0, got {known[0]}")
    if not known.size:
        return math.nan
    total = known.sum()
    if total == 0:
        return 0.0
    weight = 2 * np.arange(1, known.size + 1) - known.size - 1
    return max(float(weight @ known / (known.size * total)), 0.0)


def worst_mean(values: Values, share: float = 0.1) -> float:
    """The mean over the share of clients that are served worst, at least one client.

    Args:
      values: `[N]`.
      share: above 0, at most 1; `ceil(share N)` clients.

    Raises:
      ValueError: `share` is out of range.

    Reference:
      The worst-off devices of Li et al. (2020), "Fair resource allocation in federated
      learning", section 4.

    >>> worst_mean(np.arange(20.0)), worst_mean(np.array([0.2, np.nan]))
    (0.5, 0.2)
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share}")
    known = np.sort(_known(values))
    if not known.size:
        return math.nan
    # 0.1 * 30 is 3 and a little in floating point
    count = max(math.ceil(round(share * known.size, 9)), 1)
    return float(known[:count].mean())


def _known(values: Values) -> npt.NDArray[np.float64]:
    found = np.asarray(values, np.float64)
    known: npt.NDArray[np.float64] = found[~np.isnan(found)]
    return known
