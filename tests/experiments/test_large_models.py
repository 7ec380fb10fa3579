"""How the experiment on large models orders prompts and people, against counts by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.large_models.paired import against, apart, of_people
from experiments.large_models.ranker import auc, auc_within, interval, model_free, prompts_of, told
from fedjax_rec.cli import main
from fedjax_rec.data import DATASETS
from fedjax_rec.data.obtain import is_there
from fedjax_rec.experiment import open_run
from fedjax_rec.simulation.records import write_per_client
from tests.text.test_llm_runs import words

DRAW = np.random.default_rng(0)
LABEL = DRAW.integers(0, 2, 60)
GROUP = DRAW.integers(0, 4, 60)
SCORES = DRAW.normal(size=60).round(1) + 0.5 * LABEL + GROUP


def test_pairs_of_one_group_count_and_ties_half() -> None:
    won = total = 0.0
    for one in range(60):
        for other in range(60):
            if LABEL[one] > LABEL[other] and GROUP[one] == GROUP[other]:
                total += 1
                won += (SCORES[one] > SCORES[other]) + 0.5 * (SCORES[one] == SCORES[other])
    assert auc_within(SCORES, LABEL, GROUP) == pytest.approx(won / total)
    assert auc(SCORES, LABEL, GROUP) != pytest.approx(won / total)
    assert np.isnan(auc_within(SCORES[:1], LABEL[:1], GROUP[:1]))


def test_an_interval_over_few_clusters_is_wider_than_over_prompts() -> None:
    alone = interval(auc_within, SCORES, LABEL, GROUP, np.arange(60))
    assert alone[0] < auc_within(SCORES, LABEL, GROUP) < alone[1]
    assert alone == interval(auc_within, SCORES, LABEL, GROUP, np.arange(60))
    constant = interval(lambda *_: 0.25, SCORES, LABEL, GROUP, np.zeros(60))
    assert constant == (0.25, 0.25)


def test_a_difference_is_paired_over_people_and_seeds() -> None:
    other = np.concatenate([DRAW.random((3, 200)), np.full((3, 1), np.nan)], axis=1)
    found = apart(other + 0.01, other)
    assert found["mean"] == pytest.approx(0.01)
    # people differ much more than the two methods
    assert found["interval"] == pytest.approx([0.01, 0.01])
    assert against(found).startswith("0.0100 (0.0100 to 0.0100")


def test_people_are_read_as_a_run_leaves_them(tmp_path: Path) -> None:
    values = np.array([0.25, np.nan], np.float32)
    write_per_client(tmp_path, {"ndcg@10": values, "auc": np.ones(2, np.float32)})
    np.testing.assert_array_equal(of_people(tmp_path), values)


@pytest.mark.slow
def test_what_is_told_of_a_run_is_what_it_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.large_models.ranker.model_free", lambda name: ({}, 0.5))
    own = (*words(tmp_path), "--algorithm.dense_learning_rate", "0.05", "--rounds", "2")
    assert main(["run", *own, "--output", str(tmp_path / "run")]) == 0
    said = told(tmp_path / "run")
    assert said["num_prompts"] == 7
    found = prompts_of(open_run(tmp_path / "run"), {})
    for name, statistic in (("auc", auc), ("within", auc_within)):
        scores, label, counts = (np.array(found[key]) for key in ("after", "label", "counts"))
        expected = statistic(scores, label, counts)
        assert said["methods"]["after"][name][0] == pytest.approx(expected, abs=1e-4, nan_ok=True)
    assert {len(values) for values in found.values()} == {7}
    after, label = np.array(found["after"]), np.array(found["label"])
    loss = np.mean(np.log1p(np.exp((1 - 2 * label) * after)))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert loss == pytest.approx(summary["metrics"]["test/log_loss"], abs=1e-3)
    assert np.abs(after - np.array(found["before"])).max() > 0.1
    assert set(found["counts"]) <= {0, 1, 2}
    assert set(found["person"]) <= {3, 4}


def test_counts_alone_order_the_published_prompts_as_well_as_a_large_model() -> None:
    if not is_there(DATASETS["tallrec-movie"]):
        pytest.skip("tallrec-movie is not there; name a folder with it as FEDJAX_REC_DATA")
    mean, counts = model_free("tallrec-movie")
    assert counts == pytest.approx(0.726, abs=5e-4)
    assert 0 < len(mean) < 1000
