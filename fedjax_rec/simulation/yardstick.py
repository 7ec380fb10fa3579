"""Popularity's figures on the terms of a run: what any method has to beat."""

from collections.abc import Mapping
from dataclasses import replace
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from fedjax_rec.base import Clients, Fixed, Part, ServerState, nothing_private
from fedjax_rec.baselines import popularity
from fedjax_rec.data import FederatedData
from fedjax_rec.simulation.devices import Placement
from fedjax_rec.simulation.plans import EarlyStop, EvaluationPlan
from fedjax_rec.simulation.programs import Shared
from fedjax_rec.simulation.scoring import Scorer

_found: WeakKeyDictionary[FederatedData, dict[EvaluationPlan, dict[str, float]]] = (
    WeakKeyDictionary()
)
"""A data set is asked once on the same terms, however many runs there are."""


def popularity_metrics(data: FederatedData, plan: EvaluationPlan) -> dict[str, float]:
    """The metrics of Popularity by key, `test/ndcg@10`; nothing is trained.

    Args:
      data: training histories, which are counted, and held-out items.
      plan: the terms; a ranking.

    >>> from fedjax_rec.data import load
    >>> data = load("synthetic", num_users=30, num_items=40, mean_events=8)
    >>> 0 <= popularity_metrics(data, EvaluationPlan())["test/ndcg@10"] <= 1
    True
    """
    known, plan = _found.setdefault(data, {}), replace(plan, every=1)
    if plan not in known:
        shared = Part({"item": jnp.asarray(item_counts(data))}, ())
        state = ServerState(jax.random.key(0), jnp.int32(0), shared, (), (), Part({}, ()))
        clients = Clients(nothing_private(), nothing_private(), nothing_private())
        programs = Shared(popularity(data.clients.num_items))
        one = Placement(1, data.num_clients)
        scorer = Scorer(programs, data, plan, lambda line: None, one)
        known[plan] = scorer(state, clients, Fixed(Part({}, ()), data.clients))[0]
    return known[plan]


def patience_floor(
    data: FederatedData, plan: EvaluationPlan, stop: EarlyStop | None
) -> float | None:
    """Popularity's value of the watched metric, which must be beaten before patience counts.

    It follows from the data and the terms alone, so a run that goes on finds the same.

    Args:
      data: as of `popularity_metrics`.
      plan: of the run; the people who are asked while it trains are asked here.
      stop: of the run.

    Returns:
      `None` where patience waits for nothing.
    """
    is_asked = stop is not None and stop.patience and stop.waits_for == "popularity"
    if stop is None or not is_asked or plan.task != "ranking":
        return None
    people = plan.training_clients or plan.clients
    metrics = popularity_metrics(data, replace(plan, clients=people, training_clients=0))
    return metrics.get(stop.metric)


def item_counts(data: FederatedData) -> npt.NDArray[np.float32]:
    """`[I]` how many of the clients that train have each item."""
    train, num_items = data.split.train, data.clients.num_items
    is_counted = np.isin(train.users, data.training_clients)
    pairs = np.unique(
        train.users[is_counted].astype(np.int64) * num_items + train.items[is_counted]
    )
    return np.bincount(pairs % num_items, minlength=num_items).astype(np.float32)


def headline_key(metrics: Mapping[str, float], other: Mapping[str, float]) -> str | None:
    """The test metric that two results are held against: NDCG at 10, or at what is nearest.

    >>> headline_key({"test/ndcg@5": 0.1, "test/ndcg@20": 0.2}, {"test/ndcg@5": 0.3})
    'test/ndcg@5'
    """
    shared = [key for key in metrics if key.startswith("test/ndcg@") and key in other]
    return min(shared, key=lambda key: abs(int(key.partition("@")[2]) - 10), default=None)


def below_popularity(metrics: Mapping[str, float], popular: Mapping[str, float]) -> str:
    """A line that says so where a result is below Popularity; empty where it is not.

    >>> below_popularity({"test/ndcg@10": 0.01}, {"test/ndcg@10": 0.02})
    'warning: below Popularity: test/ndcg@10 0.0100, and Popularity has 0.0200'
    """
    key = headline_key(metrics, popular)
    if key is None or metrics[key] >= popular[key]:
        return ""
    values = f"{metrics[key]:.4f}, and Popularity has {popular[key]:.4f}"
    return f"warning: below Popularity: {key} {values}"
