"""iALS against dense sweeps in float64 NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.base import Fixed
from fedjax_rec.baselines import ials
from fedjax_rec.baselines.ials import _solve_many
from fedjax_rec.clients import solve_positive_definite
from fedjax_rec.data import client_data, from_events, leave_one_out
from fedjax_rec.simulation import Execution, build, pad_cohort

NUM_USERS, DIM, ALPHA, PENALTY = 12, 3, 0.4, 0.05
RNG = np.random.default_rng(2)
USERS = np.append(np.arange(NUM_USERS), RNG.integers(0, NUM_USERS, 100))
ITEMS = np.append(np.arange(NUM_USERS), RNG.integers(0, 15, 100))  # with repeats


@pytest.fixture(scope="module")
def split() -> Any:
    events = from_events(USERS, ITEMS, times=RNG.permutation(len(USERS)))
    return leave_one_out(events, repeats="keep")


def held(split: Any) -> np.ndarray:
    matrix = np.zeros((split.train.num_users, split.train.num_items))
    matrix[split.train.users, split.train.items] = 1
    return matrix


def solved(x: np.ndarray, others: np.ndarray, weighting: str, exponent: float) -> np.ndarray:
    """Each row's vector, by weighted least squares over every other one."""
    vectors = []
    for row in x:
        if weighting == "original":
            weight, target, penalty = 1 + ALPHA * row, row, PENALTY
        else:
            weight = row + ALPHA
            target = row / weight  # (1 - s)^2 + alpha s^2 has its minimum there
            penalty = PENALTY * (row.sum() + ALPHA * len(row)) ** exponent
        normal = others.T @ (weight[:, None] * others) + penalty * np.eye(others.shape[1])
        vectors.append(np.linalg.solve(normal, others.T @ (weight * target)))
    return np.array(vectors)


def objective(x: Any, p: Any, q: Any, weighting: str, exponent: float) -> float:
    s = p @ q.T
    if weighting == "original":
        fit, r_p, r_q = ((1 + ALPHA * x) * (x - s) ** 2).sum(), 1.0, 1.0
    else:
        fit = (x * (1 - s) ** 2 + ALPHA * s**2).sum()
        r_p = (x.sum(1) + ALPHA * x.shape[1]) ** exponent
        r_q = (x.sum(0) + ALPHA * x.shape[0]) ** exponent
    return fit + PENALTY * ((r_p * (p**2).sum(1)).sum() + (r_q * (q**2).sum(1)).sum())


def rounds(split: Any, number: int, cohort: Any = None, **settings: Any) -> list[Any]:
    """The item table, the users' vectors and the observations at the start and each round."""
    algorithm = ials(
        split.train.num_items, dim=DIM, alpha=ALPHA, regularization=PENALTY, **settings
    )
    engine = build(algorithm, Execution(chunk_size=5))
    state, clients, frozen = engine.init(jax.random.key(0), NUM_USERS)
    fixed, step = Fixed(frozen, client_data(split)), jax.jit(engine.step)
    members = pad_cohort(np.arange(NUM_USERS) if cohort is None else cohort, NUM_USERS)
    seen = [(state.shared.rows["item"], clients.private.dense, {})]
    for _ in range(number):
        state, clients, info = step(state, clients, members, fixed)
        seen.append((state.shared.rows["item"], clients.private.dense, info))
    return [(np.asarray(q, np.float64), np.asarray(p, np.float64), info) for q, p, info in seen]


@pytest.mark.parametrize(
    ("weighting", "exponent"), [("revisited", 1.0), ("revisited", 0.3), ("original", 1.0)]
)
def test_a_round_is_a_sweep_of_dense_solves(split: Any, weighting: str, exponent: float) -> None:
    x = held(split)
    seen = rounds(split, 6, weighting=weighting, penalty_exponent=exponent)
    q, values = seen[0][0], []
    for found_q, found_p, _ in seen[1:]:
        p = solved(x, q, weighting, exponent)
        q = solved(x.T, p, weighting, exponent)
        np.testing.assert_allclose(found_p, p, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(found_q, q, rtol=1e-3, atol=1e-4)
        values.append(objective(x, found_p, found_q, weighting, exponent))
    assert values == sorted(values, reverse=True)


def test_the_loss_that_is_seen_is_the_users_part_of_the_objective(split: Any) -> None:
    x = held(split)
    (q, _, _), (_, p, info) = rounds(split, 1)
    s = p @ q.T
    penalties = PENALTY * (x.sum(1) + ALPHA * x.shape[1]) * (p**2).sum(1)
    expected = (x * (1 - s) ** 2 + ALPHA * s**2).sum() + penalties.sum()
    assert info["loss"].mean() == pytest.approx(expected / NUM_USERS, rel=1e-5)


def test_a_round_of_nobody_keeps_the_table(split: Any) -> None:
    (before, _, _), (after, _, _) = rounds(split, 1, cohort=np.array([], np.int32))
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("dim", [1, 2, 16, 17, 45])
def test_both_solvers_solve(dim: int) -> None:
    root = RNG.normal(size=(4, dim, dim))
    matrix, vector = root @ root.transpose(0, 2, 1) + np.eye(dim), RNG.normal(size=(4, dim))
    expected = np.linalg.solve(matrix, vector[..., None])[..., 0]
    pair = jnp.asarray(matrix, jnp.float32), jnp.asarray(vector, jnp.float32)
    np.testing.assert_allclose(_solve_many(*pair), expected, rtol=2e-3, atol=1e-4)
    np.testing.assert_allclose(
        jax.vmap(solve_positive_definite)(*pair), expected, rtol=2e-3, atol=1e-4
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"dim": 0},
        {"alpha": 0.0},
        {"regularization": float("inf")},
        {"penalty_exponent": 1.5},
        {"init_stddev": 0.0},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        ials(5, **settings)
