"""Beyond accuracy: what lists of recommendations show of a catalogue.

Lists are `[N, K]` item ids, best first; an id outside `0 .. I - 1` is a place left empty.
What is said of them stands in the registry `LIST_METRICS`, `(lists, consumption) -> number`,
under the name before the `@` of a metric key.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fedjax_rec.registry import LIST_METRICS

Lists = npt.NDArray[np.integer]


def coverage(lists: Lists, num_items: int) -> float:
    """Catalogue coverage@K: the share of the catalogue that is in anybody's list.

    `|union of L_u| / I`, in [0, 1].

    Args:
      lists: `[N, K]`.
      num_items: size of the catalogue (I), at least 1.

    Reference:
      Ge, Delgado-Battenfeld and Jannach (2010), "Beyond accuracy: evaluating recommender
      systems by coverage and serendipity", section 3.1.

    >>> coverage(np.array([[0, 1], [1, 4]]), num_items=4)
    0.5
    """
    return np.unique(_real(lists, num_items)).size / num_items


def gini_of_exposure(lists: Lists, num_items: int) -> float:
    """Gini index of how often each item of the catalogue is recommended, in [0, 1].

    0 where all come equally often. NaN where nothing is recommended.

    >>> gini_of_exposure(np.array([[0], [0]]), num_items=4)
    0.75
    """
    counts = np.sort(np.bincount(_real(lists, num_items), minlength=num_items))
    if not counts.sum():
        return math.nan
    weight = 2 * np.arange(1, num_items + 1) - num_items - 1
    return max(float(weight @ counts / (num_items * counts.sum())), 0.0)


class Consumption(NamedTuple):
    """What clients have in training.

    Attributes:
      share: `[I]` phi_i, the share of clients that have item i.
      mean: GAP, the mean over clients of the mean phi_i of their items; NaN without any.
    """

    share: npt.NDArray[np.float64]
    mean: float


def consumption(
    users: npt.NDArray[np.integer],
    items: npt.NDArray[np.integer],
    num_clients: int,
    num_items: int,
) -> Consumption:
    """How popular items are, and what clients consume.

    An item that recurs in a history counts once; who has no history is left out of the mean.

    Args:
      users, items: `[E]` training events.
      num_clients: N.
      num_items: size of the catalogue (I).

    >>> consumption(np.array([0, 1, 1]), np.array([0, 0, 1]), num_clients=2, num_items=2)
    Consumption(share=array([1. , 0.5]), mean=0.875)
    """
    pairs = np.sort(users.astype(np.int64) * num_items + items)
    users, items = np.divmod(pairs[np.diff(pairs, prepend=-1) > 0], num_items)
    share = np.bincount(items, minlength=num_items) / max(num_clients, 1)
    totals = np.bincount(users, share[items], num_clients)
    return Consumption(share, _mean_of_means(totals, np.bincount(users, minlength=num_clients)))


class PopularityBias(NamedTuple):
    """How popular what is recommended is.

    Attributes:
      recommended: average recommendation popularity (ARP): the mean over clients of the
        mean share of clients that have an item of their list, in [0, 1].
      lift: `ARP / GAP - 1`: 0 where lists are as popular as histories.
    """

    recommended: float
    lift: float


def popularity_bias(lists: Lists, consumed: Consumption) -> PopularityBias:
    """Popularity of recommended items@K beside that of consumed ones.

    `ARP = 1/N sum_u 1/|L_u| sum_{i in L_u} phi_i`; `phi_i` is the share of clients that have
    item i in training. `lift = (ARP - GAP) / GAP`, where GAP is the same mean over histories.
    Who has no list is left out.

    Args:
      lists: `[N, K]`.
      consumed: of `consumption`.

    Reference:
      ARP: Yin et al. (2012), "Challenging the long tail recommendation", section 5.2. Lift:
      Abdollahpouri et al. (2019), "The unfairness of popularity bias in recommendation",
      section 4 (their change of group average popularity, all clients one group).

    >>> consumed = consumption(np.array([0, 1, 1]), np.array([0, 0, 1]), 2, 2)
    >>> bias = popularity_bias(np.array([[0], [0]]), consumed)
    >>> bias.recommended, round(bias.lift, 3)
    (1.0, 0.143)
    """
    is_real = _is_real(lists, consumed.share.size)
    phi = np.where(is_real, consumed.share[np.where(is_real, lists, 0)], 0)
    recommended = _mean_of_means(phi.sum(axis=1), is_real.sum(axis=1))
    is_known = consumed.mean > 0
    return PopularityBias(recommended, recommended / consumed.mean - 1 if is_known else math.nan)


def list_metrics(lists: Lists, consumed: Consumption, at_k: Iterable[int]) -> dict[str, float]:
    """What is said of everybody's lists at some cut-offs, by key.

    On the host, `O(N K + I log I)` a cut-off.

    Args:
      lists: `[N, L]`, best first, with L at least the largest cut-off, or all that there is.
      consumed: of `consumption`.
      at_k: cut-offs K.

    >>> consumed = consumption(np.array([0, 1, 1]), np.array([0, 0, 1]), 2, 2)
    >>> {k: round(v, 3) for k, v in list_metrics(np.array([[0, 1], [0, 1]]), consumed, [1]).items()}
    {'coverage@1': 0.5, 'exposure_gini@1': 0.5, 'popularity@1': 1.0, 'popularity_lift@1': 0.143}
    """
    return {
        f"{name}@{k}": float(metric(lists[:, :k], consumed))
        for k in at_k
        for name, metric in LIST_METRICS.items()
    }


LIST_METRICS.register("coverage", lambda shown, consumed: coverage(shown, consumed.share.size))
LIST_METRICS.register(
    "exposure_gini", lambda shown, consumed: gini_of_exposure(shown, consumed.share.size)
)
LIST_METRICS.register(
    "popularity", lambda shown, consumed: popularity_bias(shown, consumed).recommended
)
LIST_METRICS.register(
    "popularity_lift", lambda shown, consumed: popularity_bias(shown, consumed).lift
)


def _mean_of_means(totals: npt.NDArray[Any], counts: npt.NDArray[np.integer]) -> float:
    is_some = counts > 0
    return float((totals[is_some] / counts[is_some]).mean()) if is_some.any() else math.nan


def _is_real(lists: Lists, num_items: int) -> npt.NDArray[np.bool_]:
    is_real: npt.NDArray[np.bool_] = (lists >= 0) & (lists < num_items)
    return is_real


def _real(lists: Lists, num_items: int) -> npt.NDArray[np.integer]:
    lists = np.asarray(lists)
    real: npt.NDArray[np.integer] = lists[_is_real(lists, num_items)]
    return real
