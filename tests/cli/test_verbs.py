"""Verbs that train nothing: data and algorithms; compare has tests of its own."""

from pathlib import Path

import pytest

from fedjax_rec.cli import main


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")


def done(capsys, *words):
    assert main(list(map(str, words))) == 0
    return capsys.readouterr()


def test_data_list_names_the_data_sets(capsys):
    text = done(capsys, "data", "list").out
    assert "ml-100k" in text
    assert "100,000" in text
    assert "synthetic" in text


def test_data_describe_prints_statistics(capsys):
    text = done(capsys, "data", "describe", "synthetic").out
    assert "events_per_user_median" in text


def test_data_get_says_where_it_is(capsys, ml_100k_folder):
    place = done(capsys, "data", "get", "ml-100k").out.strip()
    assert Path(place).is_relative_to(ml_100k_folder)


def test_data_get_of_generated_data_needs_no_file(capsys):
    assert "needs no file" in done(capsys, "data", "get", "synthetic").out


def test_data_describe_of_a_missing_file_is_told(capsys, tmp_path):
    assert main(["data", "describe", "mine", "--path", str(tmp_path / "none")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_algorithms_lists_settings_and_defaults(capsys):
    text = done(capsys, "algorithms").out
    assert "fedmf" in text
    assert "dim = 32" in text
    assert "popularity" in text
    assert "aggregate" not in text


def test_an_algorithm_is_explained(capsys):
    text = done(capsys, "algorithms", "fedmf").out
    assert "fedmf: Federated matrix factorisation of implicit feedback." in text
    (row,) = [line for line in text.splitlines() if "algorithm.num_negatives" in line]
    assert [cell.strip() for cell in row.split("│")[1:4]] == [
        "algorithm.num_negatives",
        "4",
        "negatives to each positive, at least 1.",
    ]
    assert "ml-100k/fedmf" in text


def test_a_model_brings_its_settings(capsys):
    text = done(capsys, "algorithms", "fedavg", "--model", "sasrec").out
    assert "transformer blocks, at least 1." in text


@pytest.mark.parametrize("words", [("fedfm",), ("fedmf", "--model", "sasrec")])
def test_what_cannot_be_explained_is_one_line(capsys, words):
    assert main(["algorithms", *words]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_every_setting_has_a_meaning():
    from fedjax_rec.algorithms import ALGORITHMS
    from fedjax_rec.baselines import BASELINES
    from fedjax_rec.cli.algorithms import meanings
    from fedjax_rec.experiment.assembly import own_settings
    from fedjax_rec.models import MODELS

    known = {**ALGORITHMS.load(), **BASELINES.load()}
    found = {name: (factory, own_settings(factory)) for name, factory in known.items()}
    for model in MODELS.load():
        settings = {**own_settings(known["fedavg"], {"model": model}), "model": model}
        found[model] = known["fedavg"], settings
    missing = {name: {*own} - {*meanings(factory, own)} for name, (factory, own) in found.items()}
    assert {name: keys for name, keys in missing.items() if keys} == {}


def test_presets_say_what_they_are_and_whether_their_data_are_here(capsys, tmp_path, monkeypatch):
    from fedjax_rec.config import preset_names

    monkeypatch.setenv("FEDJAX_REC_DATA", str(tmp_path))
    (tmp_path / "ml-1m").mkdir()
    (tmp_path / "ml-1m" / "ratings.dat").write_text("1::1::5::1\n")
    rows = {
        cells[0]: cells[1:]
        for line in done(capsys, "presets").out.splitlines()
        if len(cells := [cell.strip() for cell in line.split("│")[1:-1]]) == 4
    }
    assert set(rows) == set(preset_names())
    assert all(about for _, _, about in rows.values())
    assert rows["synthetic/fedmf"][:2] == ["synthetic", "generated"]
    assert rows["ml-1m/pfedrec"][1] == "here"
    assert rows["s3rec-toys/sasrec"][1] == "not here"
    assert rows["ml-100k/ease"] == [
        "ml-100k",
        rows["ml-100k/ease"][1],
        "EASE, a linear model of items by items in closed form",
    ]


def test_presets_are_chosen_by_a_part_of_their_name(capsys):
    text = done(capsys, "presets", "pfedrec-").out
    assert "pfedrec-ml-100k/fedrap" in text
    assert "synthetic" not in text
    assert main(["presets", "nothing"]) == 2
