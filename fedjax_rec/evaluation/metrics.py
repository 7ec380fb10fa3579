"""Top-K metrics from the ranks of the relevant items.

Every metric is `metric(ranks, num_relevant, k) -> [..]`:

* `ranks`: `[.., R]` 1-based ranks `r_1 .. r_R` of one client's relevant items; padding
  and items that were not ranked hold `UNRANKED`.
* `num_relevant`: `[..]` how many relevant items there are, at most `R`.
* `k`: the cut-off, at least 1; a static integer.

They stand in the registry `METRICS` under the name before the `@` of a metric key. The
result lies in [0, 1], and is 0 where a client has no relevant item.

References: Manning, Raghavan and Schütze, "Introduction to Information Retrieval",
Cambridge University Press 2008, chapter 8; Järvelin and Kekäläinen, "Cumulated
gain-based evaluation of IR techniques", ACM TOIS 20(4), 2002.
"""

from collections.abc import Callable, Iterable

import jax.numpy as jnp

from fedjax_rec.base import Array
from fedjax_rec.errors import UserError
from fedjax_rec.registry import METRICS

UNRANKED = 2**31 - 1
"""Rank of padding, and of an item that the model gave no finite score."""

Metric = Callable[[Array, Array, int], Array]


def hit_rate(ranks: Array, num_relevant: Array, k: int) -> Array:
    """`HR@K = 1 if any r_i <= K else 0`, also called success at K.

    >>> hit_rate(jnp.array([7, 3]), jnp.array(2), 5).item()
    1.0
    """
    return _hits(ranks, k).max(axis=-1)


def ndcg(ranks: Array, num_relevant: Array, k: int) -> Array:
    """`NDCG@K = DCG / IDCG`, `DCG = sum_{r_i <= K} 1 / log2(r_i + 1)`: binary gains.

    `IDCG` is the `DCG` of the best ranking, which has `min(K, R)` hits. (Järvelin and
    Kekäläinen discount from the second rank on; this is the form now in common use.)

    >>> ndcg(jnp.array([3]), jnp.array(1), 5).item()
    0.5
    """
    dcg = (_hits(ranks, k) / jnp.log2(ranks + 1.0)).sum(axis=-1)
    positions = jnp.arange(1, k + 1)
    is_filled = positions <= jnp.expand_dims(num_relevant, -1)
    ideal = (is_filled / jnp.log2(positions + 1.0)).sum(axis=-1)
    return _ratio(dcg, ideal)


def mrr(ranks: Array, num_relevant: Array, k: int) -> Array:
    """`RR@K = 1 / min_i r_i` if that is within K, else 0; averaged over clients, MRR.

    >>> mrr(jnp.array([7, 4]), jnp.array(2), 5).item()
    0.25
    """
    return (_hits(ranks, k) / ranks).max(axis=-1)


def average_precision(ranks: Array, num_relevant: Array, k: int) -> Array:
    """`AP@K = 1 / min(K, R) sum_{r_i <= K} P@r_i`; averaged over clients, MAP.

    Convention: normalised by `min(K, R)`, the most hits possible, so that a perfect
    ranking has 1. (The `map_cut` of trec_eval divides by `R` and cannot reach 1 when
    `R > K`.)

    >>> average_precision(jnp.array([4, 1]), jnp.array(2), 5).item()
    0.75
    """
    by_rank = jnp.sort(ranks, axis=-1)
    precisions = jnp.arange(1, ranks.shape[-1] + 1) / by_rank
    return _ratio((_hits(by_rank, k) * precisions).sum(axis=-1), jnp.minimum(num_relevant, k))


def precision(ranks: Array, num_relevant: Array, k: int) -> Array:
    """`P@K = |{i: r_i <= K}| / K`, whatever the number of relevant items or candidates.

    >>> precision(jnp.array([1, 2, 9]), jnp.array(3), 4).item()
    0.5
    """
    return _hits(ranks, k).sum(axis=-1) / k


def recall(ranks: Array, num_relevant: Array, k: int) -> Array:
    """`R@K = |{i: r_i <= K}| / R`.

    >>> recall(jnp.array([1, 2, 9, 10]), jnp.array(4), 5).item()
    0.5
    """
    return _ratio(_hits(ranks, k).sum(axis=-1), num_relevant)


