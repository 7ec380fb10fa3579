"""Sequence models as a user runs them: presets on generated data, resume, private adapters."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from fedjax_rec import AllClients, EvaluationPlan, Execution, simulate
from fedjax_rec.algorithms import ALGORITHMS
from fedjax_rec.cli import main
from fedjax_rec.data import load
from fedjax_rec.simulation.footprint import round_memory

SMALL = (
    *("--data.name", "synthetic", "--data.num_users", "40", "--data.num_items", "60"),
    *("--data.mean_events", "10", "--algorithm.dim", "8", "--algorithm.max_length", "12"),
    *("--evaluate.every", "1", "--evaluate.training_clients", "0"),
)
FEW = ("--algorithm.num_negatives", "16", "--algorithm.people", "8")
PRESETS = {
    "s3rec-toys/fedsasrec": ("--cohort.size", "16", "--algorithm.num_negatives", "16"),
    "s3rec-toys/sasrec": FEW,
    "beauty/sasrec": FEW,
    "ml-1m-2999/sasrec": FEW,
    "ml-1m-2999/hstu": (*FEW, "--algorithm.head_dim", "4"),
    "ml-1m-2999/bert4rec": FEW,
    "ml-1m-2999/gru4rec": FEW,
}
QUICK = ("s3rec-toys/fedsasrec",)


def run(preset: str, folder: Path, rounds: int, *options: str) -> dict[str, Any]:
    words = ["run", preset, *SMALL, *PRESETS[preset], *options, "--rounds", str(rounds)]
    assert main([*words, "--output", str(folder)]) == 0
    return dict(json.loads((folder / "summary.json").read_text()))


@pytest.mark.parametrize(
    "preset", [pytest.param(p, marks=() if p in QUICK else pytest.mark.slow) for p in PRESETS]
)
def test_a_preset_runs_and_goes_on_to_the_bit(preset: str, tmp_path: Path) -> None:
    whole = run(preset, tmp_path / "whole", 3)
    run(preset, tmp_path / "parted", 1)
    parted = run(preset, tmp_path / "parted", 3)
    assert parted["metrics"] == whole["metrics"]
    assert whole["protocol"]["history"] == "train_and_valid"
    logs = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("whole", "parted")
    ]
    for one, other in zip(*logs, strict=True):
        assert {k: v for k, v in one.items() if k != "seconds"} == {
            k: v for k, v in other.items() if k != "seconds"
        }
    if "fed" in preset:
        assert "train/loss" in logs[0][-1]


def test_a_part_of_the_transformer_may_stay_with_each_client() -> None:
    data = load("synthetic", num_users=30, num_items=60, mean_events=10)
    algorithm = ALGORITHMS["fedper"](
        data.num_items,
        model="sasrec",
        objective="sampled_item",
        num_negatives=16,
        dim=8,
        max_length=12,
        num_blocks=1,
        item_learning_rate=0.1,
        dense_learning_rate=0.1,
        paths="dense/blocks/outer",
    )
    result = simulate(
        algorithm, data, key=jax.random.key(0), rounds=2, evaluation=EvaluationPlan(every=2)
    )
    shared = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree_util.tree_leaves_with_path(result.state.shared)
    }
    assert not [name for name in shared if "outer" in name]
    own = [leaf for leaf in jax.tree.leaves(result.clients.private) if leaf.shape[1:] == (1, 8, 8)]
    assert len(own) == 1
    distances = own[0].reshape(30, -1).sum(axis=1)
    assert len(np.unique(distances)) > 20


@pytest.mark.slow
def test_a_million_items_take_little_more_than_their_table() -> None:
    """64 clients at once with 512 negatives, each on its own rows."""
    data = load("synthetic", num_users=64, num_items=2**20, mean_events=30)
    algorithm = ALGORITHMS["fedavg"](
        data.num_items,
        model="sasrec",
        objective="sampled_item",
        num_negatives=512,
        local_optimizer="sgd",
    )
    execution = Execution(num_devices=1, chunk_size=64)
    memory = round_memory(algorithm, data, AllClients(64), execution)
    assert memory is not None
    table = 2**20 * 64 * 4
    assert memory.temporary - table <= 150e6
