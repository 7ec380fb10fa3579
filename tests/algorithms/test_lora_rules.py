"""Federated LoRA against float64: products are averaged exactly, or wrong by what is said.

The oracle trains each client in a round of its own, and averages in NumPy.
"""

from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_rec.algorithms.fedlora import fedlora
from fedjax_rec.algorithms.lora_products import (
    fedexlora,
    flexlora,
    mean_products,
    product_error,
    product_norm,
    shares_of,
    truncated,
)
from fedjax_rec.base import (
    AggregateTransform,
    FederatedAlgorithm,
    Fixed,
    Part,
    ServerState,
    ServerUpdate,
)
from fedjax_rec.config import from_dict
from fedjax_rec.data import load
from fedjax_rec.errors import UserError
from fedjax_rec.experiment import build as build_experiment
from fedjax_rec.experiment import resolve
from fedjax_rec.models import sasrec
from fedjax_rec.models.lora import factor_pairs
from fedjax_rec.objectives import sampled_item
from fedjax_rec.simulation import Execution, build, pad_cohort
from fedjax_rec.transforms import chain, clip_by_norm, gaussian_noise

NUM_CLIENTS, NUM_ITEMS, DIM, RANK, ALPHA = 6, 40, 8, 3, 6.0
DATA = load("synthetic", num_users=NUM_CLIENTS, num_items=NUM_ITEMS, mean_events=6, seed=1)
MODEL = sasrec(NUM_ITEMS, DIM, max_length=32, num_blocks=2)
OBJECTIVE = sampled_item(NUM_ITEMS, num_negatives=5, local_epochs=3)
OPTIONS: dict[str, Any] = {"rank": RANK, "alpha": ALPHA}
EVERYBODY = list(range(NUM_CLIENTS))


@cache
def made(name: str, **options: Any) -> tuple[FederatedAlgorithm, Any]:
    factory = {"fedlora": fedlora, "fedexlora": fedexlora, "flexlora": flexlora}[name]
    algorithm = factory(MODEL, OBJECTIVE, optax.adam(0.05), **OPTIONS | options)  # type: ignore[operator]
    return algorithm, jax.jit(build(algorithm, Execution(chunk_size=3)).step)


def start_of(algorithm: FederatedAlgorithm) -> tuple[ServerState, Any, Fixed]:
    state, clients, frozen = build(algorithm).init(jax.random.key(0), NUM_CLIENTS)
    return state, clients, Fixed(frozen, DATA.clients)


def pairs64(shared: Part) -> dict[Any, tuple[Any, Any]]:
    pairs = factor_pairs(shared.dense)
    return {
        place: (np.asarray(a, np.float64), np.asarray(b, np.float64))
        for place, (a, b) in pairs.items()
    }


def apart(name: str, state: ServerState, weights: Any = None, **options: Any) -> dict[Any, Any]:
    """Place -> `sum_k p_k a_k b_k` of clients that have trained alone; alone, no rule errs.

    For that a message is added as it is, so that the state is the client's own.
    """
    _, clients, fixed = start_of(made(name, **options)[0])
    step = _step_of(name, tuple(options.items()))
    shares = np.ones(NUM_CLIENTS) if weights is None else np.asarray(weights, np.float64)
    shares = shares / shares.sum()
    total: dict[Any, Any] = {}
    for client in EVERYBODY:
        after = step(state, clients, pad_cohort([client], NUM_CLIENTS), fixed)[0]
        for place, (a, b) in pairs64(after.shared).items():
            total[place] = total.get(place, 0) + shares[client] * (a @ b)
    return total


@cache
def _step_of(name: str, options: Any) -> Any:
    """A round in which the server keeps what its only client has: its start and its change."""
    algorithm, _ = made(name, **dict(options))

    def keep(state: Any, stack: Any, cohort: Any) -> Any:
        entry = jax.tree.map(lambda leaf: leaf[0], cohort)
        start = state.shared
        if algorithm.broadcast is not None:
            start, _ = algorithm.broadcast(state, entry, {})
        change = jax.tree.map(lambda leaf: leaf.sum(axis=0), stack.update)
        return state._replace(shared=jax.tree.map(jnp.add, start, change))

    alone = replace(
        algorithm,
        aggregate=AggregateTransform(is_stacked=True),
        server_update=ServerUpdate(lambda shared: (), keep),
    )
    return jax.jit(build(alone, Execution(chunk_size=3)).step)


