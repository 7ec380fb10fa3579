"""A run that is killed, again and again, ends as one that was left alone."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest

ROUNDS = 40
COMMAND = [
    *(sys.executable, "-m", "fedjax_rec", "run", "synthetic/fedmf"),
    *("--rounds", str(ROUNDS), "--evaluate.every", "4", "--algorithm.dim", "4"),
    *("--data.num-users", "40", "--data.num-items", "60", "--data.mean-events", "9"),
    *("--cohort.sampler", "uniform", "--cohort.size", "16"),
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The same programs are compiled at every start: once is enough."""
    cache = tmp_path_factory.mktemp("compiled")
    return os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def start(folder, environment):
    """Starts the run, and waits for the round that it says it goes on from."""
    said_path = folder.with_suffix(".err")
    with said_path.open("w") as said:
        process = subprocess.Popen(
            [*COMMAND, "--output", str(folder)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=said,
        )
    pattern = rf"starting at round (0)\n|going on from round (\d+) of {ROUNDS}\n"
    while not (match := re.search(pattern, said_path.read_text())):
        assert process.poll() is None, said_path.read_text()
        time.sleep(0.01)
    return process, int(match[1] or match[2])


def log_lines(folder):
    log = folder / "metrics.jsonl"
    text = log.read_text() if log.exists() else ""
    return text.splitlines()


def end_of(folder):
    lines = [json.loads(line) for line in log_lines(folder)]
    for line in lines:
        del line["seconds"]
    record = (folder / "checkpoints" / str(ROUNDS) / "record" / "metadata").read_text()
    metrics = json.loads((folder / "summary.json").read_text())["metrics"]
    return lines, metrics, json.loads(record)["checksums"]


@pytest.mark.slow
def test_five_kills_at_random_moments_change_nothing(tmp_path, environment):
    alone, first_round = start(tmp_path / "alone", environment)
    assert first_round == 0
    assert alone.wait(300) == 0

    moments = random.Random(8)
    folder, first_rounds = tmp_path / "killed", []
    for _ in range(5):
        process, first_round = start(folder, environment)
        first_rounds.append(first_round)
        enough = first_round + moments.randint(0, 7)
        while len(log_lines(folder)) < enough and process.poll() is None:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    last, first_round = start(folder, environment)
    first_rounds.append(first_round)
    assert last.wait(300) == 0

    assert first_rounds == sorted(first_rounds)
    assert 0 < first_rounds[-1] < ROUNDS
    said = folder.with_suffix(".err").read_text().splitlines()
    assert not any("warning" in line for line in said if "below Popularity" not in line)
    for one, other in zip(end_of(tmp_path / "alone"), end_of(folder), strict=True):
        assert one == other
