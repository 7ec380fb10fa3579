"""A run starts from another's dense parameters, on other items: from those and no others."""

import json
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_rec import simulate, start_from
from fedjax_rec.algorithms import fedavg
from fedjax_rec.algorithms.fedlora import fedlora
from fedjax_rec.algorithms.lora_products import fedexlora
from fedjax_rec.base import FederatedAlgorithm, Inputs, Model, Part, Private, View, Weights
from fedjax_rec.cli import main
from fedjax_rec.clients import local_training
from fedjax_rec.data import FederatedData, load
from fedjax_rec.errors import UserError
from fedjax_rec.experiment import open_run
from fedjax_rec.experiment.assembly import find_factory
from fedjax_rec.models import sasrec
from fedjax_rec.objectives import Sampler, binary_cross_entropy, sampled, sampled_item
from fedjax_rec.recommenders import recommender
from fedjax_rec.simulation import EarlyStop, EvaluationPlan, Start, build
from fedjax_rec.simulation.checkpoint import Checkpointer
from fedjax_rec.simulation.records import write_json
from fedjax_rec.transforms import chain, clip_by_norm, gaussian_noise, mean
from fedjax_rec.tree import named_leaves

A = load("synthetic", num_users=14, num_items=30, mean_events=6, seed=1)
B = load("synthetic", num_users=9, num_items=22, mean_events=5, seed=2)
PLAN = EvaluationPlan(every=1, at_k=(3,))


def algorithm(num_items: int, rate: float = 0.1, **settings: Any) -> FederatedAlgorithm:
    """Federated averaging of a tower over rows of items, by factory: runs share programs."""
    options = {"model": "ncf", "dim": 4, "num_negatives": 2, "dense_learning_rate": rate}
    options |= {"user_learning_rate": 2 * rate, "item_learning_rate": 3 * rate}
    return find_factory("fedavg")(num_items, **options | settings)


def run(made: FederatedAlgorithm, data: FederatedData, **options: Any) -> Any:
    settings = {"key": jax.random.key(3), "rounds": 2, "evaluation": PLAN}
    return simulate(made, data, **{"notice": lambda line: None} | settings | options)


def dense(result: Any) -> dict[str, np.ndarray]:
    return {
        name: np.asarray(leaf) for name, leaf in named_leaves(result.state.shared.dense).items()
    }


