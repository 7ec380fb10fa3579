"""A run that goes wrong says so: divergence, a rising loss, a result below Popularity."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec import simulation
from fedjax_rec.algorithms import fedmf
from fedjax_rec.base import ServerUpdate, Stat
from fedjax_rec.baselines import popularity
from fedjax_rec.data import load
from fedjax_rec.errors import DivergedError
from fedjax_rec.sampling import TruncatedPoisson
from fedjax_rec.simulation import EvaluationPlan, Execution
from fedjax_rec.simulation.yardstick import item_counts, popularity_metrics

DATA = load("synthetic", num_users=20, num_items=30, mean_events=7, seed=5)
PLAN = EvaluationPlan(every=2, at_k=(5, 10))


def run(algorithm, data=DATA, said=None, rounds=2, **changes):
    settings = {"key": jax.random.key(4), "evaluation": PLAN, "execution": Execution()}
    said = [] if said is None else said
    return simulation.simulate(
        algorithm, data, rounds=rounds, notice=said.append, **settings | changes
    )


def with_output(change):
    """Popularity whose clients' output is changed, given the round."""
    plain = popularity(DATA.num_items)

    def count(key, view, task):
        return change(plain.client_update.run(key, view, task), task)

    return replace(plain, client_update=replace(plain.client_update, run=count))


def broken_from(round, is_broken=lambda client: True):
    def change(output, task):
        bad = (task.round >= round) & is_broken(task.entry.client_id)
        return output._replace(weight=jnp.where(bad, jnp.nan, output.weight))

    return with_output(change)


def losing(losses):
    """Clients whose loss in round n is `losses[n]`."""

    def change(output, task):
        loss = jnp.array(losses, jnp.float32)[task.round]
        return output._replace(info={"loss": Stat(loss, jnp.float32(1))})

    return with_output(change)


# ---------------------------------------------------------------------- divergence


def test_a_run_whose_clients_all_diverge_ends_and_names_the_rates_to_lower():
    algorithm = fedmf(
        DATA.num_items, dim=2, item_learning_rate=1e38, user_learning_rate=3e37, init_stddev=10.0
    )
    with pytest.raises(DivergedError) as told:
        run(algorithm, rounds=6)
    message = str(told.value)
    assert "item_learning_rate (1e+38)" in message
    assert "user_learning_rate (3e+37)" in message
    assert "\n" not in message


def test_the_folder_stays_as_it_was_at_the_last_checkpoint(tmp_path):
    for _ in range(2):  # the second time it goes on from round 2, and ends likewise
        with pytest.raises(DivergedError, match="round 3"):
            run(broken_from(2), output=tmp_path, rounds=5)
        assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
        assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["1", "2"]
        assert not (tmp_path / "summary.json").exists()


def test_a_run_that_scores_nothing_finite_ends_though_clients_send_finite_updates(tmp_path):
    def overflow(state, total, cohort):
        return state._replace(shared=jax.tree.map(lambda x: x * jnp.inf, total.update))

    plain = popularity(DATA.num_items)
    update = ServerUpdate(plain.server_update.init, overflow)
    with pytest.raises(DivergedError, match="in round 2: no score is finite"):
        run(replace(plain, server_update=update), output=tmp_path, rounds=4)
    assert not (tmp_path / "summary.json").exists()


def test_a_round_with_one_sound_client_goes_on():
    result = run(broken_from(0, lambda client: client > 0), rounds=2)
    assert [line["train/clients"] for line in result.metrics] == [1, 1]


def test_a_round_without_anybody_is_no_divergence():
    result = run(popularity(DATA.num_items), sampler=TruncatedPoisson(20, 0.2), rounds=6)
    assert 0 in [line["train/clients"] for line in result.metrics]


# ---------------------------------------------------------------------------- loss

