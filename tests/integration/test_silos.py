"""Runs of silos that hold records: what they exchange, going on, and what is refused."""

import json
from typing import Any

import jax
import numpy as np
import pytest

from fedjax_rec.cli import main
from fedjax_rec.config import load_preset
from fedjax_rec.errors import UserError
from fedjax_rec.experiment import Experiment, build
from fedjax_rec.simulation import Result, evaluate
from fedjax_rec.simulation.scoring import Scorer


def words(folder: str, *more: str) -> list[str]:
    small = ["--data.name", "small", "--data.path", folder, "--evaluate.every", "3"]
    small += ["--silos.size", "60", "--silos.test", "150", "--algorithm.batch_size", "16"]
    return [*small, "--rounds", "3", "--algorithm.learning_rate", "0.02", *more]


def run(folder: str, *more: str) -> tuple[Experiment, Result]:
    experiment = build(load_preset("ml-100k/two_owners", words(folder, *more)))
    result = experiment.run(
        None,  # type: ignore[arg-type]  # nothing is written
        resume=False,
        report=lambda report: None,
        notice=lambda line: None,
    )
    return experiment, result


def test_one_owner_learns_the_same_whatever_it_gives_away(rated_folder: str) -> None:
    metrics = [
        run(rated_folder, "--silos.number", "1", "--silos.exchange", exchange)[1].summary["metrics"]
        for exchange in ("updates", "nothing", "records")
    ]
    for other in metrics[1:]:
        assert other == pytest.approx(metrics[0], rel=1e-5)


def test_who_gives_nothing_has_a_model_of_its_own_and_pooled_records_have_one(
    rated_folder: str,
) -> None:
    alone, result = run(rated_folder, "--silos.exchange", "nothing")
    assert alone.data.num_clients == 2
    assert not jax.tree.leaves(result.state.shared)
    moved = [np.asarray(leaf) for leaf in jax.tree.leaves(result.clients.private)]
    assert any(np.abs(leaf[0] - leaf[1]).max() > 1e-3 for leaf in moved)
    assert result.summary["communication"]["total_up"] == 0
    pooled, result = run(rated_folder, "--silos.exchange", "records")
    assert pooled.data.num_clients == 1
    assert pooled.data.num_items == alone.data.num_items
    assert result.summary["protocol"] == {
        "task": "label",
        "holdout": "common_records",
        "validation": "none",
        "time_ties": "hash",
        "split_seed": 0,
        "negatives_exclude": "train",
        "history": "train",
        "selection": "last",
    }


@pytest.fixture
def majority_preset(tmp_path: Any) -> str:
    path = tmp_path / "majority.toml"
    path.write_text(
        '[data]\nname = "small"\n[algorithm]\nname = "majority"\n[evaluate]\ntask = "label"\n'
        '[split]\nholdout = "common_records"\nvalidation = "none"\n'
        "[silos]\nnumber = 2\nsize = 60\ntest = 150\n"
    )
    return str(path)


def test_the_majority_class_is_as_accurate_as_it_is_frequent(
    rated_folder: str, majority_preset: str
) -> None:
    experiment = build(load_preset(majority_preset, ["--data.path", rated_folder, "--rounds", "1"]))
    result = experiment.run(
        None,  # type: ignore[arg-type]
        resume=False,
        report=lambda report: None,
        notice=lambda line: None,
    )
    split = experiment.data.split
    assert split.test.values is not None
    labels = split.test.values[split.test.items < experiment.data.num_items]
    share = (split.train.values.sum() + 1) / (len(split.train.values) + 2)
    expected = {
        "test/accuracy": np.mean(labels == (share > 0.5)),
        "test/log_loss": -np.mean(np.log(np.where(labels == 1, share, 1 - share))),
        "test/auc": 0.5,  # everybody has the same score
    }
    assert result.summary["metrics"] == pytest.approx(expected, rel=1e-5)


def test_a_run_of_silos_goes_on_to_the_bit(rated_folder: str, tmp_path: Any) -> None:
    def lines(name: str, *rounds: str) -> list[dict[str, Any]]:
        for count in rounds:
            # the default number of devices: two owners, each where it lives
            args = words(rated_folder, "--rounds", count, "--evaluate.every", "1")
            assert main(["run", "ml-100k/two_owners", "--output", str(tmp_path / name), *args]) == 0
        text = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        return [
            {key: value for key, value in json.loads(line).items() if key != "seconds"}
            for line in text
        ]

    assert lines("in two", "2", "4") == lines("at once", "4")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--silos.number", "0"], "silos: there are none; set silos.number"),
        (["--split.holdout", "ratio"], "set split.holdout to common_records or own_records"),
        (["--evaluate.task", "ranking"], "records have labels; set evaluate.task to label"),
        (["--split.validation", "hash"], "choose from: records, none"),
        (["--silos.test", "900"], "more than its 400 ratings"),
        (["--silos.alpha", "-1"], "silos.alpha: expected at least 0"),
    ],
)
def test_what_does_not_go_together_is_told_in_one_line(
    rated_folder: str, more: list[str], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        build(load_preset("ml-100k/two_owners", words(rated_folder, *more)))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_algorithms_that_draw_negatives_are_refused_records(
    rated_folder: str, majority_preset: str
) -> None:
    more = ["--data.path", rated_folder, "--algorithm.name", "fedmf"]
    with pytest.raises(UserError, match="fedmf: draws negatives among items"):
        build(load_preset(majority_preset, more))


def test_algorithms_of_records_need_silos(tmp_path: Any, rated_folder: str) -> None:
    path = tmp_path / "users.toml"
    path.write_text('[data]\nname = "synthetic"\n[algorithm]\nname = "fedavg_records"\n')
    with pytest.raises(UserError, match=r"reads features of records.*set silos\.number"):
        build(load_preset(str(path)))
    path.write_text(
        '[data]\nname = "synthetic"\n[algorithm]\nname = "majority"\n'
        '[split]\nholdout = "own_records"\nvalidation = "none"\n'
    )
    with pytest.raises(UserError, match=r"is of silos that hold records; set silos\.number"):
        build(load_preset(str(path)))


def test_what_was_asked_of_the_last_round_is_not_asked_again(
    rated_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[bool] = []
    ask = Scorer.evaluations

    def counted(self: Scorer, *args: Any, is_final: bool = True) -> Any:
        calls.append(is_final)
        return ask(self, *args, is_final=is_final)

    monkeypatch.setattr(Scorer, "evaluations", counted)
    experiment, result = run(rated_folder, "--evaluate.every", "2")
    assert calls == [False, False]
    again = evaluate(experiment.algorithm, experiment.data, result, experiment.evaluation)["test"]
    found = result.summary["metrics"]
    assert {f"test/{name}": value for name, value in again.metrics.items()} == pytest.approx(found)
    np.testing.assert_allclose(result.per_client["log_loss"], again.per_client["log_loss"])
    calls.clear()
    run(rated_folder, "--evaluate.every", "2", "--evaluate.training_clients", "1")
    assert calls == [False, False, True], "fewer people were asked while the run trained"
