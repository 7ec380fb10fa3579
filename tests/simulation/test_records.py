"""Files that a machine reads: JSON that is JSON, and a log that a crash has cut."""

import json
import math

import jax
import numpy as np
import pytest

from fedjax_rec import simulation
from fedjax_rec.baselines import popularity
from fedjax_rec.data import load
from fedjax_rec.simulation import EvaluationPlan, Execution, write_json
from fedjax_rec.simulation.records import MetricsLog, to_json

DATA = load("synthetic", num_users=20, num_items=30, mean_events=7, seed=5)


def strict(text):
    """What a reader of JSON makes of it that knows no NaN, as most do."""

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float64("nan")])
def test_a_number_that_is_not_finite_is_null_in_every_file(tmp_path, value):
    content = {"a": value, "b": [1.5, (value, {"c": value})], "d": "NaN"}
    right = {"a": None, "b": [1.5, [None, {"c": None}]], "d": "NaN"}
    assert strict(to_json(content)) == right
    write_json(tmp_path / "x.json", content)
    assert strict((tmp_path / "x.json").read_text()) == right
    MetricsLog(tmp_path / "x.jsonl").append({"round": 1} | content)
    assert strict((tmp_path / "x.jsonl").read_text()) == {"round": 1} | right


def run(folder, rounds, said):
    return simulation.simulate(
        popularity(DATA.num_items),
        DATA,
        key=jax.random.key(0),
        rounds=rounds,
        evaluation=EvaluationPlan(every=1, at_k=(5,)),
        output=folder,
        execution=Execution(),
        notice=said.append,
    )


def rounds_in(folder):
    text = (folder / "metrics.jsonl").read_text()
    assert text.endswith("\n")
    return [strict(line)["round"] for line in text.splitlines()]


BROKEN = {
    "cut last line": (lambda lines: [*lines[:-1], lines[-1][: len(lines[-1]) // 2]], [1, 2, 4], 3),
    "cut before its end of line": (lambda lines: [*lines[:-1], lines[-1][:-1]], [1, 2, 3, 4], 0),
    "broken in the middle": (lambda lines: [lines[0], "{oops\n", lines[2]], [1, 3, 4], 2),
    "not of a round": (lambda lines: [*lines[:2], "[1, 2]\n"], [1, 2, 4], 3),
    "no text": (lambda lines: [*lines[:2], "\x00\x00\x00\n"], [1, 2, 4], 3),
    "cut past the checkpoint": (lambda lines: [*lines, '{"round": 4, "sec'], [1, 2, 3, 4], 4),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_line_of_the_log_is_dropped_and_said_in_one_line(tmp_path, what):
    damage, left, number = BROKEN[what]
    run(tmp_path, 3, [])
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(damage(path.read_text().splitlines(keepends=True))))
    said = []
    result = run(tmp_path, 4, said)
    assert result.first_round == 3
    assert rounds_in(tmp_path) == left
    assert [line["round"] for line in result.metrics] == left
    told = [line for line in said if "metrics.jsonl" in line]
    assert len(told) == (1 if number else 0)
    if number:
        assert told[0].endswith(f"1 broken (line {number}); dropped")


def test_bytes_that_are_no_text_are_dropped_likewise(tmp_path):
    run(tmp_path, 2, [])
    with (tmp_path / "metrics.jsonl").open("ab") as log:
        log.write(b"\xff\xfe\n")
    said = []
    run(tmp_path, 3, said)
    assert rounds_in(tmp_path) == [1, 2, 3]
    assert sum("1 broken (line 3)" in line for line in said) == 1