def assert_equal(one: Any, other: Any, atol: float = 0) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        if jnp.issubdtype(left.dtype, jax.dtypes.prng_key):
            left, right = jax.random.key_data(left), jax.random.key_data(right)
        np.testing.assert_allclose(left, right, rtol=0, atol=atol)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A run on A whose best round is not its last."""
    folder = tmp_path_factory.mktemp("first") / "a"
    stop = EarlyStop("valid/ndcg@3", patience=9)
    result = run(algorithm(30, rate=1.5), A, rounds=6, output=folder, stop=stop)
    assert result.summary["reported_round"] < result.summary["rounds"] == 6
    return folder, result


# ------------------------------------------------------------------------- what is taken


def test_dense_parameters_of_the_reported_round_are_taken_and_nothing_else(first: Any) -> None:
    folder, earlier = first
    start = start_from(folder)
    assert start.round == earlier.summary["reported_round"]
    made = algorithm(22, rate=1e-30)  # nothing dense moves
    told: list[str] = []
    begun = run(made, B, rounds=1, start=start, notice=told.append)
    plain = run(made, B, rounds=1)
    for name, leaf in dense(earlier).items():
        np.testing.assert_allclose(dense(begun)[name], leaf, rtol=0, atol=1e-20)
        assert not np.array_equal(dense(plain)[name], leaf)
    assert_equal(begun.state.shared.rows, plain.state.shared.rows, 1e-20)
    assert_equal(begun.clients, plain.clients, 1e-20)
    numbers = sum(leaf.size for leaf in dense(earlier).values())
    assert (
        told[0]
        == start.in_words(begun.state)
        == (
            f"start: takes user, item, bias, hidden/0/weight, hidden/0/bias, hidden/1/weight, "
            f"hidden/1/bias, output/weight, 1 more ({numbers} numbers) of {folder}, round "
            f"{start.round}; afresh: rows of item, what clients keep"
        )
    )


def test_whatever_follows_from_the_shared_parameters_follows_from_those_taken(first: Any) -> None:
    start = start_from(first[0])
    made = replace(
        algorithm(22),
        init_memory=lambda shared: Private({}, 2 * shared.dense.bias),
        init_extra=lambda key, shared: Part({}, {"twin": shared.dense.bias}),
    )
    plain = build(made).init(jax.random.key(0), 9)[0]
    state, clients, _ = build(made).init(jax.random.key(0), 9, start.taken(plain))
    bias = start.arrays["shared/dense/bias"]
    np.testing.assert_array_equal(state.extra.dense["twin"], bias)
    np.testing.assert_array_equal(clients.memory.dense, np.tile(2 * bias, (9, 1)))


def test_a_dense_part_of_one_array_is_taken_too(tmp_path: Path) -> None:
    earlier = run(algorithm(30, model="gmf"), A, output=tmp_path)
    start = start_from(tmp_path)
    begun = run(algorithm(22, model="gmf", rate=1e-30), B, rounds=1, start=start)
    assert "takes shared/dense (4 numbers)" in start.in_words(begun.state)
    np.testing.assert_array_equal(begun.state.shared.dense, earlier.state.shared.dense)


def test_what_has_no_place_is_named(first: Any) -> None:
    start = start_from(first[0])
    arrays = {**start.arrays, "shared/dense/adapter/kernel": np.zeros((2, 2), np.float32)}
    del arrays["shared/dense/user"]
    state = build(algorithm(22)).init(jax.random.key(0), 9)[0]
    line = replace(start, arrays=arrays).in_words(state)
    assert "afresh: user, rows of item" in line
    assert line.endswith("not taken, for they have no place here: adapter/kernel")


# ------------------------------------------------------------------------------ identity


def test_a_run_with_a_start_goes_on_to_the_bit_and_says_what_it_started_from(
    first: Any, tmp_path: Path
) -> None:
    start, told = start_from(first[0]), list[str]()
    whole = run(algorithm(22), B, rounds=4, start=start, output=tmp_path / "whole")
    run(algorithm(22), B, rounds=1, start=start, output=tmp_path / "b")
    parted = run(algorithm(22), B, rounds=4, start=start, output=tmp_path / "b", notice=told.append)
    assert parted.first_round == 1
    assert not any(line.startswith("start: takes") for line in told)
    assert_equal(parted.state, whole.state)
    facts = {"run": str(first[0]), **start.facts}
    assert json.loads((tmp_path / "b" / "summary.json").read_text())["start"] == facts
    recorded = tomllib.loads((tmp_path / "b" / "config.toml").read_text())["recorded"]
    assert recorded["start"] == start.facts
    assert len(start.facts["sha256"]) == 64


def test_a_folder_with_another_start_or_none_is_refused(first: Any, tmp_path: Path) -> None:
    start = start_from(first[0])
    other = replace(start, arrays={**start.arrays, "shared/dense/bias": np.ones(4, np.float32)})
    folders = {"none": None, "one": start}
    for name, given in folders.items():
        run(algorithm(22), B, start=given, output=tmp_path / name)
    for name, given in (("none", start), ("one", None), ("one", other)):
        with pytest.raises(UserError, match=r"holds another run: start\.sha256 was"):
            run(algorithm(22), B, rounds=3, start=given, output=tmp_path / name)
    # a checkpoint of a version that knew of no start was made without one
    steps = Checkpointer(tmp_path / "none" / "checkpoints")
    record = steps.record(2)
    assert record is not None
    steps.close()
    del record["identity"]["start"]
    inner = tmp_path / "none" / "checkpoints" / "2"
    write_json(inner / "record" / "metadata", record)
    (inner / "files.json").unlink()
    with pytest.raises(UserError, match=r"holds another run: start\.sha256 was missing"):
        run(algorithm(22), B, rounds=3, start=start, output=tmp_path / "none")


def test_a_private_run_says_that_its_start_is_not_covered(first: Any) -> None:
    noisy = chain(clip_by_norm(0.5), mean("client", divisor=9), gaussian_noise(2.0))
    made = replace(algorithm(22), aggregate=noisy)
    for start in (None, start_from(first[0])):
        privacy = run(made, B, start=start).summary["privacy"]
        lines = [line for line in privacy["not_covered"] if "training started from" in line]
        assert len(lines) == (start is not None)
        assert privacy["claims"] == "valid"


# ------------------------------------------------------------------------------ refusals


def damaged(folder: Path, step: int) -> None:
    data = max((folder / "checkpoints" / str(step)).rglob("*"), key=lambda path: path.is_file())
    data.write_bytes(b"x")


def test_folders_that_cannot_be_started_from_are_named(first: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    shutil.copytree(first[0], tmp_path / "unfinished")
    (tmp_path / "unfinished" / "summary.json").unlink()
    shutil.copytree(first[0], tmp_path / "damaged")
    damaged(tmp_path / "damaged", first[1].summary["reported_round"])
    for name, reason in (
        ("nowhere", "no such folder"),
        ("empty", "not the folder of a run"),
        ("unfinished", "not finished"),
        ("damaged", "is damaged"),
    ):
        with pytest.raises(UserError, match=reason) as caught:
            start_from(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def test_sizes_that_differ_and_nothing_in_common_are_refused(first: Any, tmp_path: Path) -> None:
    start = start_from(first[0])
    with pytest.raises(UserError, match=r"bias is float32\[4\] in .* and float32\[6\] here"):
        run(algorithm(22, dim=6), B, start=start, output=tmp_path / "b")
    with pytest.raises(UserError, match=r"nothing is in common .* those of this run none"):
        run(find_factory("fedmf")(22), B, start=start)
    with pytest.raises(UserError, match="is the run's own folder"):
        run(algorithm(30), A, start=start, output=first[0], resume=False)
    assert (first[0] / "summary.json").exists()


def based(num_items: int, sha256: str, titles: float) -> FederatedAlgorithm:
    """A tower on frozen weights, beside which lies what the catalogue says."""
    plain = recommender(num_items, model="ncf", dim=4).model

    def read() -> Part:
        return Part({}, {"base": np.ones(3, np.float32), "tokens": np.full(2, titles, np.float32)})

    def score(view: View, inputs: Inputs) -> jax.Array:
        return plain.score(view, inputs) * view.frozen.dense["tokens"][0]

    model: Model = plain.with_score(score, weights=Weights(read, "a file", sha256 * 64))
    objective = sampled(Sampler(num_items, batch_size=16), binary_cross_entropy)
    return fedavg(model, objective, local_training(model, objective, optax.sgd(0.3)), mean("row"))


def test_other_frozen_weights_are_refused_and_other_titles_are_not(tmp_path: Path) -> None:
    run(based(30, "a", 1.0), A, output=tmp_path)
    start = start_from(tmp_path)
    assert run(based(22, "a", 2.0), B, start=start).metrics
    with pytest.raises(UserError, match=r"SHA-256 a{12}\.\.\. there and SHA-256 bbbb"):
        run(based(22, "b", 1.0), B, start=start)
    with pytest.raises(UserError, match="there and none here"):
        run(algorithm(22), B, start=start)


def adapted(factory: Any, num_items: int, alpha: float = 6.0) -> FederatedAlgorithm:
    model = sasrec(num_items, 8, max_length=16, num_blocks=1)
    objective = sampled_item(num_items, num_negatives=3)
    made: FederatedAlgorithm = factory(model, objective, optax.adam(0.05), rank=2, alpha=alpha)
    return made


def test_factors_are_nothing_without_their_base_and_their_residual(tmp_path: Path) -> None:
    earlier = run(adapted(fedexlora, 30), A, output=tmp_path)
    start = start_from(tmp_path)
    with pytest.raises(UserError, match="base/blocks/attention/key/kernel was drawn otherwise"):
        run(adapted(fedexlora, 22), B, start=start, key=jax.random.key(4))
    with pytest.raises(UserError, match=r"alpha is 6 in .* and 7 here; set algorithm\.alpha"):
        run(adapted(fedexlora, 22, alpha=7.0), B, start=start)
    with pytest.raises(UserError, match=r"residual, without which .* start fedexlora from it"):
        run(adapted(fedlora, 22), B, start=start)
    made = adapted(fedexlora, 22)
    plain = build(made).init(jax.random.key(3), 9)[0]
    state = build(made).init(jax.random.key(3), 9, start.taken(plain))[0]
    assert_equal(state.extra, earlier.state.extra)
    assert np.abs(np.concatenate([x.ravel() for x in jax.tree.leaves(state.extra)])).max() > 0
    assert_equal(state.shared.dense, earlier.state.shared.dense)


# ------------------------------------------------------------------- as a user asks for it

PRESET = """
rounds = 2
[data]
name = "synthetic"
num_users = 12
num_items = {items}
mean_events = 5.0
seed = 7
[algorithm]
name = "fedavg"
model = "ncf"
dim = 4
dense_learning_rate = 0.7
[evaluate]
every = 1
at_k = [3]
"""


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Any:
    def run_words(*words: Any) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run_words


def test_the_command_line_starts_goes_on_refuses_and_sweeps(
    told: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, items in (("a", 20), ("b", 31)):
        Path(f"{name}.toml").write_text(PRESET.format(items=items))
    assert told("run", "a.toml", "--output", "a")[0] == 0
    still = ("--algorithm.dense_learning_rate", "1e-30", "--rounds", "1")
    assert told("run", "b.toml", "--output", "still", "--start.run", "a", *still)[0] == 0
    assert_equal(open_run("still").state.shared.dense, open_run("a").state.shared.dense, 1e-20)
    code, output, errors = told("run", "b.toml", "--output", "b", "--start.run", "a", "--rounds", 1)
    assert code == 0
    assert f"of {tmp_path / 'a'}, round 2; afresh: rows of item, what clients keep" in errors
    config = tomllib.loads(Path("b/config.toml").read_text())
    assert config["start"] == {"run": str(tmp_path / "a")}
    code, _, errors = told("run", "b.toml", "--output", "b", "--rounds", "2")
    assert code == 2
    assert "start.run" in errors
    assert told("run", "b.toml", "--output", "b", "--start.run", "a", "--rounds", "2")[0] == 0
    for verb in ("run", "plan"):
        for change in (("--start.run", "nowhere"), ("--start.run", "a", "--algorithm.dim", "6")):
            place = ("--output", "new") if verb == "run" else ()
            code, _, errors = told(verb, "b.toml", *place, *change)
            assert code == 2
            assert errors.splitlines()[-1].startswith("fedjax-rec: error: start: ")
            assert not Path("new").exists()
    code, output, _ = told("sweep", "b.toml", "--output", "d", "--start.run", "a,still")
    assert code == 0, output
    starts = {json.loads(f.read_text())["start"]["run"] for f in Path("d").rglob("summary.json")}
    assert starts == {str(tmp_path / "a"), str(tmp_path / "still")}
    shutil.rmtree("a")
    assert open_run("b").state.round == 2  # what it started from is in it
    assert told("run", "b.toml", "--output", "b", "--start.run", tmp_path / "a")[0] == 0


def test_audits_start_where_the_run_does_or_say_that_they_do_not(
    told: Any, first: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("b.toml").write_text(PRESET.format(items=31))
    words = ("b.toml", "--start.run", first[0], "--rounds", "1")
    assert told("audit", "privacy", *words, "--output", "p", "--clients", "2")[0] == 0
    assert json.loads(Path("p/run/summary.json").read_text())["start"]["run"] == str(first[0])
    code, _, errors = told("audit", "evaluation", *words, "--output", "e")
    assert code == 2
    assert "start.run: an audit's arms all begin afresh" in errors


def test_the_public_names_are_there() -> None:
    assert start_from.__module__ == Start.__module__ == "fedjax_rec.simulation.start"
