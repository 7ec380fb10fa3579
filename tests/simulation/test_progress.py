"""What a run says of clients that diverge."""

from dataclasses import replace

import jax
import jax.numpy as jnp

from fedjax_rec.baselines import popularity
from fedjax_rec.data import load
from fedjax_rec.simulation import simulate

DATA = load("synthetic", num_users=7, num_items=30, mean_events=6)


def diverging(first_round):
    """Popularity in which all clients but one diverge, from a round on."""
    plain = popularity(DATA.num_items)

    def count(key, view, task):
        output = plain.client_update.run(key, view, task)
        is_bad = (task.round >= first_round) & (task.entry.client_id > 0)
        return output._replace(weight=jnp.where(is_bad, jnp.inf, output.weight))

    return replace(plain, client_update=replace(plain.client_update, run=count))


def run(algorithm, **settings):
    said = []
    result = simulate(algorithm, DATA, key=jax.random.key(0), notice=said.append, **settings)
    return result.summary["bad_updates"], [line for line in said if "left out" in line]


def test_clients_that_diverge_are_counted_and_told_of_once_even_over_a_stop(tmp_path):
    algorithm = diverging(1)
    num_bad, said = run(algorithm, rounds=2, output=tmp_path)
    assert num_bad == DATA.num_clients - 1
    assert said == [
        "by round 2, 6 client updates were not finite and were left out: lower the learning rates"
    ]
    assert run(algorithm, rounds=3, output=tmp_path) == (2 * (DATA.num_clients - 1), [])


def test_clients_that_train_are_not():
    assert run(diverging(9), rounds=2) == (0, [])
