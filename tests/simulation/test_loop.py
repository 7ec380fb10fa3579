"""The loop around the rounds: what is logged, saved, restored, and when it ends."""

import json
import os
import shutil
import signal
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec import simulation
from fedjax_rec.algorithms import fedmf
from fedjax_rec.data import load
from fedjax_rec.errors import UserError
from fedjax_rec.evaluation import consumption
from fedjax_rec.sampling import TruncatedPoisson, Uniform
from fedjax_rec.simulation import CheckpointPlan, EarlyStop, EvaluationPlan, Execution
from fedjax_rec.simulation.checkpoint import Checkpointer

DATA = load("synthetic", num_users=30, num_items=60, mean_events=9, seed=5)
ALGORITHM = fedmf(DATA.num_items, dim=4, batch_size=32, user_learning_rate=8.0)
ROUNDS = 9
PLAN = EvaluationPlan(every=3, at_k=(10,))


def run(**changes):
    settings = {
        "key": jax.random.key(4),
        "rounds": ROUNDS,
        "evaluation": PLAN,
        "sampler": Uniform(DATA.num_clients, 12),
        "notice": lambda line: None,
    }
    return simulation.simulate(ALGORITHM, DATA, **settings | changes)


class KilledError(Exception):
    """Ends a run from within."""


@pytest.fixture(scope="module")
def plain():
    return run()


def told(said):
    """What was said but that this toy is no match for Popularity."""
    return [line for line in said if "below Popularity" not in line]


def without_seconds(lines):
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def assert_same_end(one, other):
    """Same log, same parameters, to the bit."""
    assert without_seconds(one.metrics) == without_seconds(other.metrics)
    for left, right in zip(
        jax.tree.leaves((one.state._replace(key=0), one.clients)),
        jax.tree.leaves((other.state._replace(key=0), other.clients)),
        strict=True,
    ):
        np.testing.assert_array_equal(left, right)
    assert one.summary["metrics"] == other.summary["metrics"]


def test_a_line_a_round_and_metrics_at_evaluations(plain):
    assert [line["round"] for line in plain.metrics] == list(range(1, ROUNDS + 1))
    evaluated = [line["round"] for line in plain.metrics if "valid/ndcg@10" in line]
    assert evaluated == [3, 6, 9]
    assert plain.metrics[-1]["train/clients"] == 12
    assert plain.metrics[-1]["train/loss"] < plain.metrics[0]["train/loss"]
    last = plain.metrics[-1]
    measured = {key: value for key, value in last.items() if key.startswith(("valid", "test"))}
    assert measured == {key: plain.summary["metrics"][key] for key in measured}
    of_lists = {key.rpartition("/")[2].partition("@")[0] for key in plain.summary["metrics"]}
    of_lists -= {key.rpartition("/")[2].partition("@")[0] for key in measured}
    assert of_lists == {"coverage", "exposure_gini", "popularity", "popularity_lift"}
    assert plain.per_client["ndcg@10"].shape == (DATA.num_clients,)


def test_the_summary_says_who_is_served_and_what_is_shown(plain):
    metrics, spread = plain.summary["metrics"], plain.summary["spread"]
    assert set(spread) == {"test/ndcg@10", "test/auc"}
    for key, found in spread.items():
        values = plain.per_client[key.removeprefix("test/")]
        assert found["mean"] == metrics[key] == pytest.approx(np.nanmean(values), rel=1e-5)
        assert found["p90"] == pytest.approx(np.nanquantile(values, 0.9), rel=1e-5)
        name = key.replace("test/", "test/worst_decile_")
        assert found["worst_decile"] == metrics[name] <= found["p10"] <= found["p50"]
    assert 0.5 < metrics["test/auc"] < 1
    assert 0 < metrics["test/coverage@10"] <= 1
    assert 0 < metrics["test/exposure_gini@10"] < 1
    train = DATA.split.train
    consumed = consumption(train.users, train.items, DATA.num_clients, DATA.num_items)
    lift = metrics["test/popularity@10"] / consumed.mean - 1
    assert metrics["test/popularity_lift@10"] == pytest.approx(lift)
    assert not any("coverage" in key for key in metrics if key.startswith("valid"))


