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
COLUMNS = ["--data.user", "u", "--data.item", "i", "--data.rating", "r", "--data.time", "t"]
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


# ------------------------------------------------------------------------- export


def test_exported_vectors_give_what_is_recommended(place, opened, tmp_path, capsys):
    capsys.readouterr()
    assert main(["export", str(place / "runs/mine"), "--output", str(tmp_path / "out")]) == 0
    assert "left out" not in capsys.readouterr().out
    items, users = (np.load(tmp_path / "out" / f"{name}.npz") for name in ("items", "users"))
    for user, (item, score) in ((user, opened.recommend(user, 1)[0]) for user in opened.users):
        vectors = users["vectors"][users["ids"] == user], items["vectors"][items["ids"] == item]
        assert float(vectors[0][0] @ vectors[1][0]) == pytest.approx(score, rel=1e-4)
    assert {user for user, *_ in ROWS} == set(users["ids"].tolist())
    assert {item for _, item, *_ in ROWS} == set(items["ids"].tolist())
    for name, arrays in (("items", items), ("users", users)):
        read = read_plainly(tmp_path / "out" / f"{name}.safetensors")
        assert np.array_equal(read["vectors"], arrays["vectors"])
        ids = json.loads((tmp_path / "out" / f"{name[:-1]}_ids.json").read_text())
        assert ids == arrays["ids"].tolist()


def read_plainly(path):
    """A reader of safetensors by the letter of the format."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert length % 8 == 0
    del header["__metadata__"]
    types = {"F32": "<f4", "I32": "<i4"}
    body, arrays = content[8 + length :], {}
    for name, one in header.items():
        begin, end = one["data_offsets"]
        arrays[name] = np.frombuffer(body[begin:end], types[one["dtype"]]).reshape(one["shape"])
    assert sum(array.nbytes for array in arrays.values()) == len(body)
    return arrays


def test_what_is_no_vector_of_a_user_is_told(place, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(place)
    words = ["--rounds", "1", "--output", str(tmp_path / "run")]
    assert main(["run", "ml-100k/popularity", "--data.path", "my.csv", *COLUMNS, *words]) == 0
    capsys.readouterr()
    assert main(["export", str(tmp_path / "run"), "--output", str(tmp_path / "out")]) == 0
    assert "left out: users: the model keeps no vector of a user" in capsys.readouterr().out
    counts = np.load(tmp_path / "out" / "items.npz")
    assert counts["vectors"].shape[0] == len(counts["ids"])
    assert not (tmp_path / "out" / "users.npz").exists()


def test_events_and_the_state_of_training_stay_where_they_are(place, tmp_path, monkeypatch):
    monkeypatch.chdir(place)
    words = ["--rounds", "1", "--algorithm.dim", "4", "--output", str(tmp_path / "run")]
    assert main(["run", "ml-100k/bpr_mf", "--data.path", "my.csv", *COLUMNS, *words]) == 0
    found = fedjax_rec.open_run(tmp_path / "run").export(tmp_path / "out")
    assert {name: list(arrays) for name, arrays in found.files.items()} == {
        "items": ["shared/item"],
        "users": ["extra/users"],
        "model": [],
    }
    assert any("events" in what for what in found.left_out)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [("", "export: name a folder with --output"), ("--output my.csv", "my.csv: is a file")],
)
def test_where_to_export_to_is_asked_for(place, capsys, monkeypatch, words, complaint):
    monkeypatch.chdir(place)
    assert told(capsys, "export", "runs/mine", *words.split()).startswith(complaint)


def test_a_promise_goes_with_the_files(place, opened, tmp_path):
    from dataclasses import replace

    claim = {"claims": "valid", "epsilon": 8.0, "delta": 1e-5, "unit": "user"}
    private = replace(opened, summary=opened.summary | {"privacy": claim})
    private.export(tmp_path)
    report = json.loads((tmp_path / "export.json").read_text())
    assert report["files"]["items"]["privacy"] == "epsilon 8, delta 1e-05 for each user (valid)"
    assert "jointly private" in report["files"]["users"]["privacy"]
    assert report["privacy"] == claim
