"""Optimizers by name, against optax called by hand."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_rec.base import LocalSGD, Part, Private
from fedjax_rec.clients import by_role
from fedjax_rec.errors import UserError
from fedjax_rec.optimizers import as_sgd, named_optimizer, sgd_rate

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


# ------------------------------------------------------------ what plain SGD is known by

SGD: dict[str, tuple[optax.GradientTransformation, LocalSGD]] = {
    "plain": (optax.sgd(0.25), LocalSGD(0.25, 0.25, 0.0)),
    "momentum": (optax.sgd(0.25, momentum=0.9), LocalSGD(0.25, 0.25, 0.9)),
    "by role": (by_role(optax.sgd(1600.0), optax.sgd(2.0)), LocalSGD(1600.0, 2.0, 0.0)),
    "by role, momentum": (
        by_role(optax.sgd(0.5, momentum=0.5), optax.sgd(2.0, momentum=0.5)),
        LocalSGD(0.5, 2.0, 0.5),
    ),
    "in pieces": (optax.chain(optax.trace(0.5), optax.scale(-0.125)), LocalSGD(0.125, 0.125, 0.5)),
}


@pytest.mark.parametrize("name", SGD)
def test_plain_sgd_is_known_with_its_numbers(name: str) -> None:
    optimizer, expected = SGD[name]
    assert as_sgd(optimizer) == expected


@pytest.mark.parametrize(("rate", "momentum"), [(0.25, 0.9), (0.1, 0.0), (0.25, 1 / 3)])
def test_numbers_of_plain_sgd_are_not_rounded(rate: float, momentum: float) -> None:
    found = as_sgd(optax.sgd(rate, momentum=momentum))
    assert found is not None
    expected = (rate, rate, momentum)
    numbers = (found.shared_learning_rate, found.private_learning_rate, found.momentum)
    np.testing.assert_allclose(numbers, expected, rtol=1e-13, atol=0)


def proximal(mu: float) -> optax.GradientTransformation:
    """Its first step is that of SGD, for there nothing has moved yet."""

    def update(grads: Any, start: Any, params: Any) -> Any:
        pulled = jax.tree.map(lambda g, w, w0: g + mu * (w - w0), grads, params, start)
        return jax.tree.map(lambda g: -0.5 * g, pulled), start

    return optax.GradientTransformation(lambda params: params, update)


def behind(link: optax.GradientTransformation) -> optax.GradientTransformation:
    return optax.chain(link, optax.sgd(0.1))


NO_SGD: dict[str, optax.GradientTransformation] = {
    "Adam": optax.adam(0.1),
    "AdaGrad": optax.adagrad(0.1),
    "sign": optax.sign_sgd(0.1),
    "trust ratio": behind(optax.scale_by_trust_ratio()),
    "Nesterov": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "two velocities": optax.chain(optax.trace(0.9), optax.trace(0.5), optax.scale(-0.1)),
    "schedule": optax.sgd(optax.linear_schedule(0.1, 0.01, 10)),
    "constant schedule": optax.sgd(optax.constant_schedule(0.1)),
    "clip": behind(optax.clip(1.0)),
    "weight decay": behind(optax.add_decayed_weights(1e-9)),
    "pull to the start": proximal(0.01),
    "noise": optax.noisy_sgd(0.1, key=0),
    "parameters above 0": optax.chain(optax.sgd(0.1), optax.keep_params_nonnegative()),
    "zeros for NaN": behind(optax.zero_nans()),
    "coarse velocity": optax.sgd(0.1, momentum=0.9, accumulator_dtype=jnp.bfloat16),
    "every second step": optax.MultiSteps(optax.sgd(0.1), 2).gradient_transformation(),
    "Adam for one role": by_role(optax.sgd(0.1), optax.adam(0.1)),
    "momentum of one role": by_role(optax.sgd(0.1, momentum=0.5), optax.sgd(0.1)),
    "momentum of each role": by_role(optax.sgd(0.1, momentum=0.5), optax.sgd(0.1, momentum=0.9)),
    "nothing for both roles": by_role(),
    "clip by norm": behind(optax.clip_by_global_norm(1.0)),
    "clip by block": behind(optax.clip_by_block_rms(1.0)),
    "centred rows": behind(optax.centralize()),
}


def test_a_role_that_stands_still_has_no_learning_rate() -> None:
    assert as_sgd(by_role(shared=optax.sgd(0.5))) == (0.5, 0.0, 0.0)
    assert as_sgd(by_role(private=optax.sgd(0.25, momentum=0.5))) == (0.0, 0.25, 0.5)


@pytest.mark.parametrize("name", NO_SGD)
def test_no_other_optimizer_is_taken_for_plain_sgd(name: str) -> None:
    assert as_sgd(NO_SGD[name]) is None
    if "role" not in name:  # a server has no private parameters
        assert sgd_rate(NO_SGD[name]) is None


def test_the_pull_alone_keeps_it_from_being_plain_sgd() -> None:
    assert as_sgd(proximal(0.0)) is not None


def test_a_server_is_plain_sgd_without_momentum_only() -> None:
    assert sgd_rate(optax.sgd(0.25)) == 0.25
    assert sgd_rate(optax.sgd(0.25, momentum=0.9)) is None


def test_an_optimizer_is_recognised_also_while_a_program_is_traced() -> None:
    @jax.jit
    def rate(x: Any) -> Any:
        found = as_sgd(optax.sgd(0.25))
        assert found is not None
        return x * found.private_learning_rate

    assert float(rate(2.0)) == 0.5


def test_private_leaves_of_two_rates_are_not_plain_sgd() -> None:
    params = (Part({}, 0), Private({}, {"a": 0, "b": 0}))
    labels = (Part({}, "slow"), Private({}, {"a": "slow", "b": "fast"}))
    optimizer = optax.partition({"slow": optax.sgd(0.1), "fast": optax.sgd(0.2)}, labels)
    assert as_sgd(optimizer, params) is None
