"""FELLRec: a round against NumPy in float64, and what it is where all, or none, are alike."""

from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_rec.algorithms import fellrec
from fedjax_rec.algorithms.fedlora import fedlora
from fedjax_rec.algorithms.fellrec import warmth
from fedjax_rec.base import FederatedAlgorithm, Fixed, ItemSide, Part, ServerState, ServerUpdate
from fedjax_rec.config import from_dict
from fedjax_rec.data import load
from fedjax_rec.errors import UserError
from fedjax_rec.evaluation.personal import scores_of
from fedjax_rec.experiment import build as build_experiment
from fedjax_rec.experiment import resolve
from fedjax_rec.models import sasrec
from fedjax_rec.objectives import sampled_item
from fedjax_rec.simulation import Execution, build, pad_cohort
from fedjax_rec.tree import named_leaves

NUM_CLIENTS, NUM_ITEMS, DIM, ROUND = 7, 30, 8, 3
DATA = load("synthetic", num_users=NUM_CLIENTS, num_items=NUM_ITEMS, mean_events=6, seed=1)
MODEL = sasrec(NUM_ITEMS, DIM, max_length=16, num_blocks=2)
OBJECTIVE = sampled_item(NUM_ITEMS, num_negatives=5, local_epochs=2)
OPTIONS: dict[str, Any] = {"rank": 3, "alpha": 6.0, "trained": "scale"}
OWN: dict[str, Any] = {"heat": 0.005, "slowness": 2.5, "temperature": 0.3}
COHORT = [5, 0, 3, 6]


def make(**options: Any) -> FederatedAlgorithm:
    settings = OPTIONS | OWN | options
    return fellrec(MODEL, OBJECTIVE, optax.adam(0.05), num_slots=NUM_CLIENTS, **settings)


@cache
def begun() -> tuple[ServerState, Any, Fixed]:
    """A round in which every client has a theta of its own, far from the others'."""
    state, clients, frozen = build(make()).init(jax.random.key(2), NUM_CLIENTS)
    leaves, tree = jax.tree.flatten(state.extra)
    keys = jax.random.split(jax.random.key(5), len(leaves))
    own = [0.5 * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    state = state._replace(round=jnp.int32(ROUND), extra=jax.tree.unflatten(tree, own))
    return state, clients, Fixed(frozen, DATA.clients)


@cache
def program(**options: Any) -> Any:
    return jax.jit(build(make(**options), Execution(chunk_size=2)).step)


@cache
def listener() -> tuple[Any, Any]:
    """A round of one client whose server keeps what it was sent, in a place like this."""

    def keep(state: Any, stack: Any, cohort: Any) -> Any:
        return state._replace(opt_state=jax.tree.map(lambda leaf: leaf[0], stack.update))

    algorithm = make()
    template = jax.eval_shape(lambda: algorithm.template(begun()[0].shared))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), template)
    alone = replace(algorithm, server_update=ServerUpdate(lambda shared: zeros, keep))
    return jax.jit(build(alone, Execution(chunk_size=1)).step), zeros


@cache
def sent_by(client: int) -> dict[str, np.ndarray]:
    """What one client sends in that round: name -> float64."""
    (step, zeros), (state, clients, fixed) = listener(), begun()
    state = state._replace(opt_state=zeros)
    return leaves64(step(state, clients, pad_cohort([client], 1), fixed)[0].opt_state)


def leaves64(part: Any) -> dict[str, np.ndarray]:
    return {name: np.asarray(leaf, np.float64) for name, leaf in named_leaves(part).items()}


