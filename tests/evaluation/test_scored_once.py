"""A score equals itself: it is computed once, and not rounded anew for each of its readers."""

import jax
import numpy as np

from fedjax_rec import EvaluationPlan, simulate
from fedjax_rec.data import load
from fedjax_rec.experiment.assembly import find_factory


def test_an_item_is_not_ahead_of_itself():
    """A network whose last layer XLA would compute in each pass over its scores."""
    algorithm = find_factory("fedavg")(
        22, model="ncf", dim=4, num_negatives=2, dense_learning_rate=0.3
    )
    data = load("synthetic", num_users=9, num_items=22, mean_events=5, seed=2)
    result = simulate(
        algorithm,
        data,
        key=jax.random.key(3),
        rounds=3,
        evaluation=EvaluationPlan(every=1, at_k=(3,)),
        notice=lambda line: None,
    )
    for line in result.metrics:
        gains = [value for key, value in line.items() if "ndcg" in key]
        assert gains
        assert np.all(np.array(gains) <= 1)
