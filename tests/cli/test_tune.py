"""`run --tune`: validation chooses rates and strengths, and the run takes them."""

import json
import tomllib

import pytest

from fedjax_rec.cli import main
from fedjax_rec.cli.telling import Told
from fedjax_rec.cli.tune import Tuning

SMALL = ["synthetic/fedmf", "--data.num_users", "60", "--data.num_items", "50", "--rounds", "4"]
SMALL += ["--data.mean_events", "10", "--algorithm.dim", "4", "--evaluate.every", "2"]
KEYS = ("user_learning_rate", "item_learning_rate")


def tune(output, *words, preset=SMALL):
    return main(["run", *preset, "--output", str(output), *words])


def trials_of(output):
    """What each trial set and reached, from its own folder."""
    found = []
    for path in sorted((output / "tune").rglob("summary.json")):
        settings = tomllib.loads((path.parent / "config.toml").read_text())["algorithm"]
        summary = json.loads(path.read_text())
        found.append((tuple(settings[key] for key in KEYS), summary["metrics"]))
    return found


def refusal(capsys, tmp_path, *words, preset=SMALL):
    assert tune(tmp_path / "none", *words, preset=preset) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "none" / "tune").exists()
    return captured.err


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    output = tmp_path_factory.mktemp("tuned") / "run"
    assert tune(output, "--tune.trials", "4") == 0
    return output


def test_the_run_takes_what_validation_chose(tuned):
    trials = trials_of(tuned)
    assert len({settings for settings, _ in trials}) == 4
    assert (5.0, 50.0) in [settings for settings, _ in trials], "the preset's own is a trial"
    settings, metrics = max(trials, key=lambda trial: trial[1]["valid/ndcg@10"])
    config = tomllib.loads((tuned / "config.toml").read_text())
    assert tuple(config["algorithm"][key] for key in KEYS) == settings
    assert json.loads((tuned / "summary.json").read_text())["metrics"] == metrics
    tested = [trial[1]["test/ndcg@10"] for trial in trials]
    assert len(set(tested)) > 1


def test_the_choice_is_recorded_with_all_that_was_tried(tuned):
    record = json.loads((tuned / "tune" / "chosen.json").read_text())
    assert record["metric"] == "valid/ndcg@10"
    values = sorted(trial["valid/ndcg@10"] for trial in record["trials"])
    assert values == sorted(metrics["valid/ndcg@10"] for _, metrics in trials_of(tuned))


def test_a_finished_run_is_shown_and_nothing_is_searched_again(tuned, capsys, monkeypatch):
    monkeypatch.setattr(Tuning, "_runs", None)
    assert tune(tuned, "--tune.trials", "4") == 0
    shown = capsys.readouterr().out
    assert "tune: chosen earlier: algorithm." in shown
    assert "finished earlier" in shown


def test_another_search_does_not_go_into_the_same_folder(tuned, capsys):
    assert tune(tuned, "--tune.trials", "5") == 2
    assert "holds a search for synthetic/fedmf" in capsys.readouterr().err


def test_a_search_that_was_stopped_goes_on_and_comes_to_the_same(tuned, tmp_path, monkeypatch):
    with monkeypatch.context() as stopped:
        stopped.setattr(Tuning, "_choose", _press)
        assert tune(tmp_path, "--tune.trials", "4", "--tune.minutes", "0.0001") == 130
    first = {path: path.stat().st_mtime_ns for path in (tmp_path / "tune").rglob("summary.json")}
    assert len(first) == 1, "no trial is started after the minutes"
    assert tune(tmp_path, "--tune.trials", "4") == 0
    assert all(path.stat().st_mtime_ns == time for path, time in first.items())
    assert trials_of(tmp_path) == trials_of(tuned)
    for name in ("tune/chosen.json",):
        assert (tmp_path / name).read_text() == (tuned / name).read_text()


def _press(*arguments):
    raise KeyboardInterrupt


def test_it_may_start_over(tmp_path):
    words = ("--algorithm.user_learning_rate", "2.0", "--tune.trials", "2")
    assert tune(tmp_path, *words) == 0
    assert {settings[0] for settings, _ in trials_of(tmp_path)} == {2.0}, "what is given stays"
    assert tune(tmp_path, *words[:3], "3", "--no-resume") == 0
    assert len(trials_of(tmp_path)) == 3


def test_as_json_standard_output_is_the_summary_alone(tmp_path, capsys):
    assert tune(tmp_path, "--tune.trials", "2", "--json") == 0
    captured = capsys.readouterr()
    assert "test/ndcg@10" in json.loads(captured.out)["metrics"]
    assert "tune: 2 trials choose" in captured.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--tune", "--privacy.noise_multiplier", "1.0"), "no noise covers"),
        (
            ("--tune", "--algorithm.user_learning_rate", "2", "--algorithm.item_learning_rate=3"),
            "fedmf has no rate or strength that is left open",
        ),
        (("--tune", "--split.validation", "none"), "no validation items to choose by"),
        (("--tune", "--tune.trials", "1"), "--tune.trials of at least 2"),
        (("--tune.trials", "three"), "tune.trials"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_line(words, said, tmp_path, capsys):
    assert said in refusal(capsys, tmp_path, *words)


def test_a_baseline_without_rates_has_nothing_to_tune(tmp_path, capsys):
    said = refusal(capsys, tmp_path, "--tune", preset=["ml-100k/popularity"])
    assert "popularity has no rate or strength" in said


def test_rates_are_drawn_by_their_logarithm_around_the_presets_own(tmp_path):
    told = Told(quiet=True, json=False)
    tuning = Tuning("ml-100k/pfedrec", (), tmp_path, 5, 1.0, ())
    axes = {axis.key: axis for axis in tuning._axes(told)}
    assert list(axes) == ["algorithm.learning_rate", "algorithm.item_learning_rate"]
    assert (
        axes["algorithm.item_learning_rate"].low,
        axes["algorithm.item_learning_rate"].high,
    ) == (
        "12.5",
        "800.0",
    )
    assert not any(axis.is_whole for axis in axes.values())
    adam = Tuning("ml-100k/fcf", (), tmp_path, 5, 1.0, ())
    assert [axis.key for axis in adam._axes(told)] == [
        "algorithm.alpha",
        "algorithm.regularization",
        "server.learning_rate",
    ]