def test_a_round_equals_numpy() -> None:
    state, clients, fixed = begun()
    after = program()(state, clients, pad_cohort(COHORT, NUM_CLIENTS), fixed)[0]
    mean, far = leaves64(state.shared), leaves64(state.extra)
    sent = {client: sent_by(client) for client in COHORT}
    names = [name for name in mean if name.startswith("dense/")]
    assert len(names) > 4  # both factors of queries and values, and norms
    thetas = {
        client: {
            name: mean[name] + far[name][client] + sent[client][f"dense/change/{name[6:]}"]
            for name in names
        }
        for client in COHORT
    }
    flat = {
        c: np.concatenate([theta[name].ravel() for name in names]) for c, theta in thetas.items()
    }
    losses = np.array([sent[client]["dense/loss"] for client in COHORT])
    assert losses.std() > 0.01
    shares = np.exp(losses / OWN["temperature"]) / np.exp(losses / OWN["temperature"]).sum()
    warm = np.tanh(OWN["heat"] / shares ** (ROUND + 1 / OWN["slowness"]))
    found_mean, found_far = leaves64(after.shared), leaves64(after.extra)
    spread = []
    for place, client in enumerate(COHORT):
        weights = {}
        for other in COHORT:
            a, b = flat[client], flat[other]
            cosine = a @ b / np.sqrt((a @ a) * (b @ b))
            weights[other] = 1.0 if other == client else warm[place] * (1 + cosine) / 2
        spread += [weight / sum(weights.values()) for weight in weights.values()]
        for name in names:
            mixed = sum(weights[o] * thetas[o][name] for o in COHORT) / sum(weights.values())
            found = found_mean[name] + found_far[name][client]
            np.testing.assert_allclose(found, mixed, rtol=0, atol=1e-5)
    assert 0.1 < warm.min() < 0.9 * warm.max()
    assert np.std(spread) > 0.1  # far from a plain mean
    for name in names:
        expected = np.mean([thetas[client][name] for client in COHORT], axis=0)
        np.testing.assert_allclose(found_mean[name], expected, rtol=0, atol=1e-5)
        for client in set(range(NUM_CLIENTS)) - set(COHORT):
            np.testing.assert_array_equal(found_far[name][client], far[name][client])
    rows = mean["rows/item"] + np.mean([sent[c]["rows/item"] for c in COHORT], axis=0)
    np.testing.assert_allclose(found_mean["rows/item"], rows, rtol=0, atol=1e-5)


def test_the_one_who_lags_is_by_itself_for_longest() -> None:
    losses = jnp.array([0.2, 0.9, 0.3, 5.0])
    is_in = jnp.array([True, True, True, False])
    first = warmth(losses / 0.3, is_in, 0.5, 0 + 1 / 2)
    later = warmth(losses / 0.3, is_in, 0.5, 4 + 1 / 2)
    assert int(jnp.argmin(first[:3])) == 1
    assert bool(jnp.all(later[:3] >= first[:3]))
    assert bool(jnp.all(jnp.isfinite(first)))


def test_where_all_are_alike_it_is_the_plain_mean_of_factors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = import_module("fedjax_rec.algorithms.fellrec")
    monkeypatch.setattr(module, "cosines", lambda flat: jnp.ones((len(flat), len(flat))))
    mixed = jax.jit(build(make(heat=1e9), Execution(chunk_size=2)).step)
    plain = fedlora(MODEL, OBJECTIVE, optax.adam(0.05), **OPTIONS)
    averaged = jax.jit(build(plain, Execution(chunk_size=2)).step)
    one = build(make()).init(jax.random.key(2), NUM_CLIENTS)
    other = build(plain).init(jax.random.key(2), NUM_CLIENTS)
    state, clients, fixed = one[0], one[1], Fixed(one[2], DATA.clients)
    base_state, base_clients, base_fixed = other[0], other[1], Fixed(other[2], DATA.clients)
    everybody = pad_cohort(list(range(NUM_CLIENTS)), NUM_CLIENTS)
    start = leaves64(state.shared)
    for _ in range(2):
        state, clients, _ = mixed(state, clients, everybody, fixed)
        base_state, base_clients, _ = averaged(base_state, base_clients, everybody, base_fixed)
    expected = leaves64(base_state.shared)
    for name, leaf in leaves64(state.shared).items():
        moved = np.linalg.norm(expected[name] - start[name])
        assert np.linalg.norm(leaf - expected[name]) <= 1e-5 * moved
    assert max(np.abs(leaf).max() for leaf in leaves64(state.extra).values()) < 1e-5


