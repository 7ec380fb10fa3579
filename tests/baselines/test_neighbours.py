"""EASE and item-kNN against textbook formulas in NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.base import FederatedAlgorithm, Fixed, LengthClass
from fedjax_rec.baselines import ease, item_knn
from fedjax_rec.data import client_data, from_events, leave_one_out
from fedjax_rec.evaluation.personal import scores_of
from fedjax_rec.simulation import Execution, build, pad_cohort

NUM_USERS, NUM_ITEMS = 11, 14
RNG = np.random.default_rng(1)
USERS = np.append(np.arange(NUM_USERS), RNG.integers(0, NUM_USERS, 90))
ITEMS = np.append(np.arange(NUM_USERS), RNG.integers(0, NUM_ITEMS, 90))  # with repeats


@pytest.fixture(scope="module")
def split() -> Any:
    events = from_events(USERS, ITEMS, times=RNG.permutation(len(USERS)))
    return leave_one_out(events, repeats="keep")


def held(split: Any) -> np.ndarray:
    matrix = np.zeros((split.train.num_users, split.train.num_items))
    matrix[split.train.users, split.train.items] = 1
    return matrix


def trained(
    algorithm: FederatedAlgorithm, split: Any, cohort: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """The server's matrix after one round, and everybody's scores."""
    num_users = split.train.num_users
    engine = build(algorithm, Execution(chunk_size=4))
    state, clients, frozen = engine.init(jax.random.key(0), num_users)
    fixed = Fixed(frozen, client_data(split))
    everyone = jnp.arange(num_users)
    members = pad_cohort(everyone if cohort is None else cohort, num_users)
    state, clients, _ = jax.jit(engine.step)(state, clients, members, fixed)
    length = LengthClass.covering(fixed.data.classes)
    scores = scores_of(algorithm, state, clients, fixed)(length, everyone, everyone)
    return np.asarray(state.shared.rows["item"]), np.asarray(scores)


@pytest.mark.parametrize("regularization", [0.5, 300.0])
def test_ease_is_the_closed_form(split: Any, regularization: float) -> None:
    x = held(split)
    inverse = np.linalg.inv(x.T @ x + regularization * np.eye(x.shape[1]))
    expected = inverse / -np.diag(inverse)
    expected[np.diag_indices(x.shape[1])] = 0
    weights, scores = trained(ease(x.shape[1], regularization=regularization), split)
    np.testing.assert_allclose(weights, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(scores, x @ expected, rtol=1e-4, atol=1e-5)


def test_ease_is_the_best_linear_model_with_an_empty_diagonal(split: Any) -> None:
    """Each column is a ridge regression of its item on the others."""
    x, regularization = held(split), 2.0
    weights, _ = trained(ease(x.shape[1], regularization=regularization), split)
    for item in range(x.shape[1]):
        others = np.delete(x, item, axis=1)
        gram = others.T @ others + regularization * np.eye(x.shape[1] - 1)
        ridge = np.linalg.solve(gram, others.T @ x[:, item])
        np.testing.assert_allclose(np.delete(weights[:, item], item), ridge, atol=1e-5)


@pytest.mark.parametrize("num_neighbours", [1, 3, 14, 1000])
@pytest.mark.parametrize("shrinkage", [0.0, 4.0])
def test_item_knn_is_the_sum_over_the_nearest(
    split: Any, num_neighbours: int, shrinkage: float
) -> None:
    x = held(split)
    num_items = x.shape[1]
    cosines = np.zeros((num_items, num_items))
    for i in range(num_items):
        for j in range(num_items):
            both = x[:, i] @ x[:, j]
            if i != j and both:
                norms = np.sqrt(x[:, i].sum() * x[:, j].sum())
                cosines[i, j] = both / (norms + shrinkage)
    algorithm = item_knn(num_items, num_neighbours=num_neighbours, shrinkage=shrinkage)
    _, scores = trained(algorithm, split)
    for user, item in np.ndindex(*scores.shape):
        # float32, so that equally near items are equally near here too
        order = np.argsort(-cosines[item].astype(np.float32), kind="stable")
        nearest = order[:num_neighbours]
        expected = sum(cosines[item, j] for j in nearest if x[user, j])
        assert scores[user, item] == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("factory", [ease, item_knn])
@pytest.mark.parametrize("cohort", [[], [4], [7, 0, 2]], ids=str)
def test_who_is_not_there_adds_nothing(split: Any, factory: Any, cohort: list[int]) -> None:
    weights, _ = trained(factory(split.train.num_items), split, np.array(cohort, np.int32))
    assert np.isfinite(weights).all()
    unheld = held(split)[cohort].sum(0) == 0
    assert not weights[unheld].any()
    assert not weights[:, unheld].any()


def test_one_client_with_one_item() -> None:
    split = leave_one_out(from_events([0, 0, 0], [0, 1, 2], times=[1, 2, 3]))
    for factory in (ease, item_knn):
        weights, scores = trained(factory(3), split)
        assert not weights.any()
        assert not scores.any()


@pytest.mark.parametrize(
    ("factory", "settings"),
    [
        (ease, {"regularization": 0.0}),
        (ease, {"regularization": float("nan")}),
        (item_knn, {"num_neighbours": 0}),
        (item_knn, {"shrinkage": -1.0}),
    ],
)
def test_settings_out_of_range_are_refused(factory: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be (at least|above)"):
        factory(5, **settings)
