"""Optimizers by name, against optax called by hand."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_rec.errors import UserError
from fedjax_rec.optimizers import as_sgd, named_optimizer

START, GRADS = jnp.array([1.0, -2.0]), [jnp.array([0.5, 1.0]), jnp.array([-1.0, 0.25])]


def steps(optimizer: optax.GradientTransformation) -> np.ndarray:
    x, state = START, optimizer.init(START)
    for grad in GRADS:
        updates, state = optimizer.update(grad, state, x)
        x = optax.apply_updates(x, updates)
    return np.asarray(x)


@pytest.mark.parametrize("name", ["sgd", "adam", "adagrad", "yogi", "rmsprop"])
def test_a_named_optimizer_is_the_one_of_optax(name: str) -> None:
    expected = steps(getattr(optax, name)(0.25))
    np.testing.assert_array_equal(steps(named_optimizer(name, 0.25)), expected)


@pytest.mark.parametrize("name", ["sgd", "rmsprop"])
def test_momentum_is_passed_on(name: str) -> None:
    expected = steps(getattr(optax, name)(0.25, momentum=0.5))
    np.testing.assert_array_equal(steps(named_optimizer(name, 0.25, 0.5)), expected)
    assert (steps(named_optimizer(name, 0.25)) != expected).any()


def test_sgd_with_momentum_is_the_heavy_ball() -> None:
    speed, x = np.zeros(2), np.array(START)
    for grad in GRADS:
        speed = 0.9 * speed + np.asarray(grad)
        x = x - 0.1 * speed
    np.testing.assert_allclose(steps(named_optimizer("sgd", 0.1, 0.9)), x, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("sdg", "(did you mean 'sgd'?)"),
        ("adan_", "(did you mean 'adan'?)"),
        ("Adam", "(did you mean 'adam'?)"),
        ("apply_updates", ""),
        ("chain", ""),
        ("__doc__", ""),
        ("GradientTransformation", ""),
    ],
)
def test_what_is_no_optimizer_is_refused_with_the_nearest_name(name: str, hint: str) -> None:
    with pytest.raises(UserError) as error:
        named_optimizer(name, 0.1)
    message = str(error.value)
    assert message.startswith(f"unknown optimizer {name!r} (")
    assert hint in message
    assert "\n" not in message


def test_momentum_of_an_optimizer_without_one_is_refused() -> None:
    assert "momentum" not in inspect.signature(optax.adam).parameters
    with pytest.raises(UserError, match="optimizer adam takes no momentum; leave it at 0"):
        named_optimizer("adam", 0.1, momentum=0.9)


@pytest.mark.parametrize("rate", [0.0, -0.1, float("nan"), float("inf")])
def test_a_learning_rate_that_goes_nowhere_is_refused(rate: float) -> None:
    with pytest.raises(UserError, match="optimizer sgd: learning_rate must be"):
        named_optimizer("sgd", rate)


def test_a_pull_to_the_start_is_no_plain_sgd() -> None:
    """Its first step is that of SGD, for there nothing has moved yet."""

    def proximal(mu: float) -> optax.GradientTransformation:
        def update(grads: Any, start: Any, params: Any) -> Any:
            pulled = jax.tree.map(lambda g, w, w0: g + mu * (w - w0), grads, params, start)
            return jax.tree.map(lambda g: -0.5 * g, pulled), start

        return optax.GradientTransformation(lambda params: params, update)

    assert as_sgd(proximal(0.01)) is None
    assert as_sgd(proximal(0.0)) is not None
