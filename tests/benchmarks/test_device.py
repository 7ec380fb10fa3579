"""The run on a device: its rows, its time limits, what fails on the way, and the probe."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks import device, made_up, probe
from benchmarks.device import STEPS, StepFailedError, report, row_bytes, run_process
from benchmarks.harness import KEYS, ROOT
from fedjax_rec.data import load
from fedjax_rec.text import pretrained, tokens_of

PROBED = {
    "platform": "cpu",
    "device": "made up",
    "devices": 1,
    "copy_bytes_per_second": 1e9,
    "scatter_add": {"ratio": 7.0, "is_hazardous": True},
}


def row_of(words):
    """A row as the harness would write it: 100 examples in half a second."""
    return dict.fromkeys(KEYS) | {
        "workload": words[words.index("--workload") + 1],
        "seconds_per_round": 0.5,
        "examples_per_second": 200.0,
        "compile_seconds": 1.0,
        "hardware": {},
        "options": {"dim": 10, "clients": 3, "epochs": 2, "items": 50},
    }


CHUNKS = [
    {"chunk_size": 1, "median_seconds": 4.0, "total_bytes": 1e8},
    {"chunk_size": 32, "median_seconds": 0.5, "total_bytes": 5e8},
]


def lora_row():
    known = row_of(["--workload", "LoRA"])
    return known | {"options": {"chunks": CHUNKS, "loss": 0.5}}


def fake_run(words, limit):
    """Stands in for a process: the probe, and all workloads but W2."""
    if words[1] == "benchmarks.probe":
        return json.dumps(PROBED)
    if words[1] == "benchmarks.cohort":
        Path(words[-1]).write_text(json.dumps([lora_row()]))
        return ""
    if words[words.index("--workload") + 1] == "W2":
        raise StepFailedError("stopped with code 1: out of memory")
    Path(words[-1]).write_text(json.dumps([row_of(words)]))
    return ""


def test_a_failing_workload_is_a_row_with_a_note_and_the_others_have_figures(tmp_path, capsys):
    rows = report(100, tmp_path, run=fake_run)

    names = ["W1", "W2", "W3", "W4", "million items", "LoRA cohort"]
    assert [row["options"]["step"] for row in rows] == names
    has_figures = [True, False, True, True, False, True]
    assert [bool(row["seconds_per_round"]) for row in rows] == has_figures
    assert [row["workload"] for row in rows] == ["W1", "W2", "W3", "W4", "W2", "LoRA"]
    assert rows[1]["note"] == "stopped with code 1: out of memory"
    assert all(set(row) == set(KEYS) for row in rows)
    assert json.loads((tmp_path / "device.json").read_text()) == rows
    assert json.loads((tmp_path / "probe.json").read_text()) == PROBED
    said = capsys.readouterr().err
    assert "HAZARD" in said
    assert "W2: no figures: stopped with code 1: out of memory" in said
    assert "chunks of 1: 4.000 s, 100 MB, chunks of 32: 0.500 s, 500 MB" in said


def test_row_bytes_are_three_passes_over_the_rows_of_a_round(tmp_path):
    rows = report(100, tmp_path, run=fake_run)

    row_size = 10 * 4
    assert row_bytes(rows[0]) == 3 * row_size * 100
    assert row_bytes(rows[3]) == 3 * row_size * 3 * 2 * 50  # W4 visits the catalogue
    options = rows[0]["options"]
    assert options["row_bytes_per_second"] == 3 * row_size * 200
    assert options["share_of_copy"] == pytest.approx(3 * row_size * 200 / 1e9)
    assert options["scatter_add_is_hazardous"] is True
    assert "row_bytes_per_second" not in rows[-1]["options"]  # a cohort of encoders moves others


def test_without_a_probe_the_workloads_still_run(tmp_path):
    def run(words, limit):
        if words[1] == "benchmarks.probe":
            raise StepFailedError("no device")
        return fake_run(words, limit)

    rows = report(100, tmp_path, run=run)

    assert json.loads((tmp_path / "probe.json").read_text()) == {"note": "no device"}
    assert rows[0]["options"]["row_bytes_per_second"] > 0
    assert "share_of_copy" not in rows[0]["options"]


def test_steps_that_use_all_their_time_end_within_the_limit(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(device.time, "monotonic", lambda: clock[0])

    def run(words, limit):
        clock[0] += limit
        raise StepFailedError("slow")

    report(500, tmp_path, run=run)

    assert clock[0] == pytest.approx(500)


def test_no_step_starts_when_the_time_is_up(tmp_path):
    rows = report(0, tmp_path, run=lambda words, limit: json.dumps(PROBED))

    assert {row["note"] for row in rows} == {"not started: the time is up"}


def test_a_process_past_its_limit_is_ended_with_its_children():
    children = (
        "import subprocess, sys, time;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "time.sleep(60)"
    )
    begin = time.monotonic()

    with pytest.raises(StepFailedError, match="stopped after 1 s"):
        run_process(["-c", children], 1)

    assert time.monotonic() - begin < 20  # the child holds the pipes open while it lives


def test_a_process_that_fails_gives_its_last_line():
    with pytest.raises(StepFailedError, match="stopped with code 3: the reason"):
        run_process(["-c", "import sys; print('the reason', file=sys.stderr); sys.exit(3)"], 30)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tiny"], "unknown option --tiny"),
        (["--small", "--small"], "unknown options --small --small"),
    ],
)
def test_the_script_refuses_what_it_does_not_know_in_one_line(words, message):
    script = str(ROOT / "benchmarks" / "device.sh")
    done = subprocess.run([script, *words], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert message in line


def test_the_script_refuses_an_interpreter_without_the_package(tmp_path):
    script = str(ROOT / "benchmarks" / "device.sh")
    environment = os.environ | {"PYTHON": str(tmp_path / "nothing")}
    done = subprocess.run([script], capture_output=True, text=True, check=False, env=environment)

    assert done.returncode == 2
    assert "cannot run fedjax_rec" in done.stderr


def test_the_probe_measures_a_bandwidth_and_a_ratio_of_two_times():
    measured = probe.probe(megabytes=4, num_updates=1024, repeats=2)

    added = measured["scatter_add"]
    assert measured["copy_bytes_per_second"] > 1e8
    moved = 3 * 1024 * 64 * np.dtype("float32").itemsize
    assert added["seconds_by_bandwidth"] == moved / measured["copy_bytes_per_second"]
    assert added["expected_seconds"] == max(added["seconds_int32"], added["seconds_by_bandwidth"])
    assert added["ratio"] == added["seconds_float32"] / added["expected_seconds"]


def test_a_compare_and_swap_loop_would_be_a_hazard_and_a_usual_spread_is_none():
    assert probe.verdict(100.0, 1.0)["is_hazardous"]
    assert not probe.verdict(2.0, 1.0)["is_hazardous"]


@pytest.mark.parametrize("name", made_up.SIZES)
def test_what_is_made_up_has_the_sizes_that_it_says(name, tmp_path):
    sizes = made_up.SIZES[name]
    words = made_up.write(sizes, tmp_path)
    named = dict(zip(words[::2], words[1::2], strict=True))
    base = pretrained(named["--algorithm.tower"])
    layer = 4 * sizes.width**2 + 2 * sizes.width * sizes.hidden + 9 * sizes.width + sizes.hidden
    embeddings = (sizes.words + 512 + 2) * sizes.width  # words, positions and a norm
    found = sum(leaf.size for leaf in jax.tree.leaves(base.params))
    assert found == sizes.layers * layer + embeddings
    data = load(named["--data.name"], path=named["--data.path"], notice=lambda line: None)
    assert (data.num_clients, data.num_items) == (sizes.people, sizes.items)
    titles = data.split.train.item_titles
    tokens = tokens_of(titles, base.vocabulary, 24)
    assert tokens.shape == (sizes.items, made_up.TITLE_WORDS + 2)
    assert not (tokens == base.vocabulary["[UNK]"]).any()


@pytest.mark.slow
def test_the_small_run_has_figures_for_every_workload(tmp_path):
    script = str(ROOT / "benchmarks" / "device.sh")
    environment = os.environ | {"PYTHON": sys.executable, "OUT": str(tmp_path)}
    done = subprocess.run(
        [script, "--small"], capture_output=True, text=True, check=False, env=environment
    )

    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "device.json").read_text())
    assert [row["note"] for row in rows] == [""] * len(STEPS)
    *tables, cohort = rows
    assert all(row["options"]["share_of_copy"] > 0 for row in tables)
    assert [chunk["chunk_size"] for chunk in cohort["options"]["chunks"]] == [1, 4]
    assert cohort["options"]["chunks"][1]["apart_from_first_over_moved"] < 1e-4
    assert cohort["examples_per_second"] == 4 * 16 / cohort["seconds_per_round"]
    assert cohort["clients"] == 4
    assert set(cohort) == set(KEYS)
    assert "scatter_add" in json.loads((tmp_path / "probe.json").read_text())
