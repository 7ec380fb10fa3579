"""What a finished run gives away: recommendations for all, vectors, an opened run."""

import csv
import json
import tomllib

import numpy as np
import pytest

import fedjax_rec
from fedjax_rec.cli import main

ROWS = [
    (f"person, {u}", f"film {(7 * u + n * n) % 23:02d}", 1 + n % 5, 10**9 + 86_400 * n)
    for u in range(12)
    for n in range(4 + u % 5)
]
WORDS = ["--rounds", "2", "--algorithm.dim", "4", "--output", "runs/mine"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working directory with a file of events and a run on it, named by a relative path."""
    folder = tmp_path_factory.mktemp("place")
    with (folder / "my.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("u", "i", "r", "t"), *ROWS])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "mine.toml").write_text(
            'preset = "ml-100k/fedmf"\n[data]\nname = "mine"\npath = "my.csv"\n'
            'user = "u"\nitem = "i"\nrating = "r"\ntime = "t"\n'
        )
        assert main(["run", "mine.toml", *WORDS]) == 0
    return folder


@pytest.fixture
def opened(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # not where the run was made
    return fedjax_rec.open_run(place / "runs" / "mine")


def told(capsys, *words):
    capsys.readouterr()
    assert main(list(map(str, words))) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("fedjax-rec: error: ")


def recommended(place, output, *words):
    run = str(place / "runs" / "mine")
    assert main(["recommend", run, "--all", "--output", str(output), *words]) == 0
    with output.open(newline="") as stream:
        return list(csv.DictReader(stream))


# ---------------------------------------------------------------- recommendations


def test_everybody_gets_what_the_vectors_say_and_nothing_that_was_met(place, opened, tmp_path):
    rows = recommended(place, tmp_path / "recs.csv", "--k", "3")
    table = np.asarray(opened.state.shared.rows["item"])
    vectors = np.asarray(opened.clients.private.dense)
    items, scores = opened.items.tolist(), vectors @ table.T
    met = {(user, item) for user, item, *_ in ROWS}
    expected = []
    for user, own in zip(opened.users.tolist(), scores, strict=True):
        left = [i for i in np.argsort(-own, kind="stable") if (user, items[i]) not in met]
        expected += [(user, items[i], n, own[i]) for n, i in enumerate(left[:3], 1)]
    assert [(r["user"], r["item"], int(r["rank"])) for r in rows] == [e[:3] for e in expected]
    found = [float(r["score"]) for r in rows]
    np.testing.assert_allclose(found, [e[3] for e in expected], rtol=1e-5, atol=1e-7)
    assert {user for user, *_ in ROWS} == {row["user"] for row in rows}
    assert list(tmp_path.iterdir()) == [tmp_path / "recs.csv"]


def test_one_and_all_are_told_the_same(opened):
    everybody = opened.recommend_all(30)
    for user in ("person, 3", "person, 11"):
        of_one = everybody.user == user
        alone = opened.recommend(user, 30)
        assert everybody.item[of_one].tolist() == [item for item, _ in alone]
        np.testing.assert_allclose(everybody.score[of_one], [s for _, s in alone], rtol=1e-5)


def test_chunks_do_not_matter(opened, monkeypatch):
    from fedjax_rec.evaluation import lists

    whole = opened.recommend_all(4)
    monkeypatch.setattr(lists, "clients_at_a_time", lambda *_: 5)
    parts = opened.recommend_all(4)
    assert parts.item.tolist() == whole.item.tolist()
    assert parts.user.tolist() == whole.user.tolist()


def test_parquet_holds_the_same_columns(place, opened, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    opened.recommend_all(2).write(tmp_path / "recs.parquet")
    table = pq.read_table(tmp_path / "recs.parquet")
    assert table.column_names == ["user", "item", "rank", "score"]
    rows = recommended(place, tmp_path / "recs.csv", "--k", "2")
    assert table["user"].to_pylist() == [row["user"] for row in rows]
    assert table["item"].to_pylist() == [row["item"] for row in rows]
    written = [np.float32(row["score"]) for row in rows]
    assert np.array_equal(np.asarray(table["score"]), written)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("", "recommend: name one client with --client ID, or take everybody with --all"),
        ("--client 1 --all --output x.csv", "recommend: name one client"),
        ("--all", "recommend --all: name a file with --output"),
        ("--client 1 --output x.csv", "recommend --output: is for everybody"),
        ("--all --output x.xlsx", "output: x.xlsx is neither a .csv nor a .parquet file"),
        ("--all --output x.csv --k 0", "k: expected at least 1, got 0"),
    ],
)
def test_what_is_missing_is_said_in_one_line(place, capsys, words, complaint):
    run = place / "runs" / "mine"
    assert told(capsys, "recommend", run, *words.split()).startswith(complaint)


def test_parquet_without_the_extra_says_which(place, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    line = told(capsys, "recommend", place / "runs/mine", "--all", "--output", "recs.parquet")
    assert "pip install 'fedjax-rec[data]'" in line


# --------------------------------------------------------------------- opened runs


def test_an_opened_run_knows_what_it_was_and_evaluates_as_it_did(place, opened):
    written = json.loads((place / "runs/mine/summary.json").read_text())
    assert opened.summary == written
    assert opened.config.algorithm.settings["dim"] == 4
    path = tomllib.loads((place / "runs/mine/config.toml").read_text())["data"]["path"]
    assert path == str(place / "my.csv")
    metrics = opened.evaluate()["test"].metrics
    for name in ("ndcg@10", "hit_rate@10", "auc"):
        assert metrics[name] == pytest.approx(written["metrics"][f"test/{name}"], abs=1e-6)
    per_client = opened.per_client["ndcg@10"]
    assert per_client.shape == opened.users.shape
    assert np.nanmean(per_client) == pytest.approx(metrics["ndcg@10"], abs=1e-6)


def test_what_is_wrong_with_a_run_or_a_person_is_said_in_one_line(place, opened, tmp_path):
    with pytest.raises(fedjax_rec.UserError, match="no such folder"):
        fedjax_rec.open_run(tmp_path / "none")
    with pytest.raises(fedjax_rec.UserError, match="no client 'nobody' in mine; ids are such as"):
        opened.recommend("nobody")


def test_loaded_parameters_are_evaluated_as_they_come(place, opened):
    loaded = fedjax_rec.load_run(
        place / "runs/mine", opened.algorithm, opened.data, key=opened.experiment.key
    )
    found = fedjax_rec.evaluate(opened.algorithm, opened.data, loaded)
    assert found["test"].metrics["ndcg@10"] == opened.evaluate()["test"].metrics["ndcg@10"]
