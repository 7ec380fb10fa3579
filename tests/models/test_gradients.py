"""Analytic gradients, against those of `jax.vjp` through the model's own score."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.base import Inputs, Model, Part, Private, Sampled, View, empty, nothing_private
from fedjax_rec.models import gmf, matrix_factorization, ncf, neumf
from fedjax_rec.objectives import binary_cross_entropy, bpr, squared_error

NUM_ITEMS, DIM = 9, 4

FACTORIES: dict[str, Callable[..., Model]] = {
    "mf": matrix_factorization,
    "gmf": gmf,
    "ncf": ncf,
    "neumf": neumf,
}
ANALYTIC = ("mf", "gmf")

LOSSES = {"bce": binary_cross_entropy, "bpr": bpr(num_negatives=3), "squared": squared_error}

IDS = {
    "every row": None,
    "some rows, one twice": jnp.array([2, 5, 2, 8, 0, 1, 7, 3]),
}


def view_of(model: Model) -> View:
    """The model's parameters, all replaced by standard normal numbers."""
    (shared, frozen), private = model.init(jax.random.key(0)), model.init_private(jax.random.key(1))
    rng = np.random.default_rng(0)
    shared, private = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), (shared, private)
    )
    return View(shared, private, frozen, nothing_private(), empty())


def autodiff(
    model: Model, view: View, inputs: Inputs
) -> tuple[jax.Array, Callable[[jax.Array], tuple[Part, Private]]]:
    """What `score_vjp` promises."""

    def score(shared: Part, private: Private) -> jax.Array:
        return model.score(view._replace(shared=shared, private=private), inputs)

    return jax.vjp(score, view.shared, view.private)


def assert_close(found: object, expected: object) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        error = np.linalg.norm(np.asarray(one, np.float64) - np.asarray(other, np.float64))
        assert error <= 1e-6 * np.linalg.norm(other)


@pytest.mark.parametrize("ids", IDS.values(), ids=IDS)
@pytest.mark.parametrize("name", ANALYTIC)
def test_analytic_gradients_are_those_of_autodiff(name: str, ids: jax.Array | None) -> None:
    model = FACTORIES[name](NUM_ITEMS, DIM)
    view, inputs = view_of(model), Inputs(ids)
    assert model.score_vjp is not None
    scores, pullback = model.score_vjp(view, inputs)
    expected, oracle = autodiff(model, view, inputs)
    np.testing.assert_allclose(scores, expected, rtol=1e-6)
    cotangent = jnp.asarray(np.random.default_rng(1).normal(size=scores.shape), jnp.float32)
    assert_close(pullback(cotangent), oracle(cotangent))


@pytest.mark.parametrize("ids", IDS.values(), ids=IDS)
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("name", ANALYTIC)
def test_gradients_of_a_loss_are_those_of_autodiff(
    name: str, loss: Callable[..., tuple[jax.Array, jax.Array]], ids: jax.Array | None
) -> None:
    """Two groups of one positive and three negatives, the last of which is padding."""
    model = FACTORIES[name](8, DIM)
    view, inputs = view_of(model), Inputs(None if ids is None else ids % 8)
    examples = Sampled(inputs, jnp.array([1.0, 0, 0, 0] * 2), jnp.arange(8) < 7)

    def summed(scores: jax.Array) -> jax.Array:
        losses, weights = loss(scores, examples)
        return jnp.sum(losses * weights)

    def of_parameters(shared: Part, private: Private) -> jax.Array:
        return summed(model.score(view._replace(shared=shared, private=private), inputs))

    assert model.score_vjp is not None
    scores, pullback = model.score_vjp(view, inputs)
    expected = jax.grad(of_parameters, (0, 1))(view.shared, view.private)
    assert_close(pullback(jax.grad(summed)(scores)), expected)


@pytest.mark.parametrize("name", FACTORIES)
def test_a_row_wise_score_of_a_batch_is_that_of_its_rows_alone(name: str) -> None:
    model, ids = FACTORIES[name](NUM_ITEMS, DIM), IDS["some rows, one twice"]
    assert model.is_row_wise
    view = view_of(model)
    rows = jax.tree.map(lambda leaf: leaf[ids], view.shared.rows)
    alone = view._replace(shared=view.shared._replace(rows=rows))
    np.testing.assert_allclose(
        model.score(alone, Inputs(None)), model.score(view, Inputs(ids)), rtol=1e-5, atol=1e-6
    )
