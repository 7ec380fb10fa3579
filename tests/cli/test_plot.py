"""`plot` from runs to a figure: lines are where the files' numbers are."""

import json
import re
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from fedjax_rec.cli import main


def plotted(runs, path, *words):
    return main(["plot", str(runs), "--output", str(path), *words])


def drawn(text):
    """Row -> the points of its line, in the units of the file."""
    found = {}
    for number, shape in re.findall(r'<g id="row-(\d+)">\s*<path d="([^"]*)"', text):
        numbers = np.array(re.findall(r"-?\d+\.?\d*", shape), float)
        found[int(number)] = numbers.reshape(-1, 2)
    return found


def means_of(runs, rounds):
    logs = sorted(runs.glob(f"tiny/rounds={rounds}/*/metrics.jsonl"))
    of_seeds = [
        [json.loads(line)["test/ndcg@10"] for line in log.read_text().splitlines()] for log in logs
    ]
    assert len(of_seeds) == 2
    return np.mean(of_seeds, axis=0)


def test_lines_lie_where_the_means_over_seeds_are(runs, tmp_path, capsys):
    assert plotted(runs, tmp_path / "figure.svg") == 0
    assert "NDCG@10, 2 rows" in capsys.readouterr().out
    text = (tmp_path / "figure.svg").read_text()
    lines = drawn(text)
    expected = {0: means_of(runs, 3), 1: means_of(runs, 4)}
    assert {row: len(points) for row, points in lines.items()} == {0: 3, 1: 4}
    # one map from numbers to places on the page holds for all points of both lines
    places = np.concatenate([lines[row][:, 1] for row in (0, 1)])
    values = np.concatenate([expected[row] for row in (0, 1)])
    slope, start = np.polyfit(values, places, 1)
    assert slope < 0
    np.testing.assert_allclose(slope * values + start, places, atol=0.01)
    for words in ("popularity, rounds 3", "popularity, rounds 4", "rounds", "NDCG@10"):
        assert f">{words}<" in text


@pytest.mark.parametrize(
    ("by", "name"),
    [("bytes", "MB sent and received by all clients"), ("people", "NDCG@10 of a person")],
)
def test_the_other_axes_have_their_names(runs, tmp_path, by, name):
    assert plotted(runs, tmp_path / "f.svg", "--by", by) == 0
    text = (tmp_path / "f.svg").read_text()
    assert f">{name}<" in text
    assert len(drawn(text)) == 2


def test_every_format_is_written_to_its_size_and_alike_each_time(runs, tmp_path):
    for suffix, head in ((".svg", b"<?xml"), (".pdf", b"%PDF"), (".png", b"\x89PNG")):
        paths = [tmp_path / f"{name}{suffix}" for name in ("one", "two")]
        for path in paths:
            assert plotted(runs, path, "--metric", "valid/auc", "--width", "5") == 0
        assert paths[0].read_bytes().startswith(head)
        assert paths[0].read_bytes() == paths[1].read_bytes()
    assert struct.unpack(">II", (tmp_path / "one.png").read_bytes()[16:24]) == (1500, 1020)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--output f.svg", "at least one folder"),
        ("RUNS", "ending in .svg, .pdf, .png"),
        ("RUNS --output f.gif", "ending in .svg, .pdf, .png"),
        ("RUNS --output f.svg --metric ndgc@10", "did you mean 'ndcg@10'"),
        (
            "RUNS --output f.svg --metric coverage@10 --by people",
            "no run has coverage@10 by people",
        ),
        ("RUNS --output f.svg --width 0", "width: expected inches above 0"),
        ("RUNS --output /proc/none/f.svg", "cannot be written"),
        ("nowhere --output f.svg", "nowhere"),
    ],
)
def test_a_mistake_is_one_line(runs, tmp_path, monkeypatch, capsys, words, told):
    monkeypatch.chdir(tmp_path)
    assert main(["plot", *(word.replace("RUNS", str(runs)) for word in words.split())]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert list(Path().iterdir()) == []


def test_without_the_extra_it_says_what_to_install(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert plotted(runs, tmp_path / "f.svg") == 2
    assert "fedjax-rec[report]" in capsys.readouterr().err
