"""`compare` on folders made by hand: rows, their figures to the last digit, marks and refusals."""

import csv
import io
import json
import re
import statistics

import numpy as np
import pytest
from scipy import stats

from fedjax_rec.cli import main
from fedjax_rec.evaluation.metrics import METRICS, SMALLER_IS_BETTER
from fedjax_rec.reporting.comparison import ERRORS, RANKED

PEOPLE = 40
PROTOCOL = {
    "task": "ranking",
    "candidates": "full",
    "holdout": "leave_one_out",
    "selection": "last",
}
RNG = np.random.default_rng(8)
TASTE = RNG.uniform(0, 0.4, PEOPLE)


def values_of(level, seed):
    rng = np.random.default_rng([int(1000 * level), seed])
    values = (TASTE + level + rng.normal(0, 0.02, PEOPLE) + rng.normal(0, 0.004)).astype(np.float32)
    values[5] = np.nan
    return values


def run_folder(path, name="fedmf", level=0.2, seed=0, settings="", keep=True, **more):
    """A finished run whose people have this metric, about."""
    path.mkdir(parents=True)
    asked = f'seed = {seed}\nrounds = 9\n[checkpoint]\nevery = {seed + 1}\n[data]\nname = "mine"\n'
    (path / "config.toml").write_text(f'{asked}[algorithm]\nname = "{name}"\n{settings}\n')
    values = values_of(level, seed)
    mean = float(np.nanmean(values, dtype=np.float64))
    metrics = {f"test/{one}@10": mean for one in ("ndcg", "mrr", "map", "hit_rate", "recall")}
    metrics |= {"valid/ndcg@10": mean + 0.125, "test/coverage@10": 0.5, "test/auc": None}
    summary = {
        "metrics": metrics,
        "protocol": PROTOCOL | more.pop("protocol", {}),
        "data": {"name": "mine", "sha256": more.pop("sha256", "a") * 64},
        "communication": {"bytes_up_per_client_round": 215_296.0},
        "timing": {"train_seconds": 61.5},
        "rounds": 9,
        "reported_round": 6 + seed,
    } | more
    (path / "summary.json").write_text(json.dumps(summary))
    if keep:
        arrays = {key: values for key in metrics if key.startswith("test/") and "cov" not in key}
        np.savez(path / "per_client.npz", **arrays)
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three seeds of two rates, five of another method, one of a third."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in range(3):
        run_folder(folder / f"fedmf/slow-{seed}", level=0.15, seed=seed, settings="rate = 1.0")
        run_folder(folder / f"fedmf/fast-{seed}", level=0.2, seed=seed, settings="rate = 50.0")
    for seed in range(5):
        run_folder(folder / f"near-{seed}", "near", 0.2001, seed)
    run_folder(folder / "single", "popularity", 0.1)
    return folder


def told(capsys, *words, code=0):
    assert main(["compare", *map(str, words)]) == code
    return capsys.readouterr()


def as_json(capsys, *words):
    return json.loads(told(capsys, *words, "--format", "json").out)


def refused(capsys, *words):
    text = told(capsys, *words, code=2).err
    assert len(text.splitlines()) == 1
    return text


# ------------------------------------------------------------------------ rows


def test_runs_are_grouped_by_all_but_the_seed(runs, capsys):
    rows = as_json(capsys, runs)["rows"]
    assert [(row["name"], row["seeds"], row["settings"]) for row in rows] == [
        ("fedmf", [0, 1, 2], {"algorithm.rate": 50.0}),
        ("fedmf", [0, 1, 2], {"algorithm.rate": 1.0}),
        ("near", [0, 1, 2, 3, 4], {}),
        ("popularity", [0], {}),
    ]
    assert all(row["data"] == "mine (aaaaaaaa)" and row["protocol"] == PROTOCOL for row in rows)


def test_patterns_and_folders_of_runs_name_each_run_once(runs, capsys):
    rows = as_json(capsys, runs / "near-*", runs / "fedmf", runs / "fedmf/fast-1", runs / "near-0")
    assert [row["name"] for row in rows["rows"]] == ["near", "fedmf", "fedmf"]
    assert rows == as_json(capsys, runs / "near-[0-4]", runs / "fedmf")


def test_figures_agree_with_the_summaries_to_the_last_digit(runs, capsys):
    found = as_json(capsys, runs / "near-*")["rows"][0]["metrics"]
    summaries = [json.loads((runs / f"near-{n}/summary.json").read_text()) for n in range(5)]
    for key in ("test/ndcg@10", "valid/ndcg@10", "test/coverage@10"):
        stored = [summary["metrics"][key] for summary in summaries]
        assert found[key]["mean"] == statistics.fmean(stored)
        assert found[key]["sd_seeds"] == statistics.stdev(stored)
    people = np.mean([values_of(0.2001, seed).astype(float) for seed in range(5)], axis=0)
    error = stats.sem(people[np.isfinite(people)])
    assert found["test/ndcg@10"]["se_people"] == pytest.approx(error, rel=1e-12)
    assert found["valid/ndcg@10"]["se_people"] is found["test/coverage@10"]["se_people"] is None
    assert "test/auc" not in found
    single = as_json(capsys, runs / "single")["rows"][0]["metrics"]["test/ndcg@10"]
    stored = json.loads((runs / "single/summary.json").read_text())["metrics"]["test/ndcg@10"]
    assert (single["mean"], single["sd_seeds"]) == (stored, None)