def relative(found: Any, expected: Any) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def two_rounds(name: str, **options: Any) -> list[tuple[ServerState, ServerState, dict[Any, Any]]]:
    """State before and after each of two rounds, and what the oracle finds."""
    algorithm, step = made(name, **options)
    state, clients, fixed = start_of(algorithm)
    rounds = []
    for _ in range(2):
        expected = apart(name, state, **options)
        after, clients, _ = step(state, clients, pad_cohort(EVERYBODY, NUM_CLIENTS), fixed)
        rounds.append((state, after, expected))
        state = after
    return rounds


def test_fedex_keeps_the_mean_of_products() -> None:
    for before, after, expected in two_rounds("fedexlora"):
        for place, (a, b) in pairs64(after.shared).items():
            node, was = after.extra.dense, before.extra.dense
            for key in place:
                node, was = node[key], was[key]
            change = (np.asarray(node["residual"], np.float64) - was["residual"]) / (ALPHA / RANK)
            assert relative(a @ b + change, expected[place]) <= 1e-5
            assert relative(a @ b, expected[place]) > 1e-3  # what the residual is there for


def test_fedit_is_wrong_by_a_covariance_and_says_by_how_much() -> None:
    for _, after, expected in two_rounds("fedlora", rule="fedit"):
        for place, (a, b) in pairs64(after.shared).items():
            assert 0.01 < relative(a @ b, expected[place]) < 1


def test_ffa_is_exact_for_a_is_the_same_everywhere() -> None:
    algorithm, step = made("fedlora", rule="ffa")
    state, clients, fixed = start_of(algorithm)
    alone = [
        step(state, clients, pad_cohort([client], NUM_CLIENTS), fixed)[0] for client in EVERYBODY
    ]
    after = step(state, clients, pad_cohort(EVERYBODY, NUM_CLIENTS), fixed)[0]
    query = [one.shared.dense["blocks"]["attention"]["query"] for one in (after, *alone)]
    assert list(query[0]) == ["b"]
    expected = np.mean([np.asarray(one["b"], np.float64) for one in query[1:]], axis=0)
    assert relative(np.asarray(query[0]["b"]), expected) <= 1e-5


def test_fedsa_shares_a_and_keeps_each_b() -> None:
    algorithm, step = made("fedlora", rule="fedsa")
    state, clients, fixed = start_of(algorithm)
    after, kept, _ = step(state, clients, pad_cohort(EVERYBODY, NUM_CLIENTS), fixed)
    after, kept, _ = step(after, kept, pad_cohort(EVERYBODY, NUM_CLIENTS), fixed)
    query = after.shared.dense["blocks"]["attention"]["query"]
    assert query["b"] is None
    assert query["a"].shape == (2, DIM, RANK)
    own = [leaf for leaf in jax.tree.leaves(kept.private) if leaf.shape[1:] == (2, RANK, DIM)]
    assert len(own) == 2
    assert len(np.unique(np.asarray(own[0]).sum(axis=(1, 2, 3)))) == NUM_CLIENTS


@pytest.mark.parametrize("ranks", ["", "1,2,3"])
def test_flexlora_keeps_the_truncated_svd_of_the_mean_of_products(ranks: str) -> None:
    for number, (_, after, expected) in enumerate(two_rounds("flexlora", ranks=ranks)):
        for place, (a, b) in pairs64(after.shared).items():
            u, s, vt = np.linalg.svd(expected[place], full_matrices=False)
            best = (u[..., :RANK] * s[..., None, :RANK]) @ vt[..., :RANK, :]
            assert relative(a @ b, best) <= 1e-4
            if not ranks and number:
                assert relative(best, expected[place]) > 1e-4  # something is cut off


def test_a_client_of_a_small_rank_trains_and_pays_for_its_columns_alone() -> None:
    algorithm, _ = made("flexlora", ranks="1,2,3")
    assert algorithm.sent is not None
    state, _, _ = start_of(algorithm)
    step = _step_of("flexlora", (("ranks", "1,2,3"),))
    _, clients, fixed = start_of(algorithm)
    dense = sum(leaf.nbytes for leaf in jax.tree.leaves(state.shared.dense))
    rows = sum(leaf.nbytes for leaf in jax.tree.leaves(state.shared.rows))
    for client in (0, 1, 2, 3):
        cohort = pad_cohort([client], NUM_CLIENTS)
        rank = client % 3 + 1
        after = step(state, clients, cohort, fixed)[0]
        for a, b in pairs64(after.shared).values():
            assert not a[..., rank:].any()
            assert not b[..., rank:, :].any()
            assert b[..., :rank, :].any()
        entry = jax.tree.map(lambda leaf: leaf[0], cohort)
        down, up = algorithm.sent(state, entry)
        assert down == up == rows + dense * rank / RANK


# --------------------------------------------------------------- the rules themselves


