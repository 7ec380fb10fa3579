"""EASE and item-kNN against textbook formulas in NumPy, whichever of its forms EASE takes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.base import Fixed, LengthClass
from fedjax_rec.baselines import ease, item_knn, neighbours
from fedjax_rec.baselines.pooled_histories import DENSE_FROM, Histories, co_occurrences
from fedjax_rec.data import client_data, from_events, leave_one_out
from fedjax_rec.evaluation.personal import scores_of
from fedjax_rec.simulation import Execution, build, pad_cohort

SIZES = {"fewer people": (11, 14), "fewer items": (17, 9), "sparse": (100, 3000)}
"""Of people and items. In the sparse set the pairs of most people are counted one by one."""


def events_of(num_users: int, num_items: int) -> Any:
    """Some with repeats, and one person who has eight times as much as most."""
    rng = np.random.default_rng(1)
    users = np.append(np.arange(num_users), rng.integers(0, num_users, 8 * num_users))
    users = np.append(users, np.zeros(64, int))
    items = np.append(
        np.arange(num_users) % num_items, rng.integers(0, num_items, len(users) - num_users)
    )
    return from_events(users, items, times=rng.permutation(len(users)))


@pytest.fixture(scope="module", params=SIZES.values(), ids=SIZES)
def split(request: pytest.FixtureRequest) -> Any:
    return leave_one_out(events_of(*request.param), repeats="keep")


def held(split: Any) -> np.ndarray:
    matrix = np.zeros((split.train.num_users, split.train.num_items))
    matrix[split.train.users, split.train.items] = 1
    return matrix


def trained(factory: Any, split: Any, **settings: Any) -> tuple[Any, np.ndarray]:
    """What the server has after one round, and everybody's scores."""
    num_users, data = split.train.num_users, client_data(split)
    algorithm = factory(data.num_items, data=data, **settings)
    engine = build(algorithm, Execution(chunk_size=4))
    state, clients, frozen = engine.init(jax.random.key(0), num_users)
    fixed = Fixed(frozen, data)
    everyone = jnp.arange(num_users)
    state, clients, _ = jax.jit(engine.step)(state, clients, pad_cohort(everyone, num_users), fixed)
    length = LengthClass.covering(fixed.data.classes)
    scores = scores_of(algorithm, state, clients, fixed)(length, everyone, everyone)
    return state.shared.rows["item"], np.asarray(scores)


def matrix_of(rows: Any) -> np.ndarray:
    """B, from whichever form holds it."""
    if not isinstance(rows, dict):
        return np.asarray(rows, np.float64)
    held, weights, own = (np.asarray(rows[key], np.float64) for key in ("held", "weights", "own"))
    return np.diag(own) + held @ weights.T


