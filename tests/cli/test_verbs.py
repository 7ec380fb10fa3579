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
