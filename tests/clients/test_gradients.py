"""Gradients of a batch: analytic, by autodiff, and of the rows of a batch alone."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.base import Inputs, Model, Part, Private, Sampled, View, empty
from fedjax_rec.clients.gradients import autodiff, loss_gradients, rows_of
from fedjax_rec.models import gmf, matrix_factorization
from fedjax_rec.objectives import binary_cross_entropy

NUM_ITEMS, DIM = 12, 3
IDS = jnp.array([7, 2, 7, 0, 11, 0])  # items 7 and 0 recur; the last is padding
EXAMPLES = Sampled(
    Inputs(IDS),
    jnp.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
    jnp.array([True, True, True, True, True, False]),
)
MODELS = {"mf": matrix_factorization(NUM_ITEMS, DIM), "gmf": gmf(NUM_ITEMS, DIM)}


def weighted(scores: Any, examples: Sampled) -> Any:
    """Weights that are fractions, and differ."""
    losses, weights = binary_cross_entropy(scores, examples)
    return losses, weights * (0.25 + examples.label)


def view_of(model: Model) -> View:
    shared, frozen = model.init(jax.random.key(0))
    dense = jax.tree.map(lambda leaf: leaf * jnp.arange(1.0, 1 + leaf.size), shared.dense)
    return View(
        shared._replace(dense=dense),
        model.init_private(jax.random.key(1)),
        frozen,
        Private({"item": jnp.arange(NUM_ITEMS)}, jnp.ones(2)),
        Part({"item": {"one": jnp.arange(NUM_ITEMS)}, "song": jnp.arange(5)}, ()),
    )


def by_grad(model: Model, view: View, divisor: float) -> Any:
    """`jax.grad` of the whole formula."""

    def mean_loss(shared: Part, private: Private) -> Any:
        scores = model.score(view._replace(shared=shared, private=private), EXAMPLES.inputs)
        losses, weights = weighted(scores, EXAMPLES)
        return jnp.sum(losses * weights) / divisor

    return jax.grad(mean_loss, argnums=(0, 1))(view.shared, view.private)


def assert_close(one: Any, other: Any) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(left, right, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("divisor", [None, 7.0])
@pytest.mark.parametrize("is_analytic", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_the_weighted_mean_loss(
    name: str, is_analytic: bool, divisor: float | None
) -> None:
    model = MODELS[name] if is_analytic else replace(MODELS[name], score_vjp=None)
    assert (model.score_vjp is not None) == is_analytic
    view = view_of(model)
    sum_of_weights = 2 * 1.25 + 3 * 0.25
    given = None if divisor is None else jnp.float32(divisor)
    found = loss_gradients(model, weighted, view, EXAMPLES, given)
    assert_close(found.gradients, by_grad(model, view, divisor or sum_of_weights))
    assert type(found.gradients[0]) is Part
    assert type(found.gradients[1]) is Private
    losses, weights = weighted(model.score(view, EXAMPLES.inputs), EXAMPLES)
    assert float(found.weight) == sum_of_weights
    assert float(found.total) == pytest.approx(float(jnp.sum(losses * weights)), rel=1e-6)
    assert np.flatnonzero(found.by_score).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_of_padding_has_no_gradient(name: str) -> None:
    view, padding = view_of(MODELS[name]), EXAMPLES._replace(is_valid=jnp.zeros(6, bool))
    found = loss_gradients(MODELS[name], weighted, view, padding)
    for leaf in jax.tree.leaves(found.gradients):
        assert not leaf.any()
    assert (float(found.weight), float(found.total)) == (0, 0)


@pytest.mark.parametrize("name", MODELS)
def test_autodiff_is_the_analytic_pullback(name: str) -> None:
    model, view = MODELS[name], view_of(MODELS[name])
    assert model.score_vjp is not None
    cotangent = jnp.arange(6.0) - 2
    pairs = [vjp(view, EXAMPLES.inputs) for vjp in (model.score_vjp, autodiff(model))]
    assert_close(*[scores for scores, _ in pairs])
    assert_close(*[pullback(cotangent) for _, pullback in pairs])


@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_the_rows_of_a_batch_sum_to_those_of_the_table(name: str) -> None:
    view = view_of(MODELS[name])
    whole = loss_gradients(MODELS[name], weighted, view, EXAMPLES)
    rows = loss_gradients(
        MODELS[name],
        weighted,
        rows_of(view, "item", IDS),
        EXAMPLES._replace(inputs=Inputs(None)),
    )
    assert rows.gradients[0].rows["item"].shape == (6, DIM)
    summed = jnp.zeros((NUM_ITEMS, DIM)).at[IDS].add(rows.gradients[0].rows["item"])
    assert_close(whole.gradients[0]._replace(rows={"item": summed}), whole.gradients[0])
    assert_close(rows.gradients[1], whole.gradients[1])


def test_rows_are_cut_from_every_part_and_the_other_tables_left_out() -> None:
    view = rows_of(view_of(MODELS["gmf"]), "item", IDS)
    assert view.memory.rows["item"].tolist() == IDS.tolist()
    assert view.extra.rows.keys() == {"item"}
    assert view.extra.rows["item"]["one"].tolist() == IDS.tolist()
    assert view.shared.dense.shape == (DIM,)
    assert type(view.private) is type(view.memory) is Private
    assert rows_of(View(*[empty()] * 5), "item", IDS).shared == empty()  # type: ignore[arg-type]
