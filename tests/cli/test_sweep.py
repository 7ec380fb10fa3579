"""`sweep` from end to end: folders, one compilation, going on, and who chooses."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedjax_rec.cli import main
from fedjax_rec.experiment import Experiment
from fedjax_rec.simulation import programs

PRESET = """
rounds = 2

[data]
name = "synthetic"
num_users = 30
num_items = 40
mean_events = 8.0

[algorithm]
name = "{}"

[evaluate]
every = 1
at_k = [5, 10]
"""


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets")
    (folder / "popularity.toml").write_text(PRESET.format("popularity"))
    (folder / "fedmf.toml").write_text(PRESET.format("fedmf").replace("[eval", "dim = 4\n[eval"))
    return folder


@pytest.fixture
def sweep(presets, tmp_path, monkeypatch, capsys):
    """Sweeps in a folder `d`; exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words):
        code = main(["sweep", *map(str, words)])
        return code, *capsys.readouterr()

    return run


def stamps(folder):
    """Every file of the runs below a folder, with its time."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path): path.stat().st_mtime_ns for path in files if path.name != "sweep.json"}


def summary(folder):
    return json.loads((Path(folder) / "summary.json").read_text())


@pytest.fixture
def compiled(monkeypatch):
    """Names of the programs of rounds that were compiled."""
    found = []
    original = programs.compile_program

    def watched(lowered):
        found.append(lowered)
        return original(lowered)

    monkeypatch.setattr(programs, "compile_program", watched)
    programs.clear_programs()
    return found


def test_rates_and_seeds_share_one_program_and_validation_chooses(sweep, presets, compiled):
    words = (presets / "fedmf.toml", "--algorithm.item_learning_rate", "0.5,50", "--seeds", "0..1")
    code, out, _ = sweep(*words, "--output", "d")
    assert code == 0
    assert len(compiled) == 1
    cells = [
        f"d/fedmf/item_learning_rate={rate}/seed-{s}" for rate in ("0.5", "50") for s in (0, 1)
    ]
    assert sorted(str(path.parent) for path in Path("d").rglob("summary.json")) == cells
    assert not Path("d/summary.json").exists()
    assert "4 of 4 runs are finished" in out
    means = {}
    for rate in ("0.5", "50"):
        folders = [cell for cell in cells if f"={rate}/" in cell]
        means[rate] = sum(summary(one)["metrics"]["valid/ndcg@10"] for one in folders) / 2
    record = json.loads(Path("d/sweep.json").read_text())["points"]
    chosen = [one["settings"]["algorithm.item_learning_rate"] for one in record if one["is_chosen"]]
    assert chosen == [max(means, key=means.get)]
    (line,) = [line for line in out.splitlines() if "chosen" in line and "│" in line]
    assert f"item_learning_rate {chosen[0]}" in line
    assert f"{means[chosen[0]]:.4f}" in line
    # a cell is an ordinary run, and compare takes the folder
    assert main(["run", str(presets / "fedmf.toml"), "--seed", "1", "--output", cells[1]]) == 2
    overrides = ["--algorithm.item_learning_rate", "50", "--seed", "1"]
    assert main(["run", str(presets / "fedmf.toml"), *overrides, "--output", cells[3]]) == 0
    assert main(["compare", "d"]) == 0


def test_a_sweep_that_was_cut_off_redoes_nothing_finished(sweep, presets, monkeypatch):
    words = (presets / "popularity.toml", "--rounds", "1", "--seeds", "0..3", "--output", "d")
    original, started = Experiment.run, []

    def cut_off(self, folder, **options):
        started.append(folder.name)
        if len(started) == 3:
            raise RuntimeError("killed")
        return original(self, folder, **options)

    monkeypatch.setattr(Experiment, "run", cut_off)
    with pytest.raises(RuntimeError):
        sweep(*words)
    before = stamps("d")
    code, _, _ = sweep(*words)
    assert code == 0
    assert started == ["seed-0", "seed-1", "seed-2", "seed-2", "seed-3"]
    after = stamps("d")
    finished = [name for name in before if "seed-0" in name or "seed-1" in name]
    assert [before[name] for name in finished] == [after[name] for name in finished]
    assert (sweep(*words)[0], len(started)) == (0, 5)
    assert stamps("d") == after
    # more seeds and rounds are more cells and longer runs
    assert sweep(*words[:-4], "--seeds", "0..4", "--output", "d")[0] == 0
    assert started[5:] == ["seed-4"]


def test_methods_are_compared_at_the_end(sweep, presets):
    both = (presets / "popularity.toml", presets / "fedmf.toml")
    code, out, _ = sweep(*both, "--seeds", "0..1", "--output", "d")
    assert code == 0
    assert "chosen by validation" not in out  # a point each
    assert "popularity" in out
    assert "* best mean" in out


def test_random_search_tries_some_of_a_range(sweep, presets):
    words = (presets / "popularity.toml", "--rounds", "1..9", "--search", "random", "--trials", "2")
    code, out, _ = sweep(*words, "--output", "d")
    assert code == 0
    assert "2 of 2 runs are finished" in out
    record = json.loads(Path("d/sweep.json").read_text())["points"]
    rounds = [int(one["settings"]["rounds"]) for one in record]
    assert [summary(one["runs"][0])["rounds"] for one in record] == rounds
    assert len({*rounds}) == 2


def test_a_search_follows_from_what_earlier_points_gave_and_goes_on_alike(sweep, presets):
    words = (presets / "fedmf.toml", "--algorithm.item_learning_rate", "1e-6..500.0")
    words = (*words, "--rounds", "1", "--seeds", "0..1", "--search", "tpe")

    def rates():
        points = json.loads(Path("d/sweep.json").read_text())["points"]
        return [float(one["settings"]["algorithm.item_learning_rate"]) for one in points]

    code, out, _ = sweep(*words, "--trials", "9", "--output", "d")
    assert code == 0
    assert "18 of 18 runs are finished" in out
    nine, before = rates(), stamps("d")
    assert len(set(nine)) == 9
    code, out, _ = sweep(*words, "--trials", "11", "--output", "d")
    assert code == 0
    assert rates()[:9] == nine
    after = stamps("d")
    assert {name: after[name] for name in before} == before
    # what the estimator is told is what validation says: with other values it asks for others
    folder = Path(json.loads(Path("d/sweep.json").read_text())["points"][0]["runs"][0])
    changed = summary(folder)
    changed["metrics"]["valid/ndcg@10"] += 5.0
    (folder / "summary.json").write_text(json.dumps(changed))
    assert sweep(*words, "--trials", "11", "--output", "d")[0] == 0
    assert rates()[:8] == nine[:8]
    assert rates()[8:] != nine[8:]


def test_a_budget_starts_no_more_runs(sweep, presets):
    words = (presets / "popularity.toml", "--seeds", "0..1", "--output", "d")
    code, out, _ = sweep(*words, "--budget", "0s")
    assert code == 0
    assert "budget: 0s are over; to go on: fedjax-rec sweep" in out
    assert "no point has all its seeds" in out
    assert "0 of 2 runs are finished" in out


def test_ctrl_c_saves_and_says_how_to_go_on(sweep, presets, monkeypatch):
    original = Experiment.run

    def interrupt(self, folder, **options):
        options["report"] = lambda report: signal.raise_signal(signal.SIGINT)
        return original(self, folder, **options)

    words = (presets / "popularity.toml", "--seeds", "0", "--output", "d")
    with monkeypatch.context() as patch:
        patch.setattr(Experiment, "run", interrupt)
        code, out, _ = sweep(*words)
    assert code == 130
    assert "stopped after round 1" in out
    assert "to go on: fedjax-rec sweep" in out
    code, _, err = sweep(*words)
    assert code == 0
    assert "going on from round 1 of 2" in err


def test_a_run_that_diverges_is_left_out_and_not_tried_again(sweep, presets):
    words = (presets / "fedmf.toml", "--algorithm.item_learning_rate", "50,1e30", "--output", "d")
    code, out, err = sweep(*words)
    assert code == 0
    assert "all clients diverged" in err
    assert "1 of 2 runs are finished" in out
    before = stamps("d")
    assert sweep(*words)[0] == 0
    assert stamps("d") == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("", "name at least one preset"),
        ("popularity.toml", "--output DIR"),
        ("popularity.toml --output d --seed 3", "a sweep takes --seeds"),
        ("popularity.toml --output d --seeds 4..0", "seeds: expected such as 0..4"),
        ("popularity.toml --output d --trials 3", "belongs to --search random"),
        ("fedmf.toml --output d --search random", "needs a number"),
        ("fedmf.toml --output d --search random --trials 3", "no key has several values"),
        ("fedmf.toml --output d --search tpe", "search tpe needs a number"),
        ("fedmf.toml --output d --metric test/ndcg@10", "is not of validation items"),
        ("fedmf.toml --output d --budget soon", "budget: expected a time"),
        ("fedmf.toml --output d --algorithm.dmi 4,8", "did you mean 'dim'"),
        ("fedmf.toml --output d --rounds 3,none", "rounds: expected an integer"),
    ],
)
def test_a_mistake_is_told_before_anything_is_run(sweep, presets, words, told):
    placed = [str(presets / word) if word.endswith(".toml") else word for word in words.split()]
    code, _, err = sweep(*placed)
    assert code == 2
    assert told in err
    assert len(err.splitlines()) == 1
    assert not Path("d").exists()


@pytest.mark.slow
def test_two_kills_at_any_moment_change_nothing(presets, tmp_path):
    words = [sys.executable, "-m", "fedjax_rec", "sweep", str(presets / "fedmf.toml")]
    words += ["--algorithm.item_learning_rate", "5,50", "--seeds", "0..2", "--rounds", "6"]
    environment = os.environ | {"FEDJAX_REC_CPU": "off"}

    def start(folder):
        return subprocess.Popen([*words, "--output", folder], cwd=tmp_path, env=environment)

    assert start("whole").wait() == 0
    for num_finished in (1, 3):
        process = start("killed")
        while len(list((tmp_path / "killed").glob("*/*/*/summary.json"))) < num_finished:
            assert process.poll() is None
            time.sleep(0.005)
        process.kill()
        process.wait()
    before = {
        name: when
        for name, when in stamps(tmp_path / "killed").items()
        if (Path(name).parent / "summary.json").exists()
    }
    assert start("killed").wait() == 0
    after = stamps(tmp_path / "killed")
    assert {name: after[name] for name in before} == before
    for one in (tmp_path / "whole").rglob("summary.json"):
        other = tmp_path / "killed" / one.relative_to(tmp_path / "whole")
        assert summary(one.parent)["metrics"] == summary(other.parent)["metrics"]
