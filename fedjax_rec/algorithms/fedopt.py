"""FedOpt: federated averaging whose server steps by an optimizer of its own.

Reddi et al. (2021), "Adaptive federated optimization", ICLR.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from fedjax_rec.algorithms.checks import refuse_outside
from fedjax_rec.algorithms.fedavg import fedavg
from fedjax_rec.base import (
    AggregateTransform,
    Array,
    FederatedAlgorithm,
    Model,
    Objective,
    PyTree,
    is_zero,
    parametric,
)
from fedjax_rec.clients import local_training


@parametric
def fedopt(
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    aggregate: AggregateTransform | None = None,
    server_optimizer: optax.GradientTransformation | None = None,
) -> FederatedAlgorithm:
    """Federated averaging with any optimizer on the server.

    `Delta_c = w_c - w` after local training; `w <- w + SERVEROPT(-sum_c p_c Delta_c)`.

    Args:
      model: how items are scored.
      objective: which examples, and which loss.
      optimizer: of a client's copy of `(shared, private)`, started afresh each round.
      aggregate: what happens to updates; `mean("client")` by default.
      server_optimizer: `optax.sgd(1.0)` by default: federated averaging.

    Returns:
      The algorithm's filled slots.

    Reference:
      Reddi et al. (2021), Algorithm 1. Difference: private parameters stay on their clients.

    >>> from fedjax_rec.recommenders import recommender
    >>> fedopt(*recommender(100), server_optimizer=optax.adam(0.1)).model.num_rows
    {'item': 100}
    """
    client_update = local_training(model, objective, optimizer)
    return fedavg(model, objective, client_update, aggregate, server_optimizer)


def with_server(
    make_server: Callable[..., optax.GradientTransformation],
) -> Callable[..., FederatedAlgorithm]:
    """Federated averaging whose server has one optimizer, by its settings.

    Args:
      make_server: `(*, settings) -> optimizer` of the server.

    Returns:
      `(model, objective, optimizer, *, settings, aggregate)`, with that signature.
    """

    def factory(
        model: Model,
        objective: Objective,
        optimizer: optax.GradientTransformation,
        *,
        aggregate: AggregateTransform | None = None,
        **settings: Any,
    ) -> FederatedAlgorithm:
        server = make_server(**settings)
        return fedopt(model, objective, optimizer, aggregate=aggregate, server_optimizer=server)

    *parts, aggregate, _ = inspect.signature(factory).parameters.values()
    own = inspect.signature(make_server).parameters.values()
    functools.update_wrapper(factory, make_server)
    del factory.__wrapped__  # type: ignore[attr-defined]  # its signature is another
    factory.__signature__ = inspect.Signature([*parts, *own, aggregate])  # type: ignore[attr-defined]
    return parametric(factory)


@with_server
def fedavgm(
    *, server_learning_rate: float = 1.0, server_momentum: float = 0.9
) -> optax.GradientTransformation:
    """Federated averaging with momentum on the server (FedAvgM).

    `v <- beta v + Delta`, `w <- w + eta v`; Delta is the aggregate.

    Args:
      server_learning_rate: eta, above 0.
      server_momentum: beta, in [0, 1); 0 is federated averaging.
      model, objective, optimizer, aggregate: those of `fedopt`.

    Returns:
      The algorithm's filled slots.

    Raises:
      ValueError: a number is out of range.

    Reference:
      Hsu, Qi and Brown (2019), "Measuring the effects of non-identical data distribution for
      federated visual classification", section 4.3.

    >>> from fedjax_rec.recommenders import recommender
    >>> fedavgm(*recommender(100)).server_update.learning_rate is None
    True
    """
    refuse_outside("(0, inf)", server_learning_rate=server_learning_rate)
    refuse_outside("[0, 1)", server_momentum=server_momentum)
    momentum = None if is_zero(server_momentum) else server_momentum
    return optax.sgd(server_learning_rate, momentum=momentum)


@with_server
def fedadagrad(
    *, server_learning_rate: float = 0.1, beta1: float = 0.0, tau: float = 1e-3
) -> optax.GradientTransformation:
    """Federated averaging with AdaGrad on the server (FedAdagrad).

    `m <- beta1 m + (1 - beta1) Delta`, `v <- v + Delta^2`,
    `w <- w + eta m / (sqrt(v) + tau)`; Delta is the aggregate.

    Args:
      server_learning_rate: eta, above 0.
      beta1: decay of the first moment, in [0, 1).
      tau: degree of adaptivity, above 0; v starts at tau^2.
      model, objective, optimizer, aggregate: those of `fedopt`.

    Returns:
      The algorithm's filled slots.

    Raises:
      ValueError: a number is out of range.

    Reference:
      Reddi et al. (2021), Algorithm 2. No bias correction, as there.

    >>> from fedjax_rec.recommenders import recommender
    >>> fedadagrad(*recommender(100), tau=0.1).model.num_rows
    {'item': 100}
    """
    return _adaptive(server_learning_rate, beta1, tau, lambda v, square: v + square)


@with_server
def fedadam(
    *,
    server_learning_rate: float = 0.03,
    beta1: float = 0.9,
    beta2: float = 0.99,
    tau: float = 1e-3,
) -> optax.GradientTransformation:
    """Federated averaging with Adam on the server (FedAdam).

    As `fedadagrad`, but `v <- beta2 v + (1 - beta2) Delta^2`.

    Args:
      beta2: decay of the second moment, in [0, 1).
      server_learning_rate, beta1, tau: those of `fedadagrad`.
      model, objective, optimizer, aggregate: those of `fedopt`.

    Returns:
      The algorithm's filled slots.

    Raises:
      ValueError: a number is out of range.

    Reference:
      Reddi et al. (2021), Algorithm 2. No bias correction, as there.

    >>> from fedjax_rec.recommenders import recommender
    >>> fedadam(*recommender(100), tau=0.1).model.num_rows
    {'item': 100}
    """
    refuse_outside("[0, 1)", beta2=beta2)

    def second_moment(v: Array, square: Array) -> Array:
        return beta2 * v + (1 - beta2) * square

    return _adaptive(server_learning_rate, beta1, tau, second_moment)


@with_server
def fedyogi(
    *,
    server_learning_rate: float = 0.03,
    beta1: float = 0.9,
    beta2: float = 0.99,
    tau: float = 1e-3,
) -> optax.GradientTransformation:
    """Federated averaging with Yogi on the server (FedYogi).

    As `fedadam`, but `v <- v - (1 - beta2) Delta^2 sign(v - Delta^2)`.

    Args:
      server_learning_rate, beta1, beta2, tau: those of `fedadam`.
      model, objective, optimizer, aggregate: those of `fedopt`.

    Returns:
      The algorithm's filled slots.

    Raises:
      ValueError: a number is out of range.

    Reference:
      Reddi et al. (2021), Algorithm 2. No bias correction, as there.

    >>> from fedjax_rec.recommenders import recommender
    >>> fedyogi(*recommender(100), tau=0.1).model.num_rows
    {'item': 100}
    """
    refuse_outside("[0, 1)", beta2=beta2)

    def second_moment(v: Array, square: Array) -> Array:
        return v - (1 - beta2) * square * jnp.sign(v - square)

    return _adaptive(server_learning_rate, beta1, tau, second_moment)


class _Moments(NamedTuple):
    """What an adaptive server remembers."""

    first: PyTree
    second: PyTree


def _adaptive(
    learning_rate: float, beta1: float, tau: float, second_moment: Callable[[Array, Array], Array]
) -> optax.GradientTransformation:
    """`w <- w + eta m / (sqrt(v) + tau)`, v by `(v, Delta^2) -> v`."""
    refuse_outside("(0, inf)", server_learning_rate=learning_rate, tau=tau)
    refuse_outside("[0, 1)", beta1=beta1)

    def init(params: PyTree) -> _Moments:
        first = jax.tree.map(jnp.zeros_like, params)
        return _Moments(first, jax.tree.map(lambda leaf: jnp.full_like(leaf, tau**2), params))

    def update(grads: PyTree, moments: _Moments, params: PyTree = None) -> tuple[PyTree, _Moments]:
        first = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, moments.first, grads)
        second = jax.tree.map(lambda v, g: second_moment(v, g * g), moments.second, grads)
        steps = jax.tree.map(lambda m, v: -learning_rate * m / (jnp.sqrt(v) + tau), first, second)
        return steps, _Moments(first, second)

    return optax.GradientTransformation(init, update)