def test_tests_agree_with_scipy_on_the_stored_values(runs, capsys):
    found = as_json(capsys, runs)
    test = found["tests"]["test/ndcg@10"]
    stored = {
        row: np.stack([np.load(f"{run}/per_client.npz")["test/ndcg@10"] for run in one["runs"]])
        for row, one in enumerate(found["rows"])
    }
    best = max(range(3), key=lambda row: np.nanmean(stored[row]))
    assert test["best"] == best
    p = {}
    for row in {0, 1, 2} - {best}:
        a, b = (np.delete(stored[n].astype(float), 5, axis=1) for n in (best, row))
        parts = [stats.sem(a.mean(0) - b.mean(0)), stats.sem(a.mean(1)), stats.sem(b.mean(1))]
        z = (a.mean() - b.mean()) / np.linalg.norm(parts)
        p[row] = 2 * stats.norm.sf(abs(z))
    pairs = {pair["row"]: pair for pair in test["pairs"]}
    assert pairs.keys() == p.keys()  # popularity has one seed
    less, more = sorted(p.values())
    for row, pair in pairs.items():
        assert pair["p"] == pytest.approx(p[row], rel=1e-6)
        corrected = 2 * less if p[row] == less else max(2 * less, more)
        assert pair["p_corrected"] == pytest.approx(min(corrected, 1), rel=1e-6)


# ---------------------------------------------------------------------- formats


