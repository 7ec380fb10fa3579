"""Evaluations of some people: who they are, what is said of them, and what they cost."""

import dataclasses

import jax
import numpy as np
import pytest

from fedjax_rec.algorithms import fedmf
from fedjax_rec.base import Fixed
from fedjax_rec.data import load
from fedjax_rec.data.clients import client_data
from fedjax_rec.data.interactions import from_events
from fedjax_rec.data.splits import leave_one_out
from fedjax_rec.errors import UserError
from fedjax_rec.reporting import RunRecord, protocol_differences
from fedjax_rec.simulation import (
    EarlyStop,
    EvaluationPlan,
    Execution,
    build,
    evaluate,
    simulate,
)
from fedjax_rec.simulation.devices import Placement
from fedjax_rec.simulation.people import asked_people
from fedjax_rec.simulation.programs import Shared
from fedjax_rec.simulation.scoring import Scorer

DATA = load("synthetic", num_users=40, num_items=60, mean_events=9, seed=4)
ALGORITHM = fedmf(DATA.num_items, dim=4)
SOME = EvaluationPlan(every=2, at_k=(5,), clients=12, training_clients=5)


def run(plan, data=DATA, **options):
    return simulate(
        ALGORITHM,
        data,
        key=jax.random.key(0),
        rounds=4,
        evaluation=plan,
        execution=Execution(),
        notice=lambda line: None,
        **options,
    )


@pytest.fixture(scope="module")
def whole():
    return run(dataclasses.replace(SOME, clients=0, training_clients=0))


@pytest.fixture(scope="module")
def some():
    return run(SOME)


def test_the_metrics_of_some_are_means_of_the_values_they_have_in_a_whole_evaluation(whole, some):
    final, _ = asked_people(DATA, SOME)
    for key, values in some.per_client.items():
        assert np.flatnonzero(~np.isnan(values)).tolist() == sorted(final.tolist())
        assert values[final].tolist() == whole.per_client[key][final].tolist()
        expected = whole.per_client[key][final].mean()
        assert some.summary["metrics"][f"test/{key}"] == pytest.approx(expected, rel=1e-5)
    shown = some.summary["metrics"]["test/coverage@5"] * DATA.num_items
    assert 0 < shown <= 5 * len(final)


def test_training_is_watched_on_fewer_and_the_end_is_told_of_all_that_were_chosen(whole, some):
    _, watched = asked_people(DATA, SOME)
    assert len(watched) == 5
    expected = whole.per_client["auc"][watched].mean()
    assert some.metrics[-1]["test/auc"] == pytest.approx(expected, rel=1e-5)
    assert some.metrics[-1]["test/auc"] != some.summary["metrics"]["test/auc"]
    assert some.summary["evaluation"] == {"clients": 12, "training_clients": 5}


def test_early_stopping_reads_the_people_of_training():
    result = run(SOME, stop=EarlyStop("valid/auc", patience=9))
    values = {line["round"]: line["valid/auc"] for line in result.metrics if "valid/auc" in line}
    assert result.summary["reported_round"] == max(values, key=values.get)


def test_fewer_people_are_some_of_more_and_another_seed_chooses_others():
    final, watched = asked_people(DATA, SOME)
    more, _ = asked_people(DATA, dataclasses.replace(SOME, clients=20))
    others, _ = asked_people(DATA, dataclasses.replace(SOME, clients_seed=1))
    assert set(watched) < set(final) < set(more)
    assert set(others) != set(final)
    assert sorted(final.tolist()) != list(range(12))


def test_people_are_chosen_by_their_ids_whatever_the_order_of_the_data():
    rng = np.random.default_rng(0)
    users, items = np.repeat(np.arange(30), 5), rng.integers(0, 50, 150)
    chosen = []
    for order in (np.arange(150), rng.permutation(150)):
        events = from_events(users[order] + 100, items[order], times=order)
        split = leave_one_out(events)
        data = dataclasses.replace(DATA, clients=client_data(split), split=split)
        found, _ = asked_people(data, SOME)
        chosen.append({str(label) for label in events.user_labels[found]})
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 12


def test_the_protocol_names_them_so_that_they_are_never_mixed_with_all(whole, some):
    protocol = some.summary["protocol"]
    named = {key: protocol.get(key) for key in ("clients", "training_clients", "clients_seed")}
    assert named == {"clients": 12, "training_clients": 5, "clients_seed": 0}
    assert not any(key in whole.summary["protocol"] for key in named)
    other = run(dataclasses.replace(SOME, clients_seed=1))
    records = [RunRecord(None, {}, result.summary) for result in (whole, some, other)]
    assert protocol_differences(records[:2]) == [
        "clients (-, 12)",
        "training_clients (-, 5)",
        "clients_seed (-, 0)",
    ]
    assert protocol_differences(records[1:]) == ["clients_seed (0, 1)"]


@pytest.mark.parametrize("number", [40, 10_000])
def test_a_number_that_leaves_nobody_out_is_a_whole_evaluation(whole, number):
    result = run(dataclasses.replace(SOME, clients=number, training_clients=number))
    assert result.summary["protocol"] == whole.summary["protocol"]
    assert result.summary["metrics"] == whole.summary["metrics"]


def test_only_the_chosen_are_scored():
    """Scores are counted by a model that tells the host of every client it scores."""
    data = load("synthetic", num_users=3000, num_items=3000, mean_events=8, seed=1)
    plain, scored = fedmf(data.num_items, dim=4), []

    def score(view, inputs):
        jax.debug.callback(scored.append, view.private.dense[0])
        return plain.model.score(view, inputs)

    model = dataclasses.replace(plain.model, score=score, score_vjp=None)
    counting = dataclasses.replace(plain, model=model)
    state, clients, frozen = build(plain).init(jax.random.key(0), data.num_clients)
    numbers = {}
    for some in (1, 0):
        scored.clear()
        plan = dataclasses.replace(SOME, clients=some, training_clients=0)
        placement = Placement(1, data.num_clients)
        scorer = Scorer(Shared(counting), data, plan, lambda line: None, placement)
        scorer(state, clients, Fixed(frozen, data.clients))
        jax.effects_barrier()
        numbers[some] = len(scored)
    assert numbers[0] >= data.num_clients
    assert numbers[1] < numbers[0] / 5  # one chunk of them


def test_evaluate_asks_the_people_of_its_plan(some):
    found = evaluate(ALGORITHM, DATA, some, SOME)["test"]
    assert found.num_clients == 12
    assert found.metrics["auc"] == some.summary["metrics"]["test/auc"]


@pytest.mark.parametrize("name", ["clients", "training_clients", "clients_seed"])
def test_a_negative_number_is_refused(name):
    with pytest.raises(UserError, match=f"evaluate.{name} must be at least 0, got -1"):
        EvaluationPlan(**{name: -1})


def test_more_people_in_training_than_at_the_end_are_refused():
    with pytest.raises(UserError, match=r"evaluate.training_clients: 9 are more than the 5"):
        EvaluationPlan(clients=5, training_clients=9)
