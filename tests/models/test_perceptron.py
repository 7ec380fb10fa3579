"""The perceptron against its formula, record by record, and what it keeps where."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.base import Inputs, View, empty, nothing_private
from fedjax_rec.models import perceptron
from fedjax_rec.models.ncf import Layer
from fedjax_rec.tree import take_view

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(9, 4)).astype(np.float32)


def view_of() -> View:
    layers = [
        Layer(RNG.normal(size=sides), RNG.normal(size=sides[1:])) for sides in ((4, 3), (3, 1))
    ]
    shared = empty()._replace(dense=jax.tree.map(jnp.asarray, tuple(layers)))
    _, frozen = perceptron(jnp.asarray(FEATURES), 3).init(jax.random.key(0))
    return View(shared, nothing_private(), frozen, nothing_private(), empty())


def oracle(view: View, number: int) -> Any:
    (hidden, out) = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), view.shared.dense)
    score = out.bias[0]
    for unit in range(3):
        activity = FEATURES[number] @ hidden.weight[:, unit] + hidden.bias[unit]
        score += max(activity, 0) * out.weight[unit, 0]
    return score


def test_scores_are_those_of_the_formula_on_the_records_asked_for() -> None:
    model, view = perceptron(jnp.asarray(FEATURES), 3), view_of()
    expected = [oracle(view, number) for number in range(9)]
    np.testing.assert_allclose(model.score(view, Inputs(None)), expected, rtol=1e-5)
    some = model.score(view, Inputs(jnp.array([7, 2, 7])))
    np.testing.assert_allclose(some, np.array(expected)[[7, 2, 7]], rtol=1e-5)
    own = take_view(view, {"item": jnp.array([4, 8])})  # a client's view: its own records
    np.testing.assert_allclose(model.score(own, Inputs(None)), np.array(expected)[[4, 8]], 1e-5)


def test_features_are_frozen_and_nothing_else_is() -> None:
    shared, frozen = perceptron(jnp.asarray(FEATURES)).init(jax.random.key(1))
    np.testing.assert_array_equal(frozen.rows["item"], FEATURES)
    assert not shared.rows
    assert not jax.tree.leaves(frozen.dense)
    again, _ = perceptron(jnp.asarray(FEATURES)).init(jax.random.key(2))
    assert not np.array_equal(shared.dense[0].weight, again.dense[0].weight)


def test_it_has_a_hidden_layer() -> None:
    with pytest.raises(ValueError, match="num_hidden must be at least 1, got 0"):
        perceptron(jnp.asarray(FEATURES), 0)
