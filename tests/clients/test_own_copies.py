"""Own copies: where they start, what is sent, and that training does not notice."""

import jax
import numpy as np

from fedjax_rec.algorithms import fedopt, recommender
from fedjax_rec.base import Fixed
from fedjax_rec.clients import own_copies
from fedjax_rec.data import load
from fedjax_rec.simulation import build, pad_cohort

DATA = load("synthetic", num_users=7, num_items=30, mean_events=12, seed=3)
KEY = jax.random.key(5)


def make():
    return fedopt(*recommender(DATA.num_items, model="ncf", dim=4, batch_size=16))


def is_dense(path):
    return path[0].name == "dense"


def run(algorithm, cohort):
    engine = build(algorithm)
    state, clients, frozen = engine.init(KEY, DATA.num_clients)
    cohort = pad_cohort(np.array(cohort), DATA.num_clients)
    ended, kept, _ = jax.jit(engine.step)(state, clients, cohort, Fixed(frozen, DATA.clients))
    return (state, clients, frozen), (ended, kept)


def assert_equal(found, expected, tolerance=0.0):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def test_all_start_from_what_was_shared():
    state, _, _ = build(make()).init(KEY, DATA.num_clients)
    sent, clients, frozen = build(own_copies(make(), is_dense)).init(KEY, DATA.num_clients)
    assert_equal(frozen.dense[0], state.shared.dense)
    assert_equal(sent.shared.rows, state.shared.rows)
    assert sent.shared.dense == ()
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(clients.private.dense[0]))


def test_a_client_alone_trains_as_if_all_were_shared():
    """Every parameter: the mean over one client is that client's."""
    _, (shared, plain) = run(make(), [2])
    (_, _, frozen), (sent, kept) = run(own_copies(make(), is_dense), [2])
    assert_equal(sent.shared.rows, shared.shared.rows, 1e-6)
    distance, user = jax.tree.map(lambda leaf: leaf[2], kept.private.dense)
    assert_equal(jax.tree.map(np.add, frozen.dense[0], distance), shared.shared.dense, 1e-6)
    assert_equal(user, plain.private.dense[2], 1e-6)


def test_copies_part_and_who_is_not_asked_keeps_its_own():
    _, (_, kept) = run(own_copies(make(), is_dense), [2, 5])
    towers = [np.asarray(leaf) for leaf in jax.tree.leaves(kept.private.dense[0])]
    assert any(np.any(leaf[2] != leaf[5]) for leaf in towers)
    assert all(np.any(leaf[client]) for client in (2, 5) for leaf in towers)
    assert not any(np.any(leaf[[0, 1, 3, 4, 6]]) for leaf in towers)
