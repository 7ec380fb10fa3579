"""GMF, NCF and NeuMF, against their formulas in NumPy; what they refuse and how they start."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from fedjax_rec.base import Inputs, Model, Private, View, empty, nothing_private
from fedjax_rec.models import common_user, gmf, ncf, neumf

NUM_ITEMS, DIM = 7, 8
FACTORIES: dict[str, Callable[..., Model]] = {"gmf": gmf, "ncf": ncf, "neumf": neumf}
RNG = np.random.default_rng(0)


def random_view(model: Model) -> View:
    """Parameters of the right shapes, all standard normal: biases and weights matter."""
    shared, _ = jax.eval_shape(model.init, jax.random.key(0))
    private = jax.eval_shape(model.init_private, jax.random.key(0))
    shared, private = jax.tree.map(
        lambda leaf: jnp.asarray(RNG.normal(size=leaf.shape), jnp.float32), (shared, private)
    )
    return View(shared, private, empty(), nothing_private(), empty())


def gmf_scores(table: Any, weights: Any, user: Any) -> NDArray[np.float64]:
    """Equation 9, item by item."""
    return np.array([np.sum(weights * user * item) for item in np.asarray(table, np.float64)])


def ncf_scores(table: Any, tower: Any, user: Any) -> NDArray[np.float64]:
    """Equation 10 on the concatenation, item by item."""
    tower = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tower)
    first = np.concatenate([tower.user, tower.item])
    scores = []
    for item in np.asarray(table, np.float64):
        hidden = np.maximum(np.concatenate([user, item]) @ first + tower.bias, 0)
        for layer in tower.hidden:
            hidden = np.maximum(hidden @ layer.weight + layer.bias, 0)
        scores.append(hidden @ tower.output.weight + tower.output.bias)
    return np.array(scores)


def oracle(name: str, view: View) -> NDArray[np.float64]:
    rows, dense, user = view.shared.rows["item"], view.shared.dense, view.private.dense
    if name == "gmf":
        return gmf_scores(rows, dense, user)
    if name == "ncf":
        return ncf_scores(rows, dense, user)
    return gmf_scores(rows["gmf"], dense["gmf"], user["gmf"]) + ncf_scores(
        rows["mlp"], dense["mlp"], user["mlp"]
    )


@pytest.mark.parametrize("name", FACTORIES)
def test_scores_are_those_of_the_formula(name: str) -> None:
    model = FACTORIES[name](NUM_ITEMS, DIM)
    view, ids = random_view(model), [2, 2, 6, 0]
    expected = oracle(name, view)
    np.testing.assert_allclose(model.score(view, Inputs(None)), expected, rtol=1e-4, atol=1e-5)
    found = model.score(view, Inputs(jnp.array(ids)))
    np.testing.assert_allclose(found, expected[ids], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FACTORIES)
def test_item_vectors_are_shared_rows_and_user_vectors_private(name: str) -> None:
    model = FACTORIES[name](NUM_ITEMS, DIM)
    shared, frozen = jax.eval_shape(model.init, jax.random.key(0))
    private = jax.eval_shape(model.init_private, jax.random.key(0))
    assert dict(model.num_rows) == {"item": NUM_ITEMS}
    num_halves = 2 if name == "neumf" else 1
    assert [leaf.shape for leaf in jax.tree.leaves(shared.rows)] == [(NUM_ITEMS, DIM)] * num_halves
    assert [leaf.shape for leaf in jax.tree.leaves(private)] == [(DIM,)] * num_halves
    assert isinstance(private, Private)
    assert jax.tree.leaves(frozen) == []


def test_the_tower_of_dim_32_is_64_32_16_8_1() -> None:
    shared, _ = jax.eval_shape(ncf(NUM_ITEMS).init, jax.random.key(0))
    tower = shared.dense
    assert (tower.user.shape, tower.item.shape) == ((32, 32), (32, 32))
    sides = [tower.bias.shape, *(layer.weight.shape for layer in tower.hidden)]
    assert [*sides, tower.output.weight.shape] == [(32,), (32, 16), (16, 8), (8,)]


def test_gmf_starts_from_matrix_factorisation() -> None:
    model = gmf(NUM_ITEMS, DIM)
    (shared, _), private = model.init(jax.random.key(0)), model.init_private(jax.random.key(1))
    view = View(shared, private, empty(), nothing_private(), empty())
    expected = shared.rows["item"] @ private.dense
    np.testing.assert_allclose(model.score(view, Inputs(None)), expected, rtol=1e-6)


def test_the_first_layer_starts_as_one_matrix_within_glorots_limit() -> None:
    shared, _ = ncf(NUM_ITEMS, 64).init(jax.random.key(0))
    tower = shared.dense
    for half in (tower.user, tower.item):
        limit = np.sqrt(6 / (128 + 64))
        assert 0.98 * limit < np.abs(half).max() <= limit
        assert np.std(half) == pytest.approx(limit / np.sqrt(3), rel=0.05)
    biases = [tower.bias, tower.output.bias, *(layer.bias for layer in tower.hidden)]
    assert all((np.asarray(bias) == 0).all() for bias in biases)


@pytest.mark.parametrize("stddev", [0.1, 2.0])
@pytest.mark.parametrize("name", FACTORIES)
def test_vectors_start_with_the_given_deviation_and_apart(name: str, stddev: float) -> None:
    model = FACTORIES[name](500, 16, init_stddev=stddev)
    shared, _ = model.init(jax.random.key(0))
    users = jax.vmap(model.init_private)(jax.random.split(jax.random.key(1), 500))
    vectors = [np.ravel(leaf) for leaf in jax.tree.leaves((shared.rows, users))]
    for values in vectors:
        assert np.std(values) == pytest.approx(stddev, rel=0.05)
        assert np.mean(values) == pytest.approx(0, abs=0.05 * stddev)
    assert np.abs(np.corrcoef(vectors) - np.eye(len(vectors))).max() < 0.05


@pytest.mark.parametrize(
    "argument", [{"dim": 0}, {"init_stddev": -0.1}, {"init_stddev": float("nan")}], ids=str
)
@pytest.mark.parametrize("name", FACTORIES)
def test_an_argument_out_of_range_is_refused(name: str, argument: dict[str, Any]) -> None:
    (refused,) = argument
    with pytest.raises(ValueError, match=f"^{refused} must be at least"):
        FACTORIES[name](NUM_ITEMS, **argument)


@pytest.mark.parametrize("name", ["ncf", "neumf"])
def test_a_tower_without_layers_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"^num_layers must be at least 1"):
        FACTORIES[name](NUM_ITEMS, num_layers=0)


def test_a_common_user_scores_as_a_private_one_would() -> None:
    model = ncf(NUM_ITEMS, DIM)
    of_all = common_user(model)
    view = random_view(of_all)
    tower, user = view.shared.dense
    own = view._replace(shared=view.shared._replace(dense=tower), private=Private({}, user))
    np.testing.assert_array_equal(of_all.score(view, Inputs(None)), model.score(own, Inputs(None)))
    table, _ = model.init(jax.random.key(0))
    np.testing.assert_array_equal(
        of_all.init(jax.random.key(0))[0].rows["item"], table.rows["item"]
    )


def test_tables_of_clients_own_cannot_be_common() -> None:
    model = replace(
        gmf(NUM_ITEMS), init_private=lambda key: Private({"item": jnp.zeros((NUM_ITEMS, 1))}, ())
    )
    with pytest.raises(ValueError, match="tables of their own"):
        common_user(model)
