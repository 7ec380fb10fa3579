"""Every model in a federated run: the laws of `fedjax_rec.testing`, and that it learns."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import optax
import pytest

from fedjax_rec.algorithms import fedavg
from fedjax_rec.base import FederatedAlgorithm, Model
from fedjax_rec.clients import by_role, local_training
from fedjax_rec.data import FederatedData, load
from fedjax_rec.models import (
    bert4rec,
    gmf,
    gru4rec,
    hstu,
    matrix_factorization,
    ncf,
    neumf,
    sasrec,
)
from fedjax_rec.objectives import (
    Sampler,
    binary_cross_entropy,
    bpr,
    next_item,
    ratings,
    sampled,
    sampled_item,
    squared_error,
)
from fedjax_rec.simulation import pad_cohort
from fedjax_rec.testing import CHECKS, Subject
from fedjax_rec.transforms import mean

NUM_NEGATIVES = 2
UNINFORMED = -np.log(1 / 3) / 3 - 2 * np.log(2 / 3) / 3
"""Mean cross-entropy of one positive in three for a model that knows just that."""


def sampled_training(
    model: Callable[[int, int], Model], loss: Callable[..., Any], *, is_pointwise: bool = True
) -> Callable[..., FederatedAlgorithm]:
    """The factory of an algorithm with Adam on clients."""

    def factory(
        num_items: int, *, dim: int, local_epochs: int, batch_size: int, is_sliced: bool = True
    ) -> FederatedAlgorithm:
        scorer = model(num_items, dim)
        sampler = Sampler(num_items, NUM_NEGATIVES, local_epochs, batch_size, is_sliced=is_sliced)
        objective = sampled(sampler, loss, is_pointwise=is_pointwise)
        optimizer = by_role(optax.adam(0.05), optax.adam(0.05))
        return fedavg(scorer, objective, local_training(scorer, objective, optimizer), mean("row"))

    return factory


def rated_training(
    num_items: int, *, dim: int, local_epochs: int, batch_size: int, is_sliced: bool = True
) -> FederatedAlgorithm:
    model = matrix_factorization(num_items, dim)
    objective = ratings(
        num_items, local_epochs=local_epochs, batch_size=batch_size, is_sliced=is_sliced
    )
    return fedavg(model, objective, local_training(model, objective, optax.sgd(0.3)))


def sequential_training(num_items: int, *, dim: int, local_epochs: int) -> FederatedAlgorithm:
    model = sasrec(num_items, dim, max_length=16, num_blocks=1)
    objective = next_item(num_items, max_length=16, local_epochs=local_epochs)
    return fedavg(model, objective, local_training(model, objective, optax.adam(0.02)))


def sampled_sequences(model: Callable[..., Any], **asked: Any) -> Callable[..., FederatedAlgorithm]:
    def factory(
        num_items: int, *, dim: int, local_epochs: int, is_sliced: bool = True
    ) -> FederatedAlgorithm:
        scorer = model(num_items, dim, max_length=16)
        objective = sampled_item(
            num_items, 16, local_epochs=local_epochs, is_sliced=is_sliced, **asked
        )
        return fedavg(scorer, objective, local_training(scorer, objective, optax.adam(0.02)))

    return factory


FACTORIES: dict[str, tuple[Callable[..., FederatedAlgorithm], dict[str, int]]] = {
    "gmf": (sampled_training(gmf, binary_cross_entropy), {}),
    "ncf": (sampled_training(ncf, binary_cross_entropy), {"dim": 16}),
    "neumf": (sampled_training(neumf, binary_cross_entropy), {"dim": 8}),
    "mf, bpr": (
        sampled_training(matrix_factorization, bpr(NUM_NEGATIVES), is_pointwise=False),
        {},
    ),
    "mf, squared error": (sampled_training(matrix_factorization, squared_error), {}),
    "mf, ratings": (rated_training, {}),
    "sasrec": (sequential_training, {"dim": 8}),
    "gru4rec": (sampled_sequences(gru4rec, num_negatives=32), {"dim": 8}),
    "bert4rec": (
        sampled_sequences(bert4rec, num_negatives=32, mask_probability=0.3),
        {"dim": 8},
    ),
    "hstu": (
        sampled_sequences(hstu, num_negatives=2, loss="bce", is_by_position=True),
        {"dim": 8},
    ),
}

LIMITS = {
    "gmf": 0.9 * UNINFORMED,
    "ncf": 0.9 * UNINFORMED,
    "neumf": 0.9 * UNINFORMED,
    "mf, bpr": 0.9 * np.log(2),
    "mf, squared error": 0.9 * (1 / 3) * (2 / 3),  # of the variance of the labels
    "mf, ratings": 8.0,  # the mean square of a rating is about 13
    "sasrec": 0.95 * np.log(200),
    "gru4rec": 0.98 * np.log(200),
    "bert4rec": 0.995 * np.log(200),
    "hstu": 2.5,  # it starts at three of about log 2, over its temperature
}
"""A loss that takes more than biases to reach."""


@cache
def small_data() -> FederatedData:
    """One length class, and so half the programs to compile."""
    return load("synthetic", num_users=20, num_items=200, mean_events=20, size_sigma=0.3, seed=3)


@cache
def subject(name: str) -> Subject:
    factory, options = FACTORIES[name]
    return Subject(factory, options)


SEQUENCES = ("gru4rec", "bert4rec", "hstu")
SLOW = ("neumf", "mf, squared error")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in FACTORIES],
)
def test_it_learns_more_than_a_constant(name: str) -> None:
    factory, options = FACTORIES[name]
    this = Subject(factory, options, small_data())
    state, clients, fixed = this.start
    everyone = pad_cohort(np.arange(this.data.num_clients), this.data.num_clients)
    for _ in range(10):
        state, clients, info = this.step(state, clients, everyone, fixed)
    assert info["loss"].mean() < LIMITS[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gmf", "neumf", "mf, bpr", "mf, ratings", *SEQUENCES])
def test_slices_equal_the_whole_table(name: str) -> None:
    CHECKS["equals_whole_table"](subject(name))


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", ["ncf", "sasrec", *SEQUENCES])
def test_it_keeps_the_law(name: str, check: str) -> None:
    if check == "learns" and name in SEQUENCES:
        pytest.skip("ten rounds are few for it: see test_it_learns_more_than_a_constant")
    CHECKS[check](subject(name))