def test_the_summary_names_protocol_bytes_and_time(plain):
    summary = json.loads(json.dumps(plain.summary))
    assert summary["protocol"]["negatives_exclude"] == "train"
    assert summary["privacy"]["claims"] == "none"
    table = DATA.num_items * 4 * 4
    assert summary["communication"]["bytes_up_per_client_round"] == table
    assert summary["communication"]["total_down"] == table * 12 * ROUNDS
    assert summary["rounds"] == ROUNDS
    assert summary["timing"]["train_seconds"] > 0


def test_rows_cost_fewer_bytes_than_tables(plain):
    rows = run(payload="rows").summary["communication"]
    assert 0 < rows["total_up"] < plain.summary["communication"]["total_up"]


def test_writing_to_a_folder_changes_nothing(plain, tmp_path):
    assert_same_end(plain, run(output=tmp_path))
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert without_seconds(map(json.loads, lines)) == without_seconds(plain.metrics)


@pytest.mark.parametrize("last_round", [1, 4, 6])
def test_a_run_goes_on_to_the_bit_from_any_round(plain, tmp_path, last_round):
    def kill(report):
        if report.round == last_round:
            raise KilledError

    with pytest.raises(KilledError):
        run(output=tmp_path, report=kill)
    with (tmp_path / "metrics.jsonl").open("a") as log:
        log.write('{"round": 77}\n')  # a line that no checkpoint knows
    said = []
    resumed = run(output=tmp_path, notice=said.append)
    assert resumed.first_round == last_round
    assert told(said) == [f"going on from round {last_round} of {ROUNDS}"]
    assert_same_end(plain, resumed)


def test_checkpoints_thinned_by_rounds_lose_at_most_those_since_the_last(plain, tmp_path):
    def kill(report):
        if report.round == 6:
            raise KilledError

    plan = CheckpointPlan(every=4)
    with pytest.raises(KilledError):
        run(output=tmp_path, checkpoint=plan, report=kill)
    resumed = run(output=tmp_path, checkpoint=plan)
    assert resumed.first_round == 4
    assert_same_end(run(checkpoint=plan), resumed)


def test_a_finished_run_started_again_trains_no_more(plain, tmp_path):
    run(output=tmp_path)
    again = run(output=tmp_path)
    assert again.first_round == ROUNDS
    assert_same_end(plain, again)


def test_no_resume_starts_over(plain, tmp_path):
    run(output=tmp_path, rounds=3)
    again = run(output=tmp_path, resume=False)
    assert again.first_round == 0
    assert_same_end(plain, again)


def test_only_the_latest_checkpoints_stay(tmp_path):
    run(output=tmp_path, checkpoint=CheckpointPlan(keep=2))
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["8", "9"]


def test_checkpoints_thinned_by_time_choose_among_the_planned_rounds_and_keep_the_last(tmp_path):
    run(output=tmp_path, checkpoint=CheckpointPlan(seconds=1e9))
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == [str(ROUNDS)]