ROWS = {
    "falls": ([3, 2, 1, 1, 1, 1], 0),
    "stays above": ([3, 4, 4, 4, 4, 4], 1),
    "explodes at once": ([3, 2, 31, 1, 1, 1], 1),
    "wavers": ([3, 4, 2, 4, 4, 2], 0),
    "negative, and falls": ([-1, -2, -3, -3, -3, -3], 0),
    "negative, and rises": ([-1, -0.5, -0.5, -0.5, -0.5, -0.5], 1),
}


@pytest.mark.parametrize("what", ROWS)
@pytest.mark.parametrize("every", [1, 3])
def test_a_loss_above_its_start_is_said_once(what, every):
    losses, times = ROWS[what]
    said = []
    run(losing(losses), said=said, rounds=6, evaluation=replace(PLAN, every=every))
    assert sum(line.startswith("warning: the loss is") for line in said) == times


def test_a_loss_that_was_told_is_not_told_again_after_going_on(tmp_path):
    losses, said = [3, 40, 40, 40, 40, 40], []
    run(losing(losses), said=said, rounds=3, output=tmp_path)
    run(losing(losses), said=said, rounds=6, output=tmp_path)
    assert sum(line.startswith("warning: the loss is 40") for line in said) == 1


def test_a_loss_that_rises_over_a_pause_is_still_told(tmp_path):
    losses, said = [3, 4, 4, 4, 2, 2], []
    run(losing(losses), said=said, rounds=2, output=tmp_path)
    assert not [line for line in said if "the loss" in line]
    run(losing(losses), said=said, rounds=6, output=tmp_path)
    assert sum("and was 3 at first" in line for line in said) == 1


# ---------------------------------------------------------------------- popularity


@pytest.mark.parametrize(
    "data",
    [
        load("synthetic", num_users=20, num_items=160, mean_events=7, seed=5),
        load("synthetic", num_users=40, num_items=160, mean_events=9, holdout="users", share=0.2,
             validation="users"),
    ],
    ids=["everyone trains", "users held out"],
)  # fmt: skip
@pytest.mark.parametrize("candidates", ["full", "uni99"])
def test_popularitys_figures_are_those_of_a_run_of_it(data, candidates):
    plan = replace(PLAN, candidates=candidates)
    result = run(popularity(data.num_items), data, rounds=1, evaluation=plan)
    assert result.summary["popularity"] == result.summary["metrics"]
    assert result.summary["notes"] == []


def test_items_are_counted_by_clients_and_not_by_events():
    train = DATA.split.train
    counts = np.zeros(DATA.num_items)
    for user in range(DATA.num_clients):
        counts[list(set(train.items[train.users == user].tolist()))] += 1
    np.testing.assert_array_equal(item_counts(DATA), counts)


def upside_down():
    plain = popularity(DATA.num_items)

    def turn(state, total, cohort):
        return state._replace(shared=jax.tree.map(jnp.negative, total.update))

    return replace(plain, server_update=ServerUpdate(plain.server_update.init, turn))


def test_a_result_below_popularity_is_said_and_kept():
    said = []
    summary = run(upside_down(), said=said, rounds=1).summary
    own, popular = (summary[name]["test/ndcg@10"] for name in ("metrics", "popularity"))
    assert own < popular
    told = [line for line in said if "below Popularity" in line]
    assert told == [
        f"warning: below Popularity: test/ndcg@10 {own:.4f}, and Popularity has {popular:.4f}"
    ]
    assert summary["notes"] == told


def test_values_that_are_predicted_have_no_popularity():
    plan = EvaluationPlan(every=2, task="rating")
    assert run(popularity(DATA.num_items), evaluation=plan).summary["popularity"] == {}


def test_a_second_run_on_the_same_terms_asks_popularity_no_more(monkeypatch):
    first = popularity_metrics(DATA, PLAN)

    def refuse(*args):
        raise AssertionError("asked again")

    monkeypatch.setattr(simulation.yardstick, "Scorer", refuse)
    assert popularity_metrics(DATA, replace(PLAN, every=9)) == first
