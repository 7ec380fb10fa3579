"""Loggers get what metrics.jsonl gets: from Python and by name, and where a run goes on."""

import csv
import json
import subprocess
import sys

import jax
import pytest

from fedjax_rec import EvaluationPlan, UserError, simulate
from fedjax_rec.algorithms import fedmf
from fedjax_rec.cli import main
from fedjax_rec.data import load
from fedjax_rec.plugins import forget_plugin
from fedjax_rec.simulation import CheckpointPlan
from fedjax_rec.simulation.loggers import CsvLogger

PRESET = """
rounds = 5

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
at_k = [5]
"""

PLUGIN = '''
"""A logger of one's own."""

from fedjax_rec import register


class Words:
    """A line of words a round."""

    def __init__(self, folder, round):
        """Goes on behind a round."""
        self.stream = (folder / "words.txt").open("a", encoding="utf-8")
        self.stream.write(f"from {round}\\n")

    def log(self, line):
        """Says which round it was."""
        self.stream.write(f"{line['round']} {'test/ndcg@5' in line}\\n")

    def close(self):
        """Ends."""
        self.stream.close()


register.logger("words", Words)
'''


def run(folder, rounds, **options):
    data = load("synthetic", num_users=30, num_items=40, mean_events=8)
    return simulate(
        fedmf(data.num_items, dim=4),
        data,
        key=jax.random.key(0),
        rounds=rounds,
        evaluation=EvaluationPlan(every=2),
        output=folder,
        loggers=[CsvLogger],
        notice=lambda line: None,
        **options,
    )


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as stream:
        return list(csv.reader(stream))


def expected(folder):
    """The rows that follow from metrics.jsonl."""
    lines = [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]
    return [["round", "metric", "value"]] + [
        [str(line["round"]), key, str(value)]
        for line in lines
        for key, value in line.items()
        if key != "round"
    ]


def test_every_number_of_the_log_is_in_the_table(tmp_path):
    run(tmp_path, 5)
    found = rows(tmp_path)
    assert found == expected(tmp_path)
    assert {row[0] for row in found[1:]} == {"1", "2", "3", "4", "5"}


def test_rounds_that_are_run_again_are_not_there_twice(tmp_path):
    run(tmp_path, 3, checkpoint=CheckpointPlan(every=2))
    late = "4,train/loss,9.0\n5,train/loss,9.0\n"  # what a killed run had logged further on
    path = tmp_path / "metrics.csv"
    path.write_text(path.read_text() + late)
    run(tmp_path, 6, checkpoint=CheckpointPlan(every=2))
    assert rows(tmp_path) == expected(tmp_path)


def test_an_error_closes_them(tmp_path):
    closed = []

    class Watched(CsvLogger):
        def close(self):
            closed.append(True)
            super().close()

    def fail(report):
        raise RuntimeError("mine")

    data = load("synthetic", num_users=30, num_items=40, mean_events=8)
    with pytest.raises(RuntimeError, match="mine"):
        simulate(
            fedmf(data.num_items, dim=4),
            data,
            key=jax.random.key(0),
            rounds=1,
            output=tmp_path,
            loggers=[Watched],
            report=fail,
        )
    assert closed == [True]


def test_without_a_folder_there_is_nowhere_to_log():
    with pytest.raises(UserError, match="give it an output"):
        run(None, 1)


def test_by_name_with_one_of_ones_own(tmp_path, capsys):
    (tmp_path / "tiny.toml").write_text(PRESET)
    (tmp_path / "words.py").write_text(PLUGIN)
    words = ["run", str(tmp_path / "tiny.toml"), "--output", str(tmp_path / "run")]
    try:
        plugin = ["--plugin", str(tmp_path / "words.py"), "--log", "words", "--log", "csv"]
        assert main([*words, *plugin]) == 0
        # it goes on without them in another process: who looks on is no part of a run
        alone = [sys.executable, "-m", "fedjax_rec", *words, "--rounds", "6"]
        subprocess.run(alone, check=True, capture_output=True)
        assert main([*words, "--rounds", "7", *plugin]) == 0
    finally:
        forget_plugin("words.py")
    told = (tmp_path / "run" / "words.txt").read_text().splitlines()
    first = ["from 0", "1 False", "2 True", "3 False", "4 True", "5 True"]
    assert told == [*first, "from 6", "7 True"]
    numbers = [int(row[0]) for row in rows(tmp_path / "run")[1:]]
    assert sorted(set(numbers)) == [1, 2, 3, 4, 5, 7]


def test_an_unknown_one_is_told_before_anything_is_run(tmp_path, capsys):
    (tmp_path / "tiny.toml").write_text(PRESET)
    folder = tmp_path / "run"
    words = ["run", str(tmp_path / "tiny.toml"), "--output", str(folder), "--log", "cvs"]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "unknown logger 'cvs'" in line
    assert "did you mean 'csv'" in line
    assert not folder.exists()
