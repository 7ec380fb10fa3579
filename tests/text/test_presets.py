"""The presets of text as a user runs them, on a small encoder and a few events."""

import json
from pathlib import Path
from typing import Any

import pytest

from fedjax_rec.cli import main
from tests.text.encoders import write_encoder
from tests.text.test_titles import write_events

SMALL = (
    *("--cohort.size", "4", "--evaluate.every", "1", "--algorithm.dim", "3"),
    *("--algorithm.rank", "2", "--stop.patience", "0"),
)
CACHED = ("--algorithm.num_cached_layers", "1")
RULES = {
    "fedit": (),
    "ffa": ("--algorithm.rule", "ffa"),
    "fedsa": ("--algorithm.rule", "fedsa", "--algorithm.encodes_alone", "true"),
}


def run(preset: str, folder: Path, rounds: int, *options: str) -> dict[str, Any]:
    words = ["run", preset, *SMALL, *options, "--rounds", str(rounds), "--output", str(folder)]
    assert main(words) == 0
    return dict(json.loads((folder / "summary.json").read_text()))


@pytest.fixture
def sources(tmp_path: Path) -> tuple[str, ...]:
    events = write_events(tmp_path / "events")
    encoder = write_encoder(tmp_path / "encoder")
    named = ("--data.name", "mine", "--data.path", str(events))
    return (*named, "--algorithm.tower", str(encoder))


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["ml-100k/minilm_lora", "ml-100k/minilm_cold"])
def test_a_preset_runs_and_goes_on_to_the_bit(
    preset: str, sources: tuple[str, ...], tmp_path: Path
) -> None:
    options = (*sources, *(CACHED if "cold" in preset else ()))
    whole = run(preset, tmp_path / "whole", 3, *options)
    run(preset, tmp_path / "parted", 1, *options)
    parted = run(preset, tmp_path / "parted", 3, *options)
    assert parted["metrics"] == whole["metrics"]
    expected = "held_out" if "cold" in preset else "full"
    assert whole["protocol"]["candidates"] == expected


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_of_sums_runs_on_text(
    rule: str, sources: tuple[str, ...], tmp_path: Path
) -> None:
    options = (*sources, *CACHED, *RULES[rule])
    assert run("ml-100k/minilm_cold", tmp_path / "run", 2, *options)["metrics"]


@pytest.mark.slow
def test_the_frozen_encoder_and_rules_of_products_run_on_text(
    sources: tuple[str, ...], tmp_path: Path
) -> None:
    for name in ("fedexlora", "flexlora"):
        table = f"""
rounds = 2
[data]
name = "mine"
path = {sources[3]!r}
[algorithm]
name = "{name}"
model = "text_tower"
tower = {sources[5]!r}
trained = "projection"
rank = 2
dim = 3
max_positives = 4
[cohort]
sampler = "uniform"
size = 4
"""
        file = tmp_path / f"{name}.toml"
        file.write_text(table)
        assert main(["run", str(file), "--output", str(tmp_path / name)]) == 0
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        assert summary["metrics"]