def test_who_does_not_heed_others_keeps_its_own() -> None:
    state, clients, fixed = begun()
    step, cohort = program(heat=1e-12, temperature=1e6), [2, 4]  # so hot that l is 1/2 for both
    after = step(state, clients, pad_cohort(cohort, NUM_CLIENTS), fixed)[0]
    mean, far = leaves64(state.shared), leaves64(state.extra)
    found_mean, found_far = leaves64(after.shared), leaves64(after.extra)
    for client in cohort:
        for name in (name for name in mean if name.startswith("dense/")):
            change = sent_by(client)[f"dense/change/{name[6:]}"]
            own = mean[name] + far[name][client] + change
            np.testing.assert_allclose(
                found_mean[name] + found_far[name][client], own, rtol=0, atol=1e-5
            )


def test_nobody_moves_nothing_and_each_is_scored_by_its_own() -> None:
    state, clients, fixed = begun()
    after = program()(state, clients, pad_cohort([], NUM_CLIENTS), fixed)[0]
    for one, other in zip(
        jax.tree.leaves((state.shared, state.extra)),
        jax.tree.leaves((after.shared, after.extra)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    length, ids = DATA.clients.classes[0]._replace(start=0, stop=NUM_CLIENTS), jnp.array([1, 4])
    own = scores_of(make(), state, clients, fixed)(length, ids, ids)
    assert not np.allclose(own[0], own[1])
    far = jax.tree.map(lambda leaf: leaf.at[4].set(leaf[1]), state.extra)
    alike = scores_of(make(), state._replace(extra=far), clients, fixed)(length, ids, ids)
    np.testing.assert_array_equal(own[0], alike[0])
    assert not np.allclose(own[1], alike[1])


# ------------------------------------------------------------------ as a user asks for it

TABLE: dict[str, Any] = {
    "rounds": 2,
    "data": {"name": "synthetic", "num_users": 12, "num_items": 20, "mean_events": 6},
    "algorithm": {"name": "fellrec", "dim": 8, "rank": 2, "heat": 0.5, "slowness": 3.0},
    "evaluate": {"every": 1, "at_k": [3]},
}


def built(**changes: Any) -> Any:
    table = TABLE | changes
    return build_experiment(resolve(from_dict(table, "here")), lambda line: None)


def ran(experiment: Any, folder: Path, rounds: int) -> Any:
    config = replace(experiment.config, rounds=rounds)
    return replace(experiment, config=config).run(
        folder, resume=True, report=lambda report: None, notice=lambda line: None
    )


def test_it_goes_on_to_the_bit_and_has_a_place_for_users_who_never_train(tmp_path: Path) -> None:
    split = {"holdout": "users", "validation": "users", "share": 0.2}
    experiment = built(split=split, cohort={"sampler": "uniform", "size": 4})
    assert len(experiment.data.training_clients) < experiment.data.num_clients
    whole = ran(experiment, tmp_path / "whole", 3)
    ran(experiment, tmp_path / "parted", 1)
    parted = ran(experiment, tmp_path / "parted", 3)
    for one, other in zip(
        jax.tree.leaves((whole.state.shared, whole.state.extra)),
        jax.tree.leaves((parted.state.shared, parted.state.extra)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    held = np.setdiff1d(np.arange(12), experiment.data.training_clients)
    far = leaves64(whole.state.extra).values()
    is_moved = np.any([leaf.reshape(12, -1).any(axis=1) for leaf in far], axis=0)
    assert not is_moved[held].any()
    assert is_moved[experiment.data.training_clients].sum() >= 4
    assert is_moved[len(experiment.data.training_clients) :].any()  # ids are no places among them


def test_noise_and_numbers_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match="privacy: fellrec does not clip what its clients send"):
        built(privacy={"epsilon": 8.0, "clip_norm": 1.0})
    for change in ({"heat": 0.0}, {"slowness": 0.0}, {"temperature": 0.0}):
        with pytest.raises(ValueError, match=f"{next(iter(change))} must be in"):
            make(**change)
    side = ItemSide(lambda shared, frozen, extra: (), MODEL.score)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="set encodes_alone, or use fedlora"):
        fellrec(replace(MODEL, item_side=side), OBJECTIVE, optax.sgd(0.1), num_slots=3)
    encoded = fellrec(
        replace(MODEL, item_side=side), OBJECTIVE, optax.sgd(0.1), num_slots=3, encodes_alone=True
    )
    assert isinstance(encoded.model.init(jax.random.key(0))[0], Part)
