"""What a run says of clients that diverge."""

import jax
import pytest

from fedjax_rec.algorithms import fedmf
from fedjax_rec.data import load
from fedjax_rec.simulation import simulate

DATA = load("synthetic", num_users=7, num_items=30, mean_events=6)


@pytest.fixture(scope="module")
def diverging():
    return fedmf(DATA.num_items, dim=2, item_learning_rate=1e38, user_learning_rate=1e38)


def run(algorithm, **settings):
    said = []
    result = simulate(algorithm, DATA, key=jax.random.key(0), notice=said.append, **settings)
    return result.summary["bad_updates"], [line for line in said if "left out" in line]


def test_clients_that_diverge_are_counted_and_told_of_once_even_over_a_stop(diverging, tmp_path):
    num_bad, said = run(diverging, rounds=2, output=tmp_path)
    assert num_bad == DATA.num_clients  # the first step is large, the second too large
    assert said == [
        "by round 2, 7 client updates were not finite and were left out: lower the learning rates"
    ]
    assert run(diverging, rounds=3, output=tmp_path) == (2 * DATA.num_clients, [])


def test_clients_that_train_are_not():
    assert run(fedmf(DATA.num_items, dim=2), rounds=2) == (0, [])