def auc(ranks: Array, num_relevant: Array, num_candidates: Array) -> Array:
    """Area under the ROC curve: the share of pairs in which the relevant item is ahead.

    `AUC = 1 - sum_t (r_t - |{t' : r_t' <= r_t}|) / (R (C - R))` over the R relevant of C
    candidates. Equal scores count as the ranks have settled them: under pessimistic ties for
    nothing, not a half. A relevant item that is not ranked is behind all others.

    Args:
      ranks: `[.., R]`, `UNRANKED` for padding and for what is not ranked.
      num_relevant: `[..]` how many relevant items there are.
      num_candidates: `[..]` what they are ranked among, themselves included.

    Returns:
      `[..]` in [0, 1]; NaN where there is no pair.

    Reference:
      Fawcett (2006), "An introduction to ROC analysis", section 7; the mean over users is
      that of Rendle et al. (2009), "BPR", section 6.2.

    >>> auc(jnp.array([1, 4]), jnp.array(2), jnp.array(6)).item()
    0.75
    """
    by_rank = jnp.sort(ranks, axis=-1)
    num_others = jnp.expand_dims(num_candidates - num_relevant, -1)
    place = jnp.arange(1, ranks.shape[-1] + 1)
    is_real = place <= jnp.expand_dims(num_relevant, -1)
    ahead = jnp.clip(by_rank - place, 0, jnp.maximum(num_others, 0))
    beaten = jnp.where(is_real, num_others - ahead, 0).astype(jnp.float32).sum(axis=-1)
    num_pairs = num_relevant * num_others[..., 0].astype(jnp.float32)
    return jnp.where(num_pairs > 0, beaten / num_pairs, jnp.nan)


METRICS.register("hit_rate", hit_rate)
METRICS.register("ndcg", ndcg)
METRICS.register("mrr", mrr)
METRICS.register("map", average_precision)
METRICS.register("precision", precision)
METRICS.register("recall", recall)


SMALLER_IS_BETTER = frozenset({"rmse", "mae", "log_loss"})
"""Metrics of predicted values that are errors; all others are better when larger."""


def is_better(key: str, value: float, other: float) -> bool:
    """Whether a value of the metric is better than another.

    Args:
      key: of the metric, with its split or without.
      value, other: NaN is better than nothing.

    >>> is_better("valid/ndcg@10", 0.4, 0.3), is_better("valid/rmse", 0.4, 0.3)
    (True, False)
    """
    return value < other if key.rpartition("/")[2] in SMALLER_IS_BETTER else value > other


SPREAD = ("ndcg", "auc")
"""Metrics whose spread over clients is told; of each the larger is the better."""


def client_keys(at_k: Iterable[int]) -> tuple[str, ...]:
    """The keys of what is measured of each client: every metric at every cut-off, and AUC.

    Raises:
      UserError: when a cut-off is not a positive integer.

    >>> client_keys([5])
    ('hit_rate@5', 'ndcg@5', 'mrr@5', 'map@5', 'precision@5', 'recall@5', 'auc')
    """
    return (*(f"{name}@{_checked(k)}" for k in at_k for name in METRICS), "auc")


def worst_keys(keys: Iterable[str]) -> dict[str, str]:
    """The keys of means over the worst decile of clients, and of what they are means.

    >>> worst_keys(client_keys([5]))
    {'worst_decile_ndcg@5': 'ndcg@5', 'worst_decile_auc': 'auc'}
    """
    return {f"worst_decile_{key}": key for key in keys if key.partition("@")[0] in SPREAD}


def metric_keys(at_k: Iterable[int]) -> tuple[str, ...]:
    """The keys of what is measured of all clients together.

    Raises:
      UserError: when a cut-off is not a positive integer.

    >>> metric_keys([5])[-3:]
    ('auc', 'worst_decile_ndcg@5', 'worst_decile_auc')
    """
    keys = client_keys(at_k)
    return (*keys, *worst_keys(keys))


def at_cutoffs(ranks: Array, num_relevant: Array, at_k: Iterable[int]) -> dict[str, Array]:
    """Every metric at every cut-off, by key.

    >>> at_cutoffs(jnp.array([2]), jnp.array(1), [1])["hit_rate@1"].item()
    0.0
    """
    return {
        f"{n}@{k}": metric(ranks, num_relevant, k) for k in at_k for n, metric in METRICS.items()
    }


def _hits(ranks: Array, k: int) -> Array:
    return (ranks <= k).astype(jnp.float32)


def _ratio(total: Array, count: Array) -> Array:
    return jnp.where(count > 0, total / jnp.where(count > 0, count, 1), 0.0)


def _checked(k: int) -> int:
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise UserError(f"evaluation cut-off {k!r} is not a positive integer; use for example 10")
    return k
