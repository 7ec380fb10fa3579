"""The door of frozen parameters: read once, an argument of programs, in no constant, checked."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_rec import Execution, fedavg, simulate
from fedjax_rec.base import (
    FederatedAlgorithm,
    Fixed,
    Inputs,
    LengthClass,
    Model,
    Part,
    View,
    Weights,
)
from fedjax_rec.baselines import local_only
from fedjax_rec.clients import local_training
from fedjax_rec.data import load
from fedjax_rec.errors import UserError
from fedjax_rec.objectives import Sampler, binary_cross_entropy, sampled
from fedjax_rec.recommenders import recommender
from fedjax_rec.simulation import build, general, load_run, programs
from fedjax_rec.simulation.context import Round
from fedjax_rec.simulation.footprint import at_rest
from fedjax_rec.transforms import mean

NUM_ITEMS, WIDTH = 60, 16


@pytest.fixture(scope="module")
def data() -> Any:
    return load("synthetic", num_users=40, num_items=NUM_ITEMS, mean_events=10, size_sigma=1.0)


def based(base: np.ndarray, loads: list[int] | None = None, source: str = "a file") -> Model:
    """A small model on a large frozen base: `x = base[:, 0]`, score `p . (A x_i)`."""
    plain = recommender(NUM_ITEMS, model="mf", dim=4).model

    def load_base() -> Part:
        if loads is not None:
            loads.append(1)
        return Part({}, {"base": base})

    def score(view: View, inputs: Inputs) -> jax.Array:
        read = view.frozen.dense["base"][:WIDTH, 0].sum()
        return plain.score(view, inputs) * (1 + read)

    return plain.with_score(score, weights=Weights(load_base, source, "0" * 64))


def algorithm_of(model: Model, **options: Any) -> FederatedAlgorithm:
    objective = sampled(Sampler(NUM_ITEMS, batch_size=64, **options), binary_cross_entropy)
    return fedavg(model, objective, local_training(model, objective, optax.sgd(1.0)), mean("row"))


def small_base(value: float = 0.5) -> np.ndarray:
    return np.full((64, WIDTH), value, np.float32)


# --------------------------------------------------------------------- the door


def test_weights_are_read_once_and_are_no_constants_of_any_program(
    data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[str] = []
    compiled = programs.compile_program, programs.lower_compiled

    def seen(number: int) -> Any:
        def compile(lowered: Any) -> Any:
            texts.append(lowered.as_text())
            return compiled[number](lowered)

        return compile

    monkeypatch.setattr(programs, "compile_program", seen(0))
    monkeypatch.setattr(programs, "lower_compiled", seen(1))
    programs.clear_programs()
    loads: list[int] = []
    base = np.random.default_rng(0).normal(size=(256, 1024)).astype(np.float32)
    simulate(algorithm_of(based(base, loads)), data, key=jax.random.key(0), rounds=2)
    assert len(loads) == 1
    assert len(texts) >= 3  # the start, the rounds, the evaluation
    assert max(map(len, texts)) < base.nbytes  # as text a constant is longer than its bytes


def test_the_base_changes_what_is_trained_and_stays_as_it_is(data: Any) -> None:
    one, other = (
        simulate(algorithm_of(based(small_base(value))), data, key=jax.random.key(0), rounds=2)
        for value in (0.0, 0.5)
    )
    np.testing.assert_array_equal(other.frozen.dense["base"], small_base())
    gap = np.abs(one.state.shared.rows["item"] - other.state.shared.rows["item"])
    assert gap.max() > 1e-3


def test_a_run_goes_on_with_its_own_base_alone(data: Any, tmp_path: Path) -> None:
    def run(model: Model, rounds: int) -> Any:
        return simulate(
            algorithm_of(model), data, key=jax.random.key(0), rounds=rounds, output=tmp_path
        )

    run(based(small_base()), 2)
    saved = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    for other in (based(small_base(0.51)), based(small_base(), source="another file")):
        with pytest.raises(UserError, match="holds another run"):
            run(other, 4)
        with pytest.raises(UserError, match="holds another run"):
            load_run(tmp_path, algorithm_of(other), data, key=jax.random.key(0))
    whole = simulate(algorithm_of(based(small_base())), data, key=jax.random.key(0), rounds=4)
    resumed = run(based(small_base()), 4)
    for left, right in zip(
        jax.tree.leaves(whole.state.shared), jax.tree.leaves(resumed.state.shared), strict=True
    ):
        np.testing.assert_array_equal(left, right)
    assert json.loads((tmp_path / "summary.json").read_text())["identity"]["frozen"]
    assert saved < 2**21


def test_no_checkpoint_holds_the_base(data: Any, tmp_path: Path) -> None:
    base = np.random.default_rng(0).normal(size=(2048, 1024)).astype(np.float32)  # 8 MB
    simulate(
        algorithm_of(based(base)), data, key=jax.random.key(0), rounds=1, output=tmp_path / "run"
    )
    saved = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert saved < base.nbytes / 4


def test_own_copies_read_the_base_too(data: Any) -> None:
    plain = algorithm_of(based(small_base()))
    personal = local_only(plain)
    result = simulate(personal, data, key=jax.random.key(0), rounds=2)
    found = [leaf for leaf in jax.tree.leaves(result.frozen) if leaf.shape == (64, WIDTH)]
    assert len(found) == 1


def test_two_parts_in_one_place_are_refused(data: Any) -> None:
    model = based(small_base())
    twice = replace(model, init=lambda key: (model.init(key)[0], Part({}, {"base": jnp.zeros(3)})))
    with pytest.raises(ValueError, match="two parts hold a parameter in the same place"):
        simulate(algorithm_of(twice), data, key=jax.random.key(0), rounds=1)


def test_the_plan_counts_the_base_apart(data: Any) -> None:
    rest = at_rest(algorithm_of(based(small_base())), data)
    assert rest.frozen == small_base().nbytes
    assert rest.parameters["frozen", "dense"].numbers == small_base().size
    assert rest.saved < small_base().nbytes + rest.store + rest.server


# ------------------------------------------------------------------------- chunks


def chunk_size(model: Model, data: Any, length: LengthClass, capacity: int = 32) -> int:
    algorithm = algorithm_of(model)
    state, clients, drawn = jax.eval_shape(
        lambda: build(algorithm).init(jax.random.key(0), data.num_clients)
    )
    frozen = jax.eval_shape(lambda: model.weights.load() if model.weights else drawn)
    this = Round(algorithm, Execution(), state, Fixed(frozen, data.clients))

    def found(state: Any, clients: Any, frozen: Any) -> jax.Array:
        now = Round(algorithm, Execution(), state, Fixed(frozen, data.clients))
        sizes.append(general._chunk_size(now, length, clients, capacity))
        return jnp.zeros(())

    sizes: list[int] = []
    jax.eval_shape(found, state, clients, this.fixed.frozen)
    return sizes[0]


def test_many_clients_share_a_large_base_in_one_chunk(data: Any) -> None:
    everybody = LengthClass.covering(data.clients.classes)
    base = np.broadcast_to(np.float32(0.5), (22_564_992 // WIDTH, WIDTH))  # 90 MB, not allocated
    assert chunk_size(based(base), data, everybody) >= 8
    plain = recommender(NUM_ITEMS, model="mf", dim=512).model  # 2 x 120 kB a client, no base
    assert chunk_size(plain, data, everybody) < 8


def test_a_chunk_is_no_larger_than_a_class_is_in_the_cohort(data: Any) -> None:
    base = np.broadcast_to(np.float32(0.5), (22_564_992 // WIDTH, WIDTH))
    model, everybody = based(base), LengthClass.covering(data.clients.classes)
    few = everybody._replace(stop=5)  # of 40: of a cohort of 16, two
    assert chunk_size(model, data, few, capacity=16) == 2
    assert chunk_size(model, data, few, capacity=40) == 5


# ---------------------------------------------------------------- a cap on local steps


def test_a_cap_on_positives_bounds_the_steps(data: Any) -> None:
    plain = recommender(NUM_ITEMS, model="mf", dim=4).model
    counts = np.diff(np.asarray(data.clients.offsets))
    assert (counts > 6).sum() > 5
    objective = sampled(
        Sampler(NUM_ITEMS, num_negatives=2, batch_size=6, max_positives=6), binary_cross_entropy
    )
    longest = LengthClass.covering(data.clients.classes)
    assert objective.batch is not None
    drawn = set()
    for client in range(40):
        history = data.clients.history(client, longest)
        for seed in (0, 1):
            _, plan = objective.prepare(jax.random.key(seed), history)
            steps = int(objective.num_steps(plan))
            assert steps == -(-3 * min(counts[client], 6) // 6)
            batches = [objective.batch(plan, jnp.int32(step)) for step in range(steps)]
            positives = np.concatenate(
                [np.asarray(one.inputs.ids)[one.label == 1] for one in batches]
            )
            assert len(set(positives.tolist())) == min(counts[client], 6)
            if counts[client] > 12:
                drawn.add((client, tuple(sorted(positives.tolist()))))
    clients = {client for client, _ in drawn}
    assert len(drawn) == 2 * len(clients) > 2  # another choice in another round
    result = simulate(algorithm_of(plain, max_positives=6), data, key=jax.random.key(0), rounds=1)
    line = result.metrics[-1]
    assert line["train/examples"] <= 40 * 6 * 5
