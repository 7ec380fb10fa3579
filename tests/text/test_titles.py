"""Titles reach a model from the data of a run, and a run goes on with the same ones alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedjax_rec.config import from_dict
from fedjax_rec.errors import UserError
from fedjax_rec.experiment import Experiment, build, resolve
from tests.text.encoders import write_encoder

NUM_USERS, NUM_ITEMS = 12, 30


def write_events(folder: Path, titles: bool = True, changed: int = -1) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        f"{user + 1}\t{item}\t4\t{user * item}"
        for user in range(NUM_USERS)
        for item in range(NUM_ITEMS)
        if (7 * user + 3 * item) % 5 < 2
    ]
    (folder / "u.data").write_text("\n".join(rows) + "\n")
    named = [f"{i}|{'star' if i == changed else 'toy'} story ({i})|x" for i in range(NUM_ITEMS)]
    if titles:
        (folder / "u.item").write_text("\n".join(named) + "\n")
    return folder


def built(events: Path, encoder: Path, **settings: Any) -> Experiment:
    algorithm = {
        "name": "fedavg",
        "model": "text_tower",
        "tower": str(encoder),
        "dim": 3,
        "num_negatives": 2,
        "batch_size": 6,
        "max_positives": 4,
    }
    table = {
        "rounds": 2,
        "data": {"name": "mine", "path": str(events)},
        "algorithm": algorithm | settings,
        "cohort": {"sampler": "uniform", "size": 4},
        "evaluate": {"every": 1, "at_k": [4]},
    }
    return build(resolve(from_dict(table, "here")), lambda line: None)


def ran(experiment: Experiment, folder: Path, rounds: int = 2) -> Any:
    return experiment.run(folder, resume=True, report=lambda report: None, notice=lambda line: None)


def test_data_without_titles_are_refused_in_one_line(tmp_path: Path) -> None:
    encoder = write_encoder(tmp_path / "encoder")
    events = write_events(tmp_path / "events", titles=False)
    with pytest.raises(UserError, match=r"fedavg: reads titles of items, which .* has none of"):
        built(events, encoder)
    with pytest.raises(UserError, match=r"algorithm.titles: fedavg has no such setting"):
        built(events, encoder, titles="x")


def test_a_run_reads_its_data_and_goes_on_with_the_same_titles_alone(tmp_path: Path) -> None:
    encoder = write_encoder(tmp_path / "encoder")
    experiment = built(write_events(tmp_path / "events"), encoder)
    titles = experiment.data.split.train.item_titles
    labels = experiment.data.split.train.item_labels
    assert titles == tuple(f"toy story ({label})" for label in labels)  # in the order of items
    result = ran(experiment, tmp_path / "run")
    assert np.isfinite(result.metrics[-1]["train/loss"])
    assert not result.state.shared.rows
    identity = json.loads((tmp_path / "run" / "summary.json").read_text())["identity"]
    assert identity["frozen"]
    saved = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert not [path for path in saved if b"toy story" in path.read_bytes()]
    assert max(path.stat().st_size for path in saved) < 2**17  # no word of the vocabulary either
    for other in (
        built(write_events(tmp_path / "other", changed=4), encoder),
        built(write_events(tmp_path / "events"), write_encoder(tmp_path / "another", seed=1)),
    ):
        with pytest.raises(UserError, match="holds another run"):
            ran(other, tmp_path / "run")