@pytest.mark.parametrize("regularization", [0.5, 300.0])
def test_ease_is_the_closed_form(split: Any, regularization: float) -> None:
    x = held(split)
    inverse = np.linalg.inv(x.T @ x + regularization * np.eye(x.shape[1]))
    expected = inverse / -np.diag(inverse)
    expected[np.diag_indices(x.shape[1])] = 0
    rows, scores = trained(ease, split, regularization=regularization)
    assert isinstance(rows, dict) == (x.shape[0] < x.shape[1]), "not the cheaper form"
    np.testing.assert_allclose(matrix_of(rows), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(scores, x @ expected, rtol=1e-4, atol=1e-5)


def test_ease_is_the_best_linear_model_with_an_empty_diagonal(split: Any) -> None:
    """Each column is a ridge regression of its item on the others."""
    x, regularization = held(split), 2.0
    weights = matrix_of(trained(ease, split, regularization=regularization)[0])
    for item in range(min(x.shape[1], 20)):
        others = np.delete(x, item, axis=1)
        gram = others.T @ others + regularization * np.eye(x.shape[1] - 1)
        ridge = np.linalg.solve(gram, others.T @ x[:, item])
        np.testing.assert_allclose(np.delete(weights[:, item], item), ridge, atol=1e-5)


@pytest.mark.parametrize(
    ("num_neighbours", "shrinkage", "is_in_blocks"),
    [(1, 4.0, False), (3, 0.0, False), (1000, 4.0, False), (3, 4.0, True)],
)
def test_item_knn_is_the_sum_over_the_nearest(
    split: Any,
    num_neighbours: int,
    shrinkage: float,
    is_in_blocks: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = held(split)
    num_users, num_items = x.shape
    if is_in_blocks:
        monkeypatch.setattr(neighbours, "BLOCK", num_items**2 // 5)
    both, counts = x.T @ x, x.sum(axis=0)
    norms = np.sqrt(np.outer(counts, counts))
    cosines = np.where(both > 0, both / np.where(both > 0, norms + shrinkage, 1), 0)
    np.fill_diagonal(cosines, 0)
    settings = {"num_neighbours": num_neighbours, "shrinkage": shrinkage}
    _, scores = trained(item_knn, split, **settings)
    # float32, so that equally near items are equally near here too
    order = np.argsort(-cosines.astype(np.float32), axis=1, kind="stable")[:, :num_neighbours]
    expected = np.zeros((num_users, num_items))
    for item, nearest in enumerate(order):
        expected[:, item] = x[:, nearest] @ cosines[item, nearest]
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("place", ["start", "middle", "end", "whole"])
def test_co_occurrences_are_rows_of_the_gram_matrix(size: tuple[int, int], place: str) -> None:
    split = leave_one_out(events_of(*size), repeats="keep")
    x, data = held(split), client_data(split)
    x[[2, 5]] = 0
    is_there = jnp.ones(data.num_clients, bool).at[jnp.array([2, 5])].set(False)
    num_items = data.num_items
    begin, rows = {
        "start": (0, 3),
        "middle": (num_items // 2, 4),
        "end": (num_items - 3, 3),
        "whole": (0, num_items),
    }[place]
    is_sparse = [length.num_events * DENSE_FROM <= num_items for length in data.classes]
    assert (True in is_sparse) == (size == SIZES["sparse"])
    assert False in is_sparse
    found = jax.jit(co_occurrences, static_argnums=2)(Histories(data, is_there), begin, rows)
    np.testing.assert_array_equal(found, (x.T @ x)[begin : begin + rows])


@pytest.mark.parametrize("factory", [ease, item_knn])
@pytest.mark.parametrize("counted", [[], [4], [7, 0, 2]], ids=str)
def test_of_users_that_are_held_out_nothing_is_read(
    split: Any, factory: Any, counted: list[int]
) -> None:
    x = held(split)
    held_users = ~np.isin(np.arange(len(x)), counted)
    rows, scores = trained(factory, split, held_users=held_users)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(rows))
    if factory is ease:
        x[held_users] = 0
        inverse = np.linalg.inv(x.T @ x + 300 * np.eye(x.shape[1]))
        expected = np.eye(x.shape[1]) - inverse / np.diag(inverse)
        np.testing.assert_allclose(scores, held(split) @ expected, rtol=1e-4, atol=1e-5)
    else:
        is_met = x[counted].sum(axis=0) > 0
        assert not scores[:, ~is_met].any()
        assert not scores[x[:, is_met].sum(axis=1) == 0].any()


def test_one_client_with_one_item() -> None:
    split = leave_one_out(from_events([0, 0, 0], [0, 1, 2], times=[1, 2, 3]))
    for factory in (ease, item_knn):
        _, scores = trained(factory, split)
        np.testing.assert_allclose(scores, 0, atol=1e-6)


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
    data = client_data(leave_one_out(events_of(11, 14), repeats="keep"))
    with pytest.raises(ValueError, match=r"must be (at least|above)"):
        factory(data.num_items, data=data, **settings)
