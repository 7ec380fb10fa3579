"""`run` from end to end on a tiny generated data set: files, going on, refusals."""

import json
import shlex
import shutil
import signal
import threading
import tomllib

import numpy as np
import pytest

from fedjax_rec.cli import main
from fedjax_rec.config import load_preset
from fedjax_rec.experiment import resolve
from fedjax_rec.reporting import ProgressLine
from fedjax_rec.simulation.locking import only_run_in

PRESET = """
rounds = 4

[data]
name = "synthetic"
num_users = 30
num_items = 40
mean_events = 8.0

[algorithm]
name = "fedmf"
dim = 4

[evaluate]
every = 2
at_k = [5, 10]
"""


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    path = tmp_path_factory.mktemp("presets") / "tiny.toml"
    path.write_text(PRESET)
    return path


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    """A preset that compiles quickly."""
    path = tmp_path_factory.mktemp("presets") / "popularity.toml"
    path.write_text(PRESET.replace('"fedmf"\ndim = 4', '"popularity"'))
    return path


@pytest.fixture(scope="module")
def trained(preset, tmp_path_factory):
    """The folder of a finished run of two rounds; tests work on copies."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["run", str(preset), "--rounds", "2", "--output", str(folder)]) == 0
    return folder


@pytest.fixture
def folder(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def run(preset, folder):
    """Runs the preset in the folder with more words; the exit code."""
    return lambda *words: main(["run", str(preset), "--output", str(folder), *words])


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def error(capsys):
    """The one line of a mistake."""
    text = capsys.readouterr().err
    assert text.startswith("fedjax-rec: error: ")
    assert text.count("\n") == 1
    return text.removeprefix("fedjax-rec: error: ").rstrip()


def test_a_run_leaves_its_files(trained, preset):
    names = {path.name for path in trained.iterdir()}
    files = {"config.toml", "environment.json", "metrics.jsonl", "summary.json"}
    assert names == files | {"checkpoints", "per_client.npz"}
    written = load_preset(str(trained / "config.toml"))
    assert written == resolve(load_preset(str(preset), ["--rounds", "2"]))
    assert written.algorithm.settings["num_negatives"] == 4
    assert [line["round"] for line in lines(trained)] == [1, 2]
    assert "valid/ndcg@10" in lines(trained)[1]
    summary = json.loads((trained / "summary.json").read_text())
    assert {"metrics", "protocol", "privacy", "communication", "timing", "memory"} <= set(summary)
    assert summary["privacy"]["claims"] == "none"
    assert (summary["rounds"], summary["num_clients"], summary["num_items"]) == (2, 30, 40)
    assert all(0 <= v <= 1 for k, v in summary["metrics"].items() if "popularity_lift" not in k)
    facts = json.loads((trained / "environment.json").read_text())
    assert facts["command"][:3] == ["fedjax-rec", "run", str(preset)]
    assert facts["seed"] == 0


def test_a_finished_run_prints_its_results_again(run, folder, capsys):
    before = (folder / "metrics.jsonl").read_bytes()
    assert run("--rounds", "2") == 0
    text = capsys.readouterr().out
    assert "finished earlier" in text
    assert "ndcg" in text
    assert (folder / "metrics.jsonl").read_bytes() == before


def test_more_rounds_go_on_from_where_it_was(run, folder, capsys):
    before = lines(folder)
    assert run("--execution.chunk_size", "4", "--checkpoint.every", "2") == 0
    text = capsys.readouterr().out
    assert "round 4/4" in text
    assert "protocol: task ranking, holdout leave_one_out" in text
    assert lines(folder)[:2] == before
    assert [line["round"] for line in lines(folder)] == [1, 2, 3, 4]
    assert json.loads((folder / "summary.json").read_text())["rounds"] == 4


def test_a_folder_of_another_configuration_is_refused(run, folder, capsys):
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert run("--algorithm.dim", "5") == 2
    assert error(capsys) == (
        f"{folder}: holds a run of another configuration, with algorithm.dim 4 and not 5; "
        "choose another --output, or start over with --no-resume"
    )
    assert before == {path: path.read_bytes() for path in before}


def test_fewer_rounds_than_were_done_are_refused(run, capsys):
    assert run("--rounds", "1") == 2
    assert error(capsys).startswith("rounds: 1 is fewer than the 2 already done")


def test_starting_over_is_another_run(counting, folder):
    words = ["--no-resume", "--rounds", "1", "--seed", "3"]
    assert main(["run", str(counting), "--output", str(folder), *words]) == 0
    assert [line["round"] for line in lines(folder)] == [1]
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["1"]
    assert load_preset(str(folder / "config.toml")).seed == 3


def test_ctrl_c_saves_and_says_how_to_go_on(counting, tmp_path, capsys, monkeypatch):
    def interrupt(self, report):
        signal.raise_signal(signal.SIGINT)

    words = ["run", str(counting), "--output", str(tmp_path / "new")]
    with monkeypatch.context() as patch:
        patch.setattr(ProgressLine, "__call__", interrupt)
        assert main([*words, "--no-resume"]) == 130
    text = capsys.readouterr().out.splitlines()
    assert text == [
        "interrupted: saved after round 1 of 4; to go on:",
        f"  {shlex.join(['fedjax-rec', *words])}",
    ]
    assert not (tmp_path / "new" / "summary.json").exists()
    assert main(["compare", str(tmp_path / "new")]) == 2
    assert "not finished (stopped after round 1)" in error(capsys)
    assert main(words) == 0
    assert [line["round"] for line in lines(tmp_path / "new")] == [1, 2, 3, 4]


def test_every_clients_metrics_are_written_beside_their_means(run, folder, capsys):
    with np.load(folder / "per_client.npz") as found:
        values = dict(found)
    metrics = json.loads((folder / "summary.json").read_text())["metrics"]
    assert {f"test/{name}@{k}" for name in ("ndcg", "hit_rate", "mrr") for k in (5, 10)} < {*values}
    for key, value in values.items():
        assert (value.shape, value.dtype) == ((30,), np.float32)
        assert np.nanmean(value, dtype=np.float64) == pytest.approx(metrics[key], rel=1e-6)
    assert run("--rounds", "4") == 0
    with np.load(folder / "per_client.npz") as found:
        assert not np.array_equal(found["test/auc"], values["test/auc"])
    (folder / "per_client.npz").write_text("of another run")
    assert run("--no-resume", "--rounds", "2") == 0
    with np.load(folder / "per_client.npz") as found:
        assert all(
            np.array_equal(found[key], value, equal_nan=True) for key, value in values.items()
        )


def test_a_run_that_stops_leaves_no_metrics_of_clients_behind(run, folder, monkeypatch):
    def interrupt(self, report):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ProgressLine, "__call__", interrupt)
    assert run("--rounds", "6") == 130
    assert not (folder / "per_client.npz").exists()


def test_a_promise_is_kept_where_a_run_goes_on(preset, tmp_path, capsys):
    folder = tmp_path / "private"
    words = ["run", str(preset), "--output", str(folder), "--privacy.epsilon", "8"]
    assert main([*words, "--rounds", "2"]) == 0
    told = capsys.readouterr()
    assert "privacy: cohort.sampler is poisson in place of all" in told.out + told.err
    first = json.loads((folder / "summary.json").read_text())["privacy"]
    assert first["claims"] == "valid"
    assert not (folder / "per_client.npz").exists()
    assert first["sampling"]["kind"] == "poisson"
    assert 7.9 < first["epsilon"] <= 8
    written = tomllib.loads((folder / "config.toml").read_text())
    assert written["privacy"]["noise_multiplier"] == first["noise_multiplier"]
    assert written["cohort"] == {"sampler": "poisson", "size": 3, "separation": 0}
    assert main([*words, "--rounds", "9"]) == 0
    told = capsys.readouterr()
    assert "ends at round 2 of 9, the last within epsilon 8" in told.out + told.err
    assert json.loads((folder / "summary.json").read_text())["privacy"] == first
    assert main([*words, "--rounds", "9", "--privacy.epsilon", "9"]) == 2
    assert "privacy.epsilon 8.0 and not 9.0" in capsys.readouterr().err


def test_a_baseline_stands_beside_a_model(counting, trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    output = tmp_path / "popularity"
    assert main(["run", str(counting), "--output", str(output), "--rounds", "1"]) == 0
    capsys.readouterr()
    assert main(["compare", str(trained), str(output)]) == 0
    captured = capsys.readouterr()
    assert "popularity" in captured.out
    assert captured.err == ""


def test_recommending_leaves_out_what_was_seen(trained, capsys, monkeypatch):
    from fedjax_rec.experiment import build

    monkeypatch.setenv("COLUMNS", "200")
    data = build(load_preset(str(trained / "config.toml"))).data
    assert main(["recommend", str(trained), "--client", "7", "--k", "40"]) == 0
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    items = [row[3].strip() for row in rows]
    scores = [float(row[4]) for row in rows]
    train, client = data.split.train, data.split.train.user_labels.tolist().index("7")
    seen = set(train.items[train.users == client].tolist())
    seen |= {*data.split.valid.items[client].tolist(), *data.split.test.items[client].tolist()}
    unseen = {train.item_labels[item] for item in range(data.num_items) if item not in seen}
    assert set(items) == unseen
    assert len(items) == len(unseen)
    assert scores == sorted(scores, reverse=True)
    assert [row[1].strip() for row in rows] == [str(rank + 1) for rank in range(len(rows))]


def test_recommending_to_an_unknown_client_is_told(trained, capsys):
    assert main(["recommend", str(trained), "--client", "nobody"]) == 2
    assert error(capsys) == "no client 'nobody' in synthetic; ids are such as 1, 2, 3"


def test_damaged_checkpoints_are_told_in_one_line(run, folder, capsys):
    for path in (folder / "checkpoints").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    assert run("--rounds", "3") == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("fedjax-rec: error: ")


@pytest.mark.parametrize(
    ("words", "start"),
    [
        (["--algorithm.name", "fedfm"], "unknown algorithm 'fedfm' (did you mean 'fedmf'?)"),
        (["--algorithm.dmi", "3"], "algorithm.dmi: fedmf has no such setting"),
        (["--stop.metric", "valid/ndgc@10"], "stop.metric: 'valid/ndgc@10' is not measured"),
        (["--data.name", "ml-100"], "data: num_items and mean_events belong to"),
    ],
)
def test_a_mistake_leaves_no_folder(preset, tmp_path, capsys, words, start):
    output = tmp_path / "new"
    assert main(["run", str(preset), "--output", str(output), *words]) == 2
    assert error(capsys).startswith(start)
    assert not output.exists()


def test_an_output_that_is_a_file_is_refused(preset, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["run", str(preset), "--output", str(tmp_path / "file")]) == 2
    assert "is a file; choose another --output" in error(capsys)


def test_an_output_that_cannot_be_made_is_refused(preset, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["run", str(preset), "--output", str(tmp_path / "file" / "below")]) == 2
    assert "cannot be written" in error(capsys)


def test_a_folder_of_something_else_is_left_alone(preset, tmp_path, capsys):
    (tmp_path / "checkpoints").mkdir()
    assert main(["run", str(preset), "--output", str(tmp_path)]) == 2
    assert "holds something else" in error(capsys)
    assert (tmp_path / "checkpoints").is_dir()


# --------------------------------------------------------- own data, and what goes wrong


def own_set(folder, rating=4):
    """A small data set of somebody's own: six people, each with five of eight films."""
    folder.mkdir(exist_ok=True)
    rows = ["userId,movieId,rating,timestamp"]
    for user in range(6):
        rows += [
            f"{user},{(user + n * (n + 1)) % 8 + 1},{rating},{1600000000 + n}" for n in range(3)
        ]
    (folder / "ratings.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture
def own(counting, tmp_path):
    """Runs Popularity on data of one's own; the exit code."""
    own_set(tmp_path / "mine")
    words = ["run", str(counting), "--data.name", "mine", "--data.path", str(tmp_path / "mine")]
    words += ["--data.num_users", "0", "--data.num_items", "0", "--data.mean_events", "0"]
    return lambda *more: main([*words, "--output", str(tmp_path / "own"), *more])


@pytest.mark.parametrize("rounds", ["1", "2"], ids=["finished earlier", "going on"])
def test_own_data_that_changed_under_a_run_are_refused(own, tmp_path, capsys, rounds):
    assert own("--rounds", "1") == 0
    folder = tmp_path / "own"
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    own_set(tmp_path / "mine", rating=3)  # of the same shape
    capsys.readouterr()
    assert own("--rounds", rounds) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "holds a run on other data: data.sha256 was" in message
    assert "--no-resume" in message
    assert before == {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    own_set(tmp_path / "mine")
    assert own("--rounds", rounds) == 0


def test_the_digest_of_own_data_stands_in_every_file(own, tmp_path):
    assert own("--rounds", "1") == 0
    summary = json.loads((tmp_path / "own" / "summary.json").read_text())
    table = tomllib.loads((tmp_path / "own" / "config.toml").read_text())
    assert table["recorded"]["data"] == summary["data"]
    assert summary["data"]["num_users"] == 6
    assert len(summary["data"]["sha256"]) == 64
    again = load_preset(str(tmp_path / "own" / "config.toml"))  # what is recorded is no setting
    assert again.data.name == "mine"


def test_a_folder_that_another_run_is_at_work_in_is_refused(run, folder, capsys):
    held = threading.Event()
    may_end = threading.Event()

    def hold():
        with only_run_in(folder):
            held.set()
            may_end.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    try:
        assert run("--rounds", "3") == 2
    finally:
        may_end.set()
        thread.join()
    assert "another run is at work there" in capsys.readouterr().err.splitlines()[-1]


def test_a_run_whose_clients_all_diverge_exits_with_1_and_names_the_setting(
    preset, tmp_path, capsys
):
    words = ["--algorithm.item_learning_rate", "1e38", "--algorithm.init_stddev", "10"]
    assert main(["run", str(preset), "--output", str(tmp_path / "lost"), *words]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("fedjax-rec: error: all clients diverged in round ")
    assert "item_learning_rate (1e+38)" in lines[-1]
    assert not (tmp_path / "lost" / "summary.json").exists()


def test_popularitys_figures_stand_beside_a_runs_own(counting, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    words = ["run", str(counting), "--output", str(tmp_path / "popular"), "--rounds", "1"]
    assert main(words) == 0
    rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if "│" in line]
    found = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}
    assert found["ndcg of Popularity"] == found["ndcg"]
    assert found["hit_rate of Popularity"] == found["hit_rate"]
    summary = json.loads((tmp_path / "popular" / "summary.json").read_text())
    assert summary["popularity"] == summary["metrics"]


def test_a_run_that_python_made_is_compared_and_neither_gone_on_with_nor_recommended_from(
    preset, trained, tmp_path, monkeypatch, capsys
):
    import jax

    from fedjax_rec import baselines, data, simulation

    small = data.load("synthetic", num_users=30, num_items=40, mean_events=8.0)
    folder = tmp_path / "python"
    popular = baselines.popularity(small.num_items)
    simulation.simulate(popular, small, key=jax.random.key(0), rounds=1, output=folder)
    capsys.readouterr()
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["compare", str(trained), str(folder)]) == 0
    assert "popularity" in capsys.readouterr().out
    assert main(["run", str(preset), "--output", str(folder)]) == 2
    assert "fedjax_rec.simulate made it in Python" in error(capsys)
    assert main(["recommend", str(folder), "--client", "1"]) == 2
    assert "load_run" in error(capsys)
