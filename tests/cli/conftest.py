"""Runs for what reads several of them."""

import json

import numpy as np
import pytest

from fedjax_rec.cli import main

PRESET = """
rounds = 4

[data]
name = "synthetic"
num_users = 30
num_items = 40
mean_events = 8.0

[algorithm]
name = "popularity"

[evaluate]
every = 1
at_k = [10]
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two rows of two seeds each; a little noise is put into their files, for bands."""
    folder = tmp_path_factory.mktemp("reported")
    (folder / "tiny.toml").write_text(PRESET)
    words = ["sweep", str(folder / "tiny.toml"), "--rounds", "3,4", "--seeds", "0..1"]
    assert main([*words, "--output", str(folder / "runs")]) == 0
    for number, log in enumerate(sorted((folder / "runs").rglob("metrics.jsonl"))):
        rng = np.random.default_rng(number)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        for line in lines:
            for key in ("valid/ndcg@10", "test/ndcg@10"):
                line[key] += rng.uniform(-0.05, 0.05)
        log.write_text("".join(json.dumps(line) + "\n" for line in lines))
        path = log.with_name("per_client.npz")
        values = dict(np.load(path))
        values["test/auc"] = np.clip(values["test/auc"] + rng.uniform(-1e-5, 1e-5), 0, 1)
        np.savez(path, **values)
    return folder / "runs"
