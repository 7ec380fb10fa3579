"""Predicted values against plain loops in NumPy, on their own and in a run."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec import simulation
from fedjax_rec.algorithms import fedmf
from fedjax_rec.data import from_events, hold_out, load
from fedjax_rec.errors import UserError
from fedjax_rec.evaluation import HeldOutSet, Prediction, Protocol, is_better
from fedjax_rec.simulation import EarlyStop, EvaluationPlan

NUM_CLIENTS, NUM_ITEMS = 9, 12


@pytest.fixture
def asked():
    """Scores `[N, I]`, held-out items, and ratings by halves, so that 0.5 is met exactly."""
    rng = np.random.default_rng(3)
    scores = rng.normal(3, 1, (NUM_CLIENTS, NUM_ITEMS)).round(1).astype(np.float32)
    targets = np.full((NUM_CLIENTS, 3), NUM_ITEMS)
    values = np.zeros(targets.shape, np.float32)
    for user, size in enumerate(rng.integers(1, 4, NUM_CLIENTS)):
        targets[user, :size] = rng.permutation(NUM_ITEMS)[:size]
        values[user, :size] = rng.integers(2, 11, size) / 2
    targets[4], values[4] = NUM_ITEMS, 0
    scores[0, targets[0, 0]], values[0, 0] = 3.5, 4.0
    return scores, targets, values


def evaluation(kind, scores, targets, values):
    """What the question finds, asked in the order in which an evaluator may ask."""
    question = Prediction(kind)
    held_out = HeldOutSet(jnp.array(targets), *[jnp.zeros(0)] * 2, None, jnp.array(values))
    found = question.nothing(held_out, NUM_ITEMS)
    for slots in (jnp.array([3, 0, 8]), jnp.array([7, 6, 5, 1, 2])):  # 4 has nothing held out
        part = question.answers(jnp.array(scores)[slots], slots, held_out)
        found = jax.tree.map(lambda whole, one, at=slots: whole.at[at].set(one), found, part)
    return question.summary(jax.device_get(found))


def pairs(scores, targets, values, users=range(NUM_CLIENTS)):
    """Score and value of every held-out pair."""
    return np.array(
        [
            (scores[user, item], value)
            for user in users
            for item, value in zip(targets[user], values[user], strict=True)
            if item < NUM_ITEMS
        ],
        np.float64,
    ).T


def rating_errors(score, value):
    return {
        "rmse": np.sqrt(np.mean((score - value) ** 2)),
        "mae": np.mean(np.abs(score - value)),
        "accuracy": np.mean(np.abs(score - value) <= 0.5),
    }


def label_errors(score, value):
    p = 1 / (1 + np.exp(-score))
    return {
        "log_loss": -np.mean(np.where(value == 1, np.log(p), np.log(1 - p))),
        "accuracy": np.mean((p > 0.5) == (value == 1)),
        "auc": area(score, value),
    }


def area(score, value):
    """Over every pair of a 1 and a 0, ties half."""
    above, below = score[value == 1, None], score[value == 0]
    in_order = (above > below) + 0.5 * (above == below)
    return np.mean(in_order) if in_order.size else np.nan


@pytest.mark.parametrize("kind", ["rating", "label"])
def test_errors_are_means_over_all_pairs(asked, kind):
    scores, targets, values = asked
    errors = rating_errors
    if kind == "label":
        scores, values, errors = scores - 3, (values > 3).astype(np.float32), label_errors
    found = evaluation(kind, scores, targets, values)
    expected = errors(*pairs(scores, targets, values))
    assert found.metrics == pytest.approx(expected, rel=1e-6)
    assert tuple(found.metrics) == Prediction(kind).keys
    for user in set(range(NUM_CLIENTS)) - {4}:
        own = errors(*pairs(scores, targets, values, [user]))
        own.pop("auc", None)  # of all clients' pairs together
        assert {k: v[user] for k, v in found.per_client.items()} == pytest.approx(own, rel=1e-5)
    assert all(np.isnan(v[4]) for v in found.per_client.values())
    assert (found.num_clients, found.num_non_finite, found.ranks) == (NUM_CLIENTS - 1, 0, None)


def test_the_root_is_taken_of_the_mean_over_pairs_and_not_over_clients(asked):
    found = evaluation("rating", *asked)
    assert found.metrics["rmse"] != pytest.approx(np.nanmean(found.per_client["rmse"]), rel=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e25])
@pytest.mark.parametrize("kind", ["rating", "label"])
def test_a_score_that_is_not_finite_counts_as_0_and_as_wrong(asked, kind, bad):
    scores, targets, values = asked
    values = values if kind == "rating" else (values > 3).astype(np.float32)
    broken = scores.copy()
    broken[2, targets[2, 0]] = bad
    with_zero = scores.copy()
    with_zero[2, targets[2, 0]] = 0
    values[2, 0] = 0.0  # 0 would be right
    found, expected = (evaluation(kind, s, targets, values) for s in (broken, with_zero))
    assert (found.num_non_finite, expected.num_non_finite) == (1, 0)
    num_pairs = (targets < NUM_ITEMS).sum()
    wrong = {"accuracy": expected.metrics["accuracy"] - 1 / num_pairs}
    assert found.metrics == pytest.approx(expected.metrics | wrong, rel=1e-6)
    elsewhere = scores.copy()
    elsewhere[2, np.setdiff1d(np.arange(NUM_ITEMS), targets[2])[0]] = bad
    assert evaluation(kind, elsewhere, targets, values).num_non_finite == 0


def test_nothing_held_out_is_refused(asked):
    scores, targets, values = asked
    with pytest.raises(UserError, match="no client has a held-out item"):
        evaluation("rating", scores, np.full_like(targets, NUM_ITEMS), values)


@pytest.mark.parametrize(("repeats", "of_both"), [("first", 2), ("last", 4), ("keep", 4)])
def test_held_out_values_are_those_of_the_event_that_is_left(repeats, of_both):
    users, items = [1, 1, 1, 1, 2, 2], [5, 6, 6, 7, 5, 7]
    events = from_events(users, items, values=[1, 4, 2, 5, 3, 1], times=[1, 9, 2, 3, 4, 5])
    for seed in range(20):
        rules = {"validation": "hash", "seed": seed, "repeats": repeats}
        split = hold_out(events, "leave_one_out_hash", **rules)
        for held in (split.valid, split.test):
            for user, row in enumerate(held.items):
                for item, value in zip(row, held.values[user], strict=True):
                    if item == split.train.num_items:
                        assert value == 0
                        continue
                    label = (user + 1, int(split.train.item_labels[item]))
                    known = {(1, 5): 1, (1, 6): of_both, (1, 7): 5, (2, 5): 3, (2, 7): 1}
                    assert value == known[label]


# ---------------------------------------------------------------------- in a run


def rated():
    """Generated data whose values are ratings of 1 to 5."""
    data = load("synthetic", num_users=30, num_items=60, mean_events=9, seed=5)
    values = np.random.default_rng(2).integers(1, 6, data.split.test.items.shape)
    test = replace(data.split.test, values=values.astype(np.float32))
    return replace(data, split=replace(data.split, test=test))


ALGORITHM = fedmf(60, dim=4, batch_size=32)
PLAN = EvaluationPlan(every=2, task="rating")


def run(data, **options):
    settings = {"key": jax.random.key(0), "rounds": 4, "notice": lambda line: None}
    return simulation.simulate(ALGORITHM, data, evaluation=PLAN, **settings | options)


def test_a_run_measures_what_its_parameters_predict(tmp_path):
    data = rated()
    result = run(data, output=tmp_path)
    table = np.asarray(result.state.shared.rows["item"], np.float64)
    users = np.asarray(result.clients.private.dense, np.float64)
    test = data.split.test
    found = [
        (users[user] @ table[item], value)
        for user in range(data.num_clients)
        for item, value in zip(test.items[user], test.values[user], strict=True)
        if item < data.num_items
    ]
    expected = rating_errors(*np.array(found).T)
    measured = {k.removeprefix("test/"): v for k, v in result.summary["metrics"].items()}
    assert {k: measured[k] for k in expected} == pytest.approx(expected, rel=1e-5)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["test/rmse"] == result.summary["metrics"]["test/rmse"]
    assert set(result.per_client) == set(expected)
    protocol = result.summary["protocol"]
    assert protocol["task"] == "rating"
    assert not {"candidates", "score_ties"} & set(protocol)


def test_a_run_stops_at_the_smallest_error():
    data = rated()
    result = run(data, rounds=12, stop=EarlyStop("valid/rmse", patience=2))
    errors = {line["round"]: line["valid/rmse"] for line in result.metrics if "valid/rmse" in line}
    best = min(errors, key=errors.__getitem__)
    assert result.summary["reported_round"] == best
    assert result.summary["metrics"]["valid/rmse"] == errors[best]
    reached = run(data, rounds=12, stop=EarlyStop("valid/rmse", target=errors[2]))
    assert reached.summary["rounds"] == 2
    missed = run(data, rounds=4, stop=EarlyStop("valid/rmse", target=min(errors.values()) / 2))
    assert missed.summary["rounds"] == 4


@pytest.mark.parametrize(
    ("key", "is_up"), [("valid/ndcg@10", True), ("valid/rmse", False), ("log_loss", False)]
)
def test_which_way_is_better(key, is_up):
    assert is_better(key, 2.0, 1.0) is is_up
    assert is_better(key, 1.0, 2.0) is not is_up
    assert not is_better(key, float("nan"), 1.0)
    assert not is_better(key, 1.0, 1.0)


def test_labels_are_0_or_1_and_values_are_there():
    data = rated()
    with pytest.raises(UserError, match="needs values of 0 or 1, and a held-out item has"):
        simulation.evaluate(ALGORITHM, data, run(data), EvaluationPlan(task="label"))
    bare = replace(data, split=replace(data.split, test=replace(data.split.test, values=None)))
    with pytest.raises(UserError, match="held-out items have no values; evaluate a ranking"):
        run(bare)


def test_a_ranking_has_fields_that_predictions_lack():
    ranking, rating = (set(Protocol(task=task).to_dict()) for task in ("ranking", "rating"))
    assert ranking - rating == {"candidates", "candidates_seed", "seen_items", "score_ties"}