def some_pairs(num_clients: int = 5) -> tuple[Any, Any]:
    draw = np.random.default_rng(0)
    return (
        draw.normal(size=(num_clients, 2, 7, RANK)).astype(np.float32),
        draw.normal(size=(num_clients, 2, RANK, 9)).astype(np.float32),
    )


@pytest.mark.parametrize("by", ["client", "example"])
def test_products_are_averaged_by_weight_and_ranks_may_differ(by: str) -> None:
    a, b = some_pairs()
    for client in range(5):  # of ranks 1, 2, 3, 1, 2
        a[client, ..., client % 3 + 1 :] = 0
        b[client, :, client % 3 + 1 :] = 0
    weight = np.float32([3, 1, 0, 2, 5])
    counted = weight.astype(np.float64) if by == "example" else (weight > 0).astype(np.float64)
    expected = np.tensordot(counted / counted.sum(), a.astype(np.float64) @ b.astype(np.float64), 1)
    found = mean_products({("x",): (jnp.asarray(a), jnp.asarray(b))}, shares_of(weight, by))
    assert relative(np.asarray(found["x",]), expected) <= 1e-5
    u, s, vt = np.linalg.svd(expected, full_matrices=False)
    best = (u[..., :2] * s[..., None, :2]) @ vt[..., :2, :]
    left, right = truncated(found["x",], 2)
    assert relative(np.asarray(left @ right), best) <= 1e-4
    np.testing.assert_allclose(np.swapaxes(left, -1, -2) @ left, [np.eye(2)] * 2, atol=1e-5)


def test_the_norm_of_a_product_needs_no_product() -> None:
    a, b = (one[0] for one in some_pairs())
    dense = np.linalg.norm(a.astype(np.float64) @ b.astype(np.float64))
    assert relative(np.asarray(product_norm(a, b)), dense) <= 1e-5


def test_the_error_of_fedit_is_0_where_factors_agree_and_that_of_numpy_where_not() -> None:
    a, b = some_pairs()
    shares = np.full(5, 0.2, np.float32)
    exact = np.mean(a.astype(np.float64) @ b, axis=0)
    wrong = a.astype(np.float64).mean(0) @ b.astype(np.float64).mean(0)
    found = product_error({("x",): (jnp.asarray(a), jnp.asarray(b))}, shares)["x",]
    assert float(found) == pytest.approx(relative(wrong, exact), rel=1e-4)
    alike = {("x",): (jnp.stack([jnp.asarray(a[0])] * 5), jnp.asarray(b))}
    assert float(product_error(alike, shares)["x",]) < 1e-5


def test_nobody_moves_nothing() -> None:
    for name in ("fedexlora", "flexlora"):
        algorithm, step = made(name)
        state, clients, fixed = start_of(algorithm)
        state = step(state, clients, pad_cohort(EVERYBODY, NUM_CLIENTS), fixed)[0]
        after = step(state, clients, pad_cohort([], NUM_CLIENTS), fixed)[0]
        for one, other in zip(
            jax.tree.leaves((state.shared, state.extra)),
            jax.tree.leaves((after.shared, after.extra)),
            strict=True,
        ):
            np.testing.assert_array_equal(one, other)


# ------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("name", ["fedexlora", "flexlora"])
def test_what_is_no_sum_takes_no_noise(name: str) -> None:
    algorithm, _ = made(name)
    with pytest.raises(ValueError, match="noise is scaled to one client's part in a sum"):
        chain(algorithm.aggregate, clip_by_norm(1.0), gaussian_noise(1.0))
    table = {
        "data": {"name": "synthetic", "num_users": 8, "num_items": 20, "mean_events": 6},
        "algorithm": {"name": name, "dim": 8},
        "privacy": {"epsilon": 8.0, "clip_norm": 1.0},
    }
    with pytest.raises(UserError, match=f"privacy: {name} does not clip what its clients send"):
        build_experiment(resolve(from_dict(table, "here")), lambda line: None)


@pytest.mark.parametrize("ranks", ["0", "4", "two", "1,,9"])
def test_ranks_out_of_range_are_refused(ranks: str) -> None:
    with pytest.raises(ValueError, match="ranks must be numbers from 1 to 3 joined by commas"):
        flexlora(MODEL, OBJECTIVE, optax.sgd(0.1), ranks=ranks, **OPTIONS)


def test_unknown_words_are_refused() -> None:
    with pytest.raises(ValueError, match="rule must be one of fedit, ffa, fedsa"):
        fedlora(MODEL, OBJECTIVE, optax.sgd(0.1), rule="flora", **OPTIONS)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="by must be client or example"):
        fedexlora(MODEL, OBJECTIVE, optax.sgd(0.1), by="row", **OPTIONS)  # type: ignore[arg-type]
