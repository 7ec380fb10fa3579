"""What a run is evaluated on: of which model, and among which items."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.algorithms.ditto import ditto
from fedjax_rec.baselines import popularity
from fedjax_rec.data import load
from fedjax_rec.recommenders import recommender
from fedjax_rec.simulation import EvaluationPlan, Execution, simulate

DATA = load("synthetic", num_users=12, num_items=40, mean_events=9, seed=2)


def run(algorithm, rounds=1):
    return simulate(
        algorithm,
        DATA,
        key=jax.random.key(0),
        rounds=rounds,
        evaluation=EvaluationPlan(every=rounds, at_k=(5,)),
        execution=Execution(),
        notice=lambda line: None,
    )


def test_global_metrics_are_those_of_the_common_model():
    """Own models that stand still rank as the first model; the common one has learned."""
    algorithm = ditto(*recommender(DATA.num_items, is_sliced=False), strength=0.0)
    metrics = run(algorithm, rounds=3).summary["metrics"]
    for split in ("valid", "test"):
        assert metrics[f"{split}_global/auc"] != metrics[f"{split}/auc"]


def test_validation_items_are_no_candidates_at_test():
    """Scores that put a client's validation item first move no rank at test."""
    valid = DATA.split.valid.items[:, 0]
    assert (valid < DATA.num_items).all()

    items = np.unique(valid)

    def score(view, inputs):
        scores = jnp.zeros(DATA.num_items).at[items].set(1.0)
        return scores if inputs.ids is None else scores[inputs.ids]

    plain = popularity(DATA.num_items)
    ranked = run(replace(plain, model=replace(plain.model, score=score)))
    for client, item in enumerate(DATA.split.test.items[:, 0]):
        train = DATA.split.train.items[DATA.split.train.users == client]
        left_out = {*train.tolist(), int(valid[client])}
        favoured = set(valid.tolist())
        ahead = sum(
            other != item and other not in left_out and (item not in favoured or other in favoured)
            for other in range(DATA.num_items)
        )
        num_others = DATA.num_items - len(left_out) - 1
        expected = 1 - ahead / num_others
        assert ranked.per_client["auc"][client] == pytest.approx(expected, abs=1e-6)
