"""Losses, against their formulas in float64."""

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_rec.base import Inputs, Sampled
from fedjax_rec.objectives import binary_cross_entropy, squared_error
from fedjax_rec.objectives.losses import saturating_cross_entropy

SCORES = np.array([-30.0, -2.0, 0.0, 0.7, 30.0, 5.0])
LABELS = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 1.0])
IS_VALID = np.array([True, True, True, False, True, True])


def examples() -> Sampled:
    ids = jnp.arange(len(SCORES))
    return Sampled(Inputs(ids), jnp.asarray(LABELS, jnp.float32), jnp.asarray(IS_VALID))


def test_cross_entropy_equals_its_formula_also_for_large_scores() -> None:
    loss, weight = binary_cross_entropy(jnp.asarray(SCORES, jnp.float32), examples())
    log_sigmoid = -np.logaddexp(0, -SCORES)
    log_other = -np.logaddexp(0, SCORES)
    np.testing.assert_allclose(loss, -LABELS * log_sigmoid - (1 - LABELS) * log_other, rtol=1e-5)
    np.testing.assert_array_equal(weight, IS_VALID.astype(np.float32))


def test_the_gradient_of_cross_entropy_is_probability_minus_label() -> None:
    gradient = jax.grad(lambda scores: binary_cross_entropy(scores, examples())[0].sum())
    expected = 1 / (1 + np.exp(-SCORES)) - LABELS
    np.testing.assert_allclose(
        gradient(jnp.asarray(SCORES, jnp.float32)), expected, rtol=1e-5, atol=1e-7
    )


def test_squared_error_is_the_square_of_the_difference() -> None:
    loss, weight = squared_error(jnp.asarray(SCORES, jnp.float32), examples())
    np.testing.assert_allclose(loss, (LABELS - SCORES) ** 2, rtol=1e-6)
    np.testing.assert_array_equal(weight, IS_VALID.astype(np.float32))


def test_a_saturated_example_that_is_wrong_has_no_gradient() -> None:
    scores = np.array([-40.0, -2.0, 0.0, 0.7, 40.0, 5.0])
    gradient = jax.grad(lambda s: saturating_cross_entropy(s, examples())[0].sum())
    expected = np.where(np.abs(scores) < 40, 1 / (1 + np.exp(-scores)) - LABELS, 0.0)
    np.testing.assert_allclose(
        gradient(jnp.asarray(scores, jnp.float32)), expected, rtol=1e-4, atol=1e-5
    )
