"""Patience counts where a run has got somewhere: above Popularity, or after some rounds."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.base import Part
from fedjax_rec.baselines import popularity
from fedjax_rec.data import load
from fedjax_rec.reporting.tables import stop_words
from fedjax_rec.simulation import EarlyStop, EvaluationPlan, simulate

DATA = load("synthetic", num_users=40, num_items=60, mean_events=10, seed=3)
HELD = np.bincount(DATA.split.valid.items.ravel(), minlength=DATA.num_items + 1)[: DATA.num_items]
GOOD_FROM = 6


def starts_slowly(good_from=GOOD_FROM):
    """Ranks unpopular items first, and from a round on those that validation asks for."""
    plain = popularity(DATA.num_items)

    def apply(state, message, cohort):
        counts = message.update.rows["item"]
        is_good = state.round + 1 >= good_from
        return state._replace(shared=Part({"item": jnp.where(is_good, HELD * 1.0, -counts)}, ()))

    return replace(plain, server_update=replace(plain.server_update, apply=apply))


def run(algorithm=None, rounds=12, **stop):
    options = {key: stop.pop(key) for key in ("output", "notice", "evaluation") if key in stop}
    return simulate(
        algorithm or starts_slowly(),
        DATA,
        key=jax.random.key(0),
        rounds=rounds,
        stop=EarlyStop(**{"patience": 2} | stop),
        **{"evaluation": EvaluationPlan(every=1), "notice": lambda line: None} | options,
    )


def test_patience_waits_until_popularity_is_beaten():
    summary = run().summary
    assert summary["rounds"] == GOOD_FROM + 2
    assert summary["reported_round"] == GOOD_FROM
    stop = summary["stop"]
    assert stop["popularity"] == summary["popularity"]["valid/ndcg@10"]
    assert stop["best"] == summary["metrics"]["valid/ndcg@10"] > stop["popularity"]
    assert (stop["ended_by"], stop["patience_counted_from"]) == ("patience", GOOD_FROM)
    assert stop_words(summary).startswith("stopped by patience in round 8; it counted from round 6")


def test_where_it_waits_for_nothing_it_counts_from_the_start():
    summary = run(waits_for="nothing").summary
    assert (summary["rounds"], summary["reported_round"]) == (3, 1)
    assert summary["stop"]["popularity"] is None


def test_what_never_beats_popularity_goes_on_to_its_last_round_and_says_so():
    summary = run(starts_slowly(99), rounds=5).summary
    assert summary["rounds"] == 5
    assert summary["stop"]["ended_by"] == "rounds"
    assert "patience never counted (valid/ndcg@10 above Popularity: " in stop_words(summary)


def test_as_good_as_popularity_is_not_better():
    assert run(popularity(DATA.num_items), rounds=6).summary["rounds"] == 6


@pytest.mark.parametrize(("least", "last"), [(0, 3), (2, 3), (3, 4), (5, 6)])
def test_patience_counts_no_evaluation_before_the_least_round(least, last):
    summary = run(starts_slowly(99), rounds=9, waits_for="nothing", min_rounds=least).summary
    assert summary["rounds"] == last
    assert summary["stop"]["patience_counted_from"] == max(least, 1)


def test_a_target_waits_for_nobody():
    summary = run(starts_slowly(99), target=0.0, min_rounds=7).summary
    assert (summary["rounds"], summary["stop"]["ended_by"]) == (1, "target")


@pytest.mark.parametrize("at", [2, 6, 7])
def test_a_run_that_goes_on_ends_where_it_would_have(at, tmp_path):
    whole = run()
    run(rounds=at, output=tmp_path)
    left = run(output=tmp_path)
    assert left.summary["stop"] == whole.summary["stop"]
    assert left.summary["rounds"] == whole.summary["rounds"]
    jax.tree.map(np.testing.assert_array_equal, left.state.shared, whole.state.shared)
    assert [line["round"] for line in left.metrics] == [line["round"] for line in whole.metrics]


def test_it_is_popularity_of_the_people_who_are_asked_while_it_trains():
    some = EvaluationPlan(every=1, training_clients=7)
    floor = run(evaluation=some).summary["stop"]["popularity"]
    asked = simulate(
        popularity(DATA.num_items),
        DATA,
        key=jax.random.key(0),
        rounds=1,
        evaluation=some,
        notice=lambda line: None,
    )
    assert floor == asked.metrics[0]["valid/ndcg@10"] != asked.summary["metrics"]["valid/ndcg@10"]
