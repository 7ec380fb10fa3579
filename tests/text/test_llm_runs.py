"""The ranker as a user runs it: trained, gone on with, planned, and refused another base."""

import json
import resource
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest

from fedjax_rec.algorithms import ALGORITHMS
from fedjax_rec.cli import main
from fedjax_rec.experiment import open_run
from fedjax_rec.simulation.footprint import at_rest
from fedjax_rec.testing import CHECKS, Subject, toy_data
from tests.text.decoders import write_decoder
from tests.text.prompts import write_prompts

PRESET = "tallrec-movie/smollm2_lora"
SMALL = (
    *("--silos.number", "3", "--silos.size", "5", "--silos.test", "7"),
    *("--algorithm.rank", "2", "--evaluate.every", "1"),
)


def words(tmp_path: Path, base: str = "decoder", seed: int = 0) -> tuple[str, ...]:
    prompts, decoder = tmp_path / "prompts", tmp_path / base
    named = ("--data.name", "mine", "--data.path", str(write_prompts(prompts)))
    read = ("--data.layout", "tallrec", "--algorithm.base", str(write_decoder(decoder, seed)))
    return (PRESET, *named, *read, *SMALL)


def summary(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "summary.json").read_text()))


@pytest.mark.slow
def test_the_preset_learns_and_goes_on_to_the_bit_with_its_own_base_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = words(tmp_path)
    rate = ("--algorithm.dense_learning_rate", "0.05")
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    assert main(["run", *own, *rate, "--rounds", "6", "--output", str(whole)]) == 0
    assert main(["run", *own, *rate, "--rounds", "2", "--output", str(parted)]) == 0
    other = words(tmp_path, "other", seed=1)
    capsys.readouterr()
    assert main(["run", *other, *rate, "--rounds", "6", "--output", str(parted)]) == 2
    assert main(["run", *own, *rate, "--rounds", "6", "--output", str(parted)]) == 0
    assert summary(parted)["metrics"] == summary(whole)["metrics"]
    lines = (whole / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["test/log_loss"] for line in lines]
    assert losses[-1] < losses[0] - 0.5
    run = open_run(whole)
    factors = sum(np.size(leaf) for leaf in _leaves(run.state.shared.dense))
    assert factors == 2 * 2 * (16 + 16 + 16 + 8)  # layers, rank, sides of queries and of values
    rest = at_rest(run.algorithm, run.data)
    assert rest.saved < 4 * (factors + 100)
    assert rest.frozen > 20 * rest.saved  # no base in a checkpoint


@pytest.mark.slow
@pytest.mark.parametrize("exchange", ["nothing", "records"])
def test_owners_who_pool_or_keep_everything_run_too(tmp_path: Path, exchange: str) -> None:
    own = (*words(tmp_path), "--silos.exchange", exchange, "--rounds", "1")
    assert main(["run", *own, "--output", str(tmp_path / "run")]) == 0


def plan(tmp_path: Path, base: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    own = list(words(tmp_path))
    own[own.index("--algorithm.base") + 1] = base
    capsys.readouterr()
    asked = ("--memory", "200GB", "--json", "--algorithm.rank", "8", "--algorithm.batch_size", "1")
    assert main(["plan", *own, *asked]) == 0
    return dict(json.loads(capsys.readouterr().out))


@pytest.mark.slow
def test_plan_tells_the_memory_of_large_bases_and_allocates_none_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {name: plan(tmp_path, name, capsys) for name in ("llama-1b", "llama-7b")}
    numbers = {"llama-1b": 1_034_512_384, "llama-7b": 6_607_343_616}
    for name, found in told.items():
        assert found["at_rest"]["frozen"] == pytest.approx(4 * numbers[name], rel=1e-3)
        assert found["round"]["arguments"] > 4 * numbers[name]
        assert found["evaluation"]["working"] > 0
        assert found["communication"]["up"] < found["at_rest"]["frozen"] / 500
    used = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert used < told["llama-1b"]["at_rest"]["frozen"]
    config = json.loads((tmp_path / "decoder" / "config.json").read_text())
    shape = tmp_path / "shape"
    shape.mkdir()
    (shape / "config.json").write_text(json.dumps(config))
    assert plan(tmp_path, str(shape), capsys)["at_rest"]["frozen"] < 1e6


def test_a_shape_is_refused_by_a_run_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = list(words(tmp_path))
    own[own.index("--algorithm.base") + 1] = "llama-1b"
    assert main(["run", *own, "--output", str(tmp_path / "run")]) == 2
    assert "base 'llama-1b': is a shape without weights" in capsys.readouterr().err


def _leaves(tree: Any) -> list[Any]:
    return [one for key in tree for one in _leaves(tree[key])] if isinstance(tree, dict) else [tree]


# --------------------------------------------------------------------------- the laws

DATA = toy_data()
TITLES = tuple(f"like {i % 7} or {i % 11}, 5{i}?" for i in range(DATA.num_items))
SGD = {  # a random decoder is steep: at larger rates what floats round off grows from step to step
    "local_optimizer": "sgd",
    "dense_learning_rate": 0.002,
}


@cache
def subject(rule: str) -> Subject:
    options = {"model": "llm_ranker", "titles": TITLES, "rank": 2, "batch_size": 16, "rule": rule}
    base = str(write_decoder(Path(mkdtemp())))
    return Subject(ALGORITHMS["fedlora"], options | SGD | {"base": base}, data=DATA)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["fedit", "ffa"])
@pytest.mark.parametrize("check", CHECKS)
def test_the_ranker_keeps_the_law(rule: str, check: str) -> None:
    CHECKS[check](subject(rule))
