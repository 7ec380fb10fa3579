"""Metrics against ir-measures, and against a ranked list walked item by item."""

import math

import ir_measures
import numpy as np
import pytest

from fedjax_rec.errors import UserError
from fedjax_rec.evaluation.metrics import (
    METRICS,
    UNRANKED,
    at_cutoffs,
    client_keys,
    metric_keys,
    worst_keys,
)

CUTOFFS = (1, 3, 5, 10, 50)


def walked(ranks, k):
    """Every metric of one client, by walking down its ranked list."""
    relevance = [position in set(ranks) for position in range(1, k + 1)]
    hits, dcg, first, precisions = 0, 0.0, 0.0, []
    for position, is_relevant in enumerate(relevance, start=1):
        if is_relevant:
            hits += 1
            dcg += 1 / math.log2(1 + position)
            first = first or 1 / position
            precisions.append(hits / position)
    most = min(k, len(ranks))
    return {
        "hit_rate": float(hits > 0),
        "ndcg": dcg / sum(1 / math.log2(1 + position) for position in range(1, most + 1)),
        "mrr": first,
        "map": sum(precisions) / most,
        "precision": hits / k,
        "recall": hits / len(ranks),
    }


@pytest.fixture
def clients():
    """Each client's scores `[I]` without ties, and its relevant items."""
    rng = np.random.default_rng(3)
    num_items = 30
    return [
        (rng.permutation(num_items), rng.permutation(num_items)[: rng.integers(1, 9)])
        for _ in range(40)
    ]


def padded_ranks(clients):
    ranks = np.full((len(clients), 8), UNRANKED, np.int32)
    for row, (scores, relevant) in zip(ranks, clients, strict=True):
        row[: len(relevant)] = [1 + (scores > scores[item]).sum() for item in relevant]
    return ranks, np.array([len(relevant) for _, relevant in clients])


@pytest.mark.parametrize("k", CUTOFFS)
def test_metrics_equal_a_walk_down_the_ranked_list(clients, k):
    ranks, num_relevant = padded_ranks(clients)
    for name, metric in METRICS.items():
        expected = [walked(row[row < UNRANKED], k)[name] for row in ranks]
        np.testing.assert_allclose(metric(ranks, num_relevant, k), expected, rtol=1e-6)


@pytest.mark.parametrize("k", CUTOFFS)
def test_metrics_equal_ir_measures(clients, k):
    ranks, num_relevant = padded_ranks(clients)
    qrels = [
        ir_measures.Qrel(str(client), f"item{item}", 1)
        for client, (_, relevant) in enumerate(clients)
        for item in relevant
    ]
    run = [
        ir_measures.ScoredDoc(str(client), f"item{item}", float(score))
        for client, (scores, _) in enumerate(clients)
        for item, score in enumerate(scores)
    ]
    measures = {
        ir_measures.Success @ k: "hit_rate",
        ir_measures.nDCG @ k: "ndcg",
        ir_measures.RR @ k: "mrr",
        ir_measures.AP @ k: "map",
        ir_measures.P @ k: "precision",
        ir_measures.R @ k: "recall",
    }
    ours = {name: np.array(metric(ranks, num_relevant, k)) for name, metric in METRICS.items()}
    # trec_eval divides AP@k by the number of relevant items, we by the most hits possible.
    ours["map"] = ours["map"] * np.minimum(k, num_relevant) / num_relevant
    found = list(ir_measures.iter_calc(list(measures), qrels, run))
    assert len(found) == len(measures) * len(clients)
    for result in found:
        value = ours[measures[result.measure]][int(result.query_id)]
        assert value == pytest.approx(result.value, rel=1e-5), result


def test_a_perfect_ranking_has_one_everywhere_but_in_precision_and_recall():
    ranks, num_relevant = np.array([[2, 1, 3]]), np.array([3])
    values = {key: value.item() for key, value in at_cutoffs(ranks, num_relevant, [2, 5]).items()}
    for name in ("hit_rate", "ndcg", "mrr", "map"):
        assert values[f"{name}@2"] == values[f"{name}@5"] == 1
    assert values["precision@2"] == 1
    assert values["precision@5"] == pytest.approx(3 / 5)
    assert values["recall@2"] == pytest.approx(2 / 3)
    assert values["recall@5"] == 1


def test_nothing_relevant_or_nothing_ranked_counts_as_zero():
    ranks = np.full((2, 3), UNRANKED, np.int32)
    for value in at_cutoffs(ranks, np.array([0, 3]), [1, 1000]).values():
        assert value.tolist() == [0, 0]


def test_metric_keys_name_what_is_measured():
    keys = at_cutoffs(np.array([1]), np.array(1), [5, 10])
    assert client_keys([5, 10]) == (*keys, "auc")
    assert metric_keys([5, 10]) == (*keys, "auc", *worst_keys([*keys, "auc"]))
    assert set(worst_keys([*keys, "auc"]).values()) == {"ndcg@5", "ndcg@10", "auc"}


@pytest.mark.parametrize("k", [0, -1, 2.5, True, "10"])
def test_a_cutoff_that_is_not_a_positive_integer_is_refused(k):
    with pytest.raises(UserError, match="positive integer"):
        metric_keys([k])
