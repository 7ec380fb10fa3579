"""Which length classes a round has, and that fewer of them change nothing."""

from dataclasses import replace

import jax
import numpy as np
import optax
import pytest

from fedjax_rec import Execution, fedavg
from fedjax_rec.base import Fixed, LengthClass, Objective
from fedjax_rec.clients import local_training
from fedjax_rec.data import load
from fedjax_rec.models import gru4rec
from fedjax_rec.objectives import sampled_item
from fedjax_rec.simulation import build, engine, pad_cohort

CLASSES = [LengthClass(0, 2, 60, 60), LengthClass(2, 7, 30, 31), LengthClass(7, 20, 8, 8)]


def nothing(*args: object) -> dict[str, None]:
    return {}


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (0, [(0, 2, 60), (2, 7, 30), (7, 20, 8)]),
        (13, [(0, 7, 60), (7, 20, 8)]),
        (40, [(0, 2, 60), (2, 7, 30), (7, 20, 8)]),
        (5, [(0, 20, 60)]),
    ],
)
def test_clients_longer_than_the_window_are_one_class(
    window: int, expected: list[tuple[int, int, int]]
) -> None:
    objective = Objective(nothing, window=window)  # type: ignore[arg-type]
    found = engine._alike(CLASSES, objective)
    assert [one[:3] for one in found] == expected


def test_a_round_is_the_same_with_fewer_classes() -> None:
    data = load("synthetic", num_users=30, num_items=120, mean_events=14, size_sigma=1.2, seed=2)
    model = gru4rec(data.num_items, 4, max_length=4)
    objective = sampled_item(data.num_items, 4, num_negatives=8)
    classes = list(data.clients.classes)
    assert len(engine._alike(classes, objective)) < len(classes)
    moved = []
    for one in (objective, replace(objective, window=0)):
        algorithm = fedavg(model, one, local_training(model, one, optax.sgd(0.5)))
        rounds = build(algorithm, Execution(chunk_size=4))
        state, clients, frozen = rounds.init(jax.random.key(0), data.num_clients)
        everybody = pad_cohort(np.arange(30), 30)
        after, _, _ = jax.jit(rounds.step)(state, clients, everybody, Fixed(frozen, data.clients))
        moved.append(np.asarray(after.shared.rows["item"] - state.shared.rows["item"]))
    assert np.abs(moved[0]).max() > 1e-4
    np.testing.assert_allclose(moved[0], moved[1], rtol=1e-4, atol=1e-7)
