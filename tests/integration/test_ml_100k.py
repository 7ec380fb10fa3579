"""The main job on real data: what the presets reach on MovieLens-100K."""

import pytest

from fedjax_rec.config import load_preset
from fedjax_rec.data.reading import print_notice
from fedjax_rec.experiment import build
from fedjax_rec.simulation import EvaluationPlan, evaluate


def run(preset, folder):
    experiment = build(load_preset(preset, ["--split.ties", "file_order"]))
    result = experiment.run(folder, resume=False, report=lambda report: None, notice=print_notice)
    return experiment, result


def test_popularity_is_where_it_is_known_to_be(ml_100k_folder, tmp_path):
    metrics = run("ml-100k/popularity", tmp_path)[1].summary["metrics"]
    assert metrics["test/hit_rate@10"] == pytest.approx(0.086, abs=0.005)
    assert metrics["test/ndcg@10"] == pytest.approx(0.044, abs=0.005)


@pytest.mark.parametrize(
    ("name", "hit_rate", "ndcg"), [("ease", 0.141, 0.073), ("item_knn", 0.110, 0.061)]
)
def test_pooled_neighbours_are_well_above_popularity(
    ml_100k_folder, tmp_path, name, hit_rate, ndcg
):
    """EASE's figures were found by another implementation with the same order of ties."""
    metrics = run(f"ml-100k/{name}", tmp_path)[1].summary["metrics"]
    assert metrics["test/hit_rate@10"] == pytest.approx(hit_rate, abs=0.003)
    assert metrics["test/ndcg@10"] == pytest.approx(ndcg, abs=0.002)


@pytest.mark.slow
def test_fedmf_learns_more_than_popularity(ml_100k_folder, tmp_path):
    experiment, result = run("ml-100k/fedmf", tmp_path)
    metrics = result.summary["metrics"]
    assert metrics["test/ndcg@10"] >= 0.058
    assert metrics["test/hit_rate@10"] >= 0.115
    plan = EvaluationPlan(candidates="uni99")
    sampled = evaluate(experiment.algorithm, experiment.data, result, plan)
    assert sampled["test"].metrics["hit_rate@10"] >= 0.61


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bpr_mf", "gmf", "ials"])
def test_pooled_factors_learn_more_than_popularity(ml_100k_folder, tmp_path, name):
    metrics = run(f"ml-100k/{name}", tmp_path)[1].summary["metrics"]
    assert metrics["test/ndcg@10"] >= 0.055