def damage(step_folder):
    largest = max(step_folder.rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    largest.write_bytes(content)


def test_a_damaged_checkpoint_is_passed_over_with_one_line(plain, tmp_path):
    run(output=tmp_path, rounds=6)
    damage(tmp_path / "checkpoints" / "6")
    said = []
    resumed = run(output=tmp_path, notice=said.append)
    assert resumed.first_round == 5
    assert len(told(said)) == 2
    assert said[0].startswith("warning: checkpoint")
    assert "damaged" in said[0]
    assert "\n" not in said[0]
    assert_same_end(plain, resumed)


def test_a_checkpoint_without_its_files_is_passed_over(plain, tmp_path):
    run(output=tmp_path, rounds=6)
    shutil.rmtree(tmp_path / "checkpoints" / "6" / "state")
    resumed = run(output=tmp_path)
    assert resumed.first_round == 5
    assert_same_end(plain, resumed)


def test_when_all_checkpoints_are_damaged_one_line_says_what_to_do(tmp_path):
    run(output=tmp_path, rounds=3)
    for step in (tmp_path / "checkpoints").iterdir():
        damage(step)
    before = (tmp_path / "metrics.jsonl").read_text()
    with pytest.raises(UserError, match=r"all checkpoints in .* are damaged: .*--no-resume"):
        run(output=tmp_path)
    assert (tmp_path / "metrics.jsonl").read_text() == before


def test_a_changed_number_is_noticed_even_in_a_step_that_was_killed_before_it_was_sealed(tmp_path):
    saver = Checkpointer(tmp_path)
    saver.save(1, {"a": jnp.arange(3.0)}, {})
    saver.close()
    (tmp_path / "1" / "files.json").unlink()
    record = next(tmp_path.glob("1/record/metadata"))
    record.write_text(record.read_text().replace("float32[3]:", "float32[3]:0"))
    reopened = Checkpointer(tmp_path)
    with pytest.raises(UserError, match="checksums differ"):
        reopened.restore(1, {"a": jnp.zeros(3)})
    reopened.close()


def test_patience_stops_and_the_best_round_is_restored(plain, tmp_path):
    values = {line["round"]: line.get("valid/ndcg@10") for line in plain.metrics}
    stop = EarlyStop(patience=1)
    in_memory, in_folder = run(stop=stop, rounds=40), run(stop=stop, rounds=40, output=tmp_path)
    assert_same_end(in_memory, in_folder)
    evaluated = [line for line in in_memory.metrics if "valid/ndcg@10" in line]
    best = max(evaluated, key=lambda line: line["valid/ndcg@10"])
    assert in_memory.summary["reported_round"] == best["round"]
    assert in_memory.summary["metrics"]["test/ndcg@10"] == best["test/ndcg@10"]
    assert in_memory.summary["protocol"]["selection"] == "best on validation"
    assert in_memory.summary["rounds"] == best["round"] + PLAN.every < 40
    assert values[3] == evaluated[0]["valid/ndcg@10"]


def test_a_round_chosen_on_test_is_reported_as_such(plain):
    said = []
    stop = EarlyStop("test/ndcg@10", select="test_as_released")
    result = run(stop=stop, notice=said.append)
    evaluated = [line for line in result.metrics if "test/ndcg@10" in line]
    best = max(evaluated, key=lambda line: line["test/ndcg@10"])
    assert result.summary["reported_round"] == best["round"]
    assert result.summary["metrics"]["test/ndcg@10"] == best["test/ndcg@10"]
    assert result.summary["rounds"] == ROUNDS
    assert result.summary["protocol"]["selection"] == "best on test, as released"
    assert [line for line in told(said) if "too good" in line] == told(said)
    assert len(told(said)) == 1


def test_a_run_stopped_early_does_not_go_on(tmp_path):
    stop = EarlyStop(target=0.0)
    assert run(stop=stop, output=tmp_path).summary["rounds"] == 3
    again = run(stop=stop, output=tmp_path)
    assert again.first_round == again.summary["rounds"] == 3


def test_the_best_round_survives_being_killed_and_newer_checkpoints(tmp_path):
    stop, plan = EarlyStop(patience=50), CheckpointPlan(keep=1)
    whole = run(stop=stop, rounds=40)
    best = whole.summary["reported_round"]
    assert best < 40, "the toy problem should overfit; choose another"

    def kill(report):
        if report.round == best + 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(stop=stop, rounds=40, output=tmp_path, checkpoint=plan, report=kill)
    resumed = run(stop=stop, rounds=40, output=tmp_path, checkpoint=plan)
    assert resumed.first_round == best + 2
    assert_same_end(whole, resumed)


def test_ctrl_c_saves_and_returns(plain, tmp_path):
    def press(report):
        if report.round == 2:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    stopped = run(output=tmp_path, report=press)
    assert stopped.is_interrupted
    assert stopped.summary["rounds"] == 2
    assert signal.getsignal(signal.SIGINT) is before
    assert_same_end(plain, run(output=tmp_path))


def test_ctrl_c_before_the_first_evaluation_of_a_run_that_chooses_its_best_round(tmp_path):
    def press(report):
        if report.round == 2:
            os.kill(os.getpid(), signal.SIGINT)

    stop = EarlyStop(patience=5)
    stopped = run(output=tmp_path, stop=stop, report=press)
    assert stopped.is_interrupted
    assert stopped.summary["reported_round"] == 2
    assert_same_end(run(stop=stop), run(output=tmp_path, stop=stop))


def test_bytes_up_are_those_of_what_clients_send():
    def template(shared):
        return shared._replace(rows={"item": shared.rows["item"][:, :1]})

    def send_one_column(key, view, task):
        output = ALGORITHM.client_update.run(key, view, task)
        return output._replace(update=template(output.update))

    def move(state, total, cohort):
        return state

    algorithm = replace(
        ALGORITHM,
        client_update=replace(ALGORITHM.client_update, run=send_one_column),
        server_update=replace(ALGORITHM.server_update, apply=move),
        template=template,
    )
    result = simulation.simulate(
        algorithm, DATA, key=jax.random.key(0), rounds=1, evaluation=EvaluationPlan(every=7)
    )
    sent = result.summary["communication"]
    assert sent["bytes_down_per_client_round"] == 4 * sent["bytes_up_per_client_round"]


def test_load_run_gives_the_reported_parameters(tmp_path):
    result = run(output=tmp_path, stop=EarlyStop(patience=2), rounds=40)
    state, clients, _ = simulation.load_run(tmp_path, ALGORITHM, DATA, key=jax.random.key(4))
    np.testing.assert_array_equal(state.shared.rows["item"], result.state.shared.rows["item"])
    np.testing.assert_array_equal(clients.private.dense, result.clients.private.dense)
    with pytest.raises(UserError, match="holds no checkpoint"):
        simulation.load_run(tmp_path / "empty", ALGORITHM, DATA, key=jax.random.key(4))


def test_evaluate_puts_a_result_to_other_terms(plain):
    full = simulation.evaluate(ALGORITHM, DATA, plain, PLAN)
    assert full["test"].metrics["ndcg@10"] == plain.summary["metrics"]["test/ndcg@10"]
    wider = simulation.evaluate(ALGORITHM, DATA, plain, EvaluationPlan(at_k=(40,)))
    assert wider["test"].metrics["hit_rate@40"] > full["test"].metrics["hit_rate@10"]
    with pytest.raises(UserError, match="need 99 items that a client has not touched"):
        simulation.evaluate(ALGORITHM, DATA, plain, EvaluationPlan(candidates="uni99"))


def test_poisson_cohorts_may_be_empty():
    result = run(sampler=TruncatedPoisson(DATA.num_clients, 0.3), rounds=6)
    assert min(line["train/clients"] for line in result.metrics) == 0
    assert np.isfinite(np.asarray(result.state.shared.rows["item"])).all()


@pytest.mark.slow
def test_without_jit_the_run_is_the_same(plain):
    result = run(
        execution=Execution(is_debug=True), rounds=1, evaluation=EvaluationPlan(at_k=(10,))
    )
    assert result.metrics[0]["train/loss"] == pytest.approx(
        plain.metrics[0]["train/loss"], rel=1e-5
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"stop": EarlyStop(metric="valid/ndgc@10")}, "did you mean 'valid/ndcg@10'"),
        ({"evaluation": EvaluationPlan(at_k=(0,))}, "0"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_line(changes, message):
    with pytest.raises(UserError, match=message) as caught:
        run(**changes)
    assert "\n" not in str(caught.value)


def test_a_sampler_that_draws_a_client_twice_is_refused():
    class Twice(Uniform):
        def draw(self, seed, round):
            return np.zeros(2, np.int32)

    with pytest.raises(ValueError, match="drew a client twice in round 0"):
        run(sampler=Twice(DATA.num_clients, 2))


def test_users_that_are_held_out_never_train_and_are_the_ones_who_are_asked():
    data = load(
        "synthetic", num_users=30, num_items=60, mean_events=9, seed=5, holdout="users",
        validation="users", share=0.2,
    )  # fmt: skip
    held = data.split.held_users
    assert held.sum() == 12
    np.testing.assert_array_equal(data.training_clients, np.flatnonzero(~held))
    settings = {"key": jax.random.key(4), "notice": lambda line: None, "evaluation": PLAN}
    result = simulation.simulate(ALGORITHM, data, rounds=2, **settings)
    assert [line["train/clients"] for line in result.metrics] == [18, 18]
    init = jax.jit(simulation.build(ALGORITHM).init, static_argnums=1)
    start = np.asarray(init(settings["key"], data.num_clients)[1].private.dense)
    has_moved = (np.asarray(result.clients.private.dense) != start).any(axis=1)
    np.testing.assert_array_equal(has_moved, ~held)
    asked = ~np.isnan(result.per_client["ndcg@10"])
    np.testing.assert_array_equal(asked, (data.split.test.items < data.num_items).any(axis=1))
    assert asked.sum() <= 6
    assert not asked[~held].any()
    with pytest.raises(UserError, match="draws from 30 clients, and 18 may train"):
        simulation.simulate(ALGORITHM, data, rounds=1, sampler=Uniform(30, 5), **settings)