def test_the_best_and_what_is_not_told_from_it_are_marked_in_every_format(runs, capsys):
    words = (runs, "--metrics", "ndcg@10", "--sort", "ndcg@10")
    rows = list(csv.DictReader(io.StringIO(told(capsys, *words, "--format", "csv").out)))
    assert [row["test/ndcg@10 mark"] for row in rows] == ["*", "~", "", "?"]
    means = [row["metrics"]["test/ndcg@10"]["mean"] for row in as_json(capsys, *words)["rows"]]
    assert [float(row["test/ndcg@10 mean"]) for row in rows] == means
    lines = told(capsys, *words, "--format", "markdown").out.splitlines()[2:6]
    assert [line.count("**") for line in lines] == [2, 0, 0, 0]
    assert ["\\~" in line for line in lines] == [False, True, False, False]
    latex = told(capsys, *words, "--format", "latex").out
    body = [line for line in latex.splitlines() if line.endswith(r"\\")][1:]
    assert ["mathbf" in line for line in body] == [True, False, False, False]
    assert [r"\sim" in line for line in body] == [False, True, False, False]
    table = told(capsys, *words).out
    for mean, line, tex in zip(means, lines, body, strict=True):
        assert all(f"{mean:.4f}" in text for text in (line, tex, table))


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_number_is_cut_at_any_width(runs, capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    text = told(capsys, runs).out
    assert "…" not in text
    assert text.count("± deviation over seeds") == 1
    for row in as_json(capsys, runs)["rows"]:
        for figure in row["metrics"].values():
            shown = f"{figure['mean']:.4f}"
            if figure["sd_seeds"] is not None:
                shown += f" ±{figure['sd_seeds']:.4f}"
            assert shown in text or figure == row["metrics"]["valid/ndcg@10"]
    if width >= 80:
        assert max(map(len, (line for line in text.splitlines() if "│" in line))) <= width


def test_what_is_equal_by_definition_is_printed_once(runs, capsys):
    text = told(capsys, runs, "--metrics", "mrr@10,map@10,hit_rate@10,recall@10").out
    head = " ".join(re.findall("┃ method .*", text))
    assert "MAP" not in head
    assert "recall" not in head
    assert "MAP@10 equals MRR@10: one held-out item" in text
    assert "recall@10 equals HR@10: one held-out item" in text


def test_where_more_is_held_out_nothing_is_equal_by_definition(tmp_path, capsys):
    run_folder(tmp_path / "a", protocol={"holdout": "temporal"})
    text = told(capsys, tmp_path, "--metrics", "mrr@10,map@10").out
    assert "MAP@10" in text
    assert "equals" not in text


def test_the_largest_common_cutoff_is_shown_where_ten_is_missing(tmp_path, capsys):
    folder = run_folder(tmp_path / "a")
    text = (folder / "summary.json").read_text().replace("@10", "@20")
    (folder / "summary.json").write_text(text)
    assert "NDCG@20" in told(capsys, folder).out


# --------------------------------------------------------------------- refusals


def test_other_data_or_protocols_are_refused_unless_forced(tmp_path, capsys):
    run_folder(tmp_path / "a")
    run_folder(tmp_path / "b", "near", protocol={"candidates": "uni99"}, sha256="b")
    told_why = refused(capsys, tmp_path)
    assert "candidates (full, uni99)" in told_why
    assert "mine (aaaaaaaa), mine (bbbbbbbb)" in told_why
    assert "--force" in told_why
    captured = told(capsys, tmp_path, "--force")
    assert captured.err.count("warning: rows are not comparable") == 2
    assert "B: uni99" in captured.out
    assert "*" not in captured.out
    assert as_json(capsys, tmp_path, "--force")["tests"] == {}


def test_which_round_is_reported_is_no_other_protocol_unless_test_chose_it(tmp_path, capsys):
    run_folder(tmp_path / "a")
    run_folder(tmp_path / "b", "near", protocol={"selection": "best on validation"})
    assert told(capsys, tmp_path).err == ""
    run_folder(tmp_path / "c", "far", protocol={"selection": "best on test, as released"})
    assert "selection" in refused(capsys, tmp_path)
    assert "ROUND CHOSEN ON TEST" in told(capsys, tmp_path, "--force").out


def test_private_runs_are_labelled_and_not_tested_without_their_peoples_values(tmp_path, capsys):
    valid = {"claims": "valid", "epsilon": 7.9991, "delta": 1e-5, "noise_multiplier": 2.0}
    noise = {"claims": "none", "noise_multiplier": 2.0, "reasons": ["why"]}
    for seed in range(2):
        run_folder(tmp_path / f"a-{seed}", seed=seed)
        run_folder(tmp_path / f"b-{seed}", "near", 0.1, seed, keep=False, privacy=valid)
        run_folder(tmp_path / f"c-{seed}", "far", 0.1, seed, privacy=noise)
    captured = told(capsys, tmp_path, "--format", "csv", "--metrics", "ndcg@10")
    rows = list(csv.DictReader(io.StringIO(captured.out)))
    labels = ["", "private: epsilon, delta 8, 1e-05", "NOISE, NO GUARANTEE"]
    assert [row["labels"] for row in rows] == labels
    assert [row["test/ndcg@10 mark"] for row in rows] == ["*", "?", ""]
    assert "without a stated guarantee" in captured.err


def test_one_run_in_two_folders_is_no_second_seed(tmp_path, capsys):
    run_folder(tmp_path / "a")
    run_folder(tmp_path / "b")
    assert "hold the same run; name one of them" in refused(capsys, tmp_path)


def test_a_run_that_is_not_finished_is_told(tmp_path, capsys):
    folder = run_folder(tmp_path / "a")
    (folder / "summary.json").unlink()
    assert "not finished (stopped after round 0)" in refused(capsys, folder)


def test_requests_that_cannot_be_met_are_one_line(runs, tmp_path, capsys):
    assert "did you mean 'ndcg@10'" in refused(capsys, runs, "--metrics", "ndgc@10")
    assert "no run has measured 'x'" in refused(capsys, runs, "--sort", "x")
    assert "no folder fits" in refused(capsys, tmp_path / "none-*")
    assert "not the folder of a run" in refused(capsys, tmp_path)
    (runs / "single/per_client.npz").rename(tmp_path / "kept.npz")
    (runs / "single/per_client.npz").write_text("broken")
    try:
        assert "per_client.npz: cannot be read" in refused(capsys, runs / "single")
    finally:
        (tmp_path / "kept.npz").replace(runs / "single/per_client.npz")


# ----------------------------------------------------------------------- errors


def test_errors_are_the_better_the_smaller_as_everywhere():
    assert set(ERRORS) == SMALLER_IS_BETTER
    assert {*METRICS, "auc", *ERRORS, "accuracy"} == set(RANKED)


def test_of_errors_the_smaller_is_the_best_and_roots_are_tested(tmp_path, capsys):
    rng = np.random.default_rng(2)
    error = rng.uniform(0.2, 2, PEOPLE)
    for name, factor in (("good", 0.9), ("bad", 1.1)):
        for seed in range(2):
            folder = run_folder(tmp_path / f"{name}-{seed}", name, seed=seed)
            values = (error * factor * (1 + 1e-3 * seed)).astype(np.float32)
            rmse = float(np.sqrt(np.mean(values.astype(float) ** 2)))
            summary = json.loads((folder / "summary.json").read_text())
            summary["metrics"] = {"test/rmse": rmse, "test/mae": 0.1}
            (folder / "summary.json").write_text(json.dumps(summary))
            np.savez(folder / "per_client.npz", **{"test/rmse": values, "test/mae": values})
    found = as_json(capsys, tmp_path / "good-*", tmp_path / "bad-*", "--sort", "rmse")
    assert [row["name"] for row in found["rows"]] == ["good", "bad"]
    (pair,) = found["tests"]["test/rmse"]["pairs"]
    assert pair["p"] < 1e-3
    rows = [row["metrics"] for row in found["rows"]]
    jackknife = [np.sqrt(np.mean(np.delete(0.9 * error, n) ** 2)) for n in range(PEOPLE)]
    expected = np.sqrt((PEOPLE - 1) ** 2 / PEOPLE * np.var(jackknife, ddof=1))
    assert rows[0]["test/rmse"]["se_people"] == pytest.approx(expected, rel=0.05)
    # people with more pairs count more: the mean over people is not the metric
    assert rows[0]["test/mae"]["se_people"] is None
    assert found["tests"]["test/mae"]["pairs"] == []
