"""Federated averaging over records: rounds against NumPy, with Adam written out."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.algorithms import fedavg_records
from fedjax_rec.base import Fixed
from fedjax_rec.data import client_data, from_events, hold_out
from fedjax_rec.errors import UserError
from fedjax_rec.simulation import Execution, build, pad_cohort

SIZES, EPOCHS, RATE, ROUNDS = (12, 5, 8), 3, 0.05, 2
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(sum(SIZES), 4))
LABELS = (FEATURES[:, 0] + 0.3 * RNG.normal(size=len(FEATURES)) > 0).astype(float)
OWNERS = np.repeat(np.arange(len(SIZES)), SIZES)
Weights = list[Any]


def gradient(weights: Weights, x: Any, y: Any) -> Weights:
    """Of the mean cross-entropy, by the chain rule."""
    w1, b1, w2, b2 = weights
    before = x @ w1 + b1
    hidden = np.maximum(before, 0)
    error = (1 / (1 + np.exp(-(hidden @ w2 + b2))) - y[:, None]) / len(y)
    back = (error @ w2.T) * (before > 0)
    return [x.T @ back, back.sum(0), hidden.T @ error, error.sum(0)]


def adam(weights: Weights, x: Any, y: Any) -> Weights:
    """Steps on all records at once, from a fresh state."""
    mean, square = ([np.zeros_like(w) for w in weights] for _ in range(2))
    for t in range(1, EPOCHS + 1):
        slopes = gradient(weights, x, y)
        mean = [0.9 * m + 0.1 * g for m, g in zip(mean, slopes, strict=True)]
        square = [0.999 * v + 0.001 * g**2 for v, g in zip(square, slopes, strict=True)]
        weights = [
            w - RATE * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
            for w, m, v in zip(weights, mean, square, strict=True)
        ]
    return weights


def as_list(shared: Any) -> Weights:
    return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(shared.dense)]


def test_rounds_equal_numpy() -> None:
    events = from_events(OWNERS, np.arange(len(OWNERS)), LABELS)
    data = client_data(hold_out(events, "leave_one_out_hash", validation="none"))
    records = np.split(np.asarray(data.items), np.asarray(data.offsets)[1:-1])
    algorithm = fedavg_records(
        len(LABELS),
        features=jnp.asarray(FEATURES, jnp.float32),
        num_hidden=3,
        local_epochs=EPOCHS,
        learning_rate=RATE,
    )
    engine = build(algorithm, Execution(chunk_size=2))
    state, clients, frozen = engine.init(jax.random.key(3), len(SIZES))
    weights, start = as_list(state.shared), as_list(state.shared)
    for _ in range(ROUNDS):
        trained = [adam(weights, FEATURES[own], LABELS[own]) for own in records]
        weights = [np.mean(leaves, axis=0) for leaves in zip(*trained, strict=True)]
        cohort = pad_cohort(range(len(SIZES)), len(SIZES))
        state, clients, _ = jax.jit(engine.step)(state, clients, cohort, Fixed(frozen, data))
    for got, expected, before in zip(as_list(state.shared), weights, start, strict=True):
        moved = np.linalg.norm(expected - before)
        assert moved > 1e-2
        assert np.linalg.norm(got - expected) <= 1e-4 * moved


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"num_hidden": 0}, "num_hidden must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"local_optimizer": "adamm"}, "adam"),
        ({"learning_rate": -1.0}, "learning_rate must be above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, UserError), match=message):
        fedavg_records(9, features=jnp.ones((9, 2)), **setting)
