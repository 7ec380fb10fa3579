"""Items told by shadow clients: against made-up uploads, and on those of real clients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.algorithms import fedmf, fedncf
from fedjax_rec.attacks import area_under_curve, interaction_membership, row_support
from fedjax_rec.base import Fixed
from fedjax_rec.data import load
from fedjax_rec.errors import UserError
from fedjax_rec.recommenders import recommender
from fedjax_rec.simulation import build, pad_cohort
from fedjax_rec.simulation.shadow import shadow_upload
from fedjax_rec.simulation.uploads import rows_sent, training_items, uploads

NUM_CLIENTS = 12


@pytest.fixture(scope="module")
def data():
    return load("synthetic", num_users=60, num_items=300, mean_events=20.0)


def areas(algorithm, data, *, rounds=0, noise=0.0):
    """The area for each client: its items against its sampled negatives."""
    engine = build(algorithm)
    state, clients, frozen = jax.jit(engine.init, static_argnums=1)(
        jax.random.key(0), data.num_clients
    )
    fixed = Fixed(frozen, data.clients)
    everyone = pad_cohort(np.arange(data.num_clients), data.num_clients)
    step = jax.jit(engine.step)
    for _ in range(rounds):
        state, clients, _ = step(state, clients, everyone, fixed)
    ids = np.arange(NUM_CLIENTS)
    seen = jax.jit(lambda *now: uploads(algorithm, *now))(state, clients, fixed, ids)
    every_item = np.arange(data.num_items)

    @jax.jit
    def attack(key, state, change):
        train = partial(shadow_upload, algorithm, state, fixed, every_item, "item")
        return interaction_membership(key, change, train)

    found = []
    rng = np.random.default_rng(1)
    for place, items in enumerate(training_items(data.clients, ids)):
        rows, change = rows_sent(seen, place, "item", data.num_items)
        table = np.zeros((data.num_items, change.shape[-1]), np.float32)
        table[rows] = change
        is_moved = np.asarray(row_support(table)) > 0
        size = np.linalg.norm(table)
        table += np.float32(noise * size) * rng.normal(size=table.shape).astype(np.float32)
        scores = np.asarray(attack(jax.random.key(place), state, table))
        found.append(area_under_curve(scores[is_moved], np.isin(every_item, items)[is_moved]))
    return np.array([area for area in found if np.isfinite(area)])  # all liked: nothing to tell


def test_a_network_everybody_has_gives_items_away_from_the_first_round(data):
    algorithm = fedncf(*recommender(data.num_items, model="ncf", dim=8))
    assert areas(algorithm, data).mean() >= 0.85


def test_so_does_a_trained_table_of_items(data):
    algorithm = fedmf(data.num_items, dim=8)
    assert areas(algorithm, data, rounds=30).mean() >= 0.95


def test_behind_local_noise_it_is_chance(data):
    algorithm = fedmf(data.num_items, dim=8)
    assert abs(areas(algorithm, data, rounds=30, noise=1.0).mean() - 0.5) <= 0.08


def made_up(num=200, dim=6):
    """An upload whose liked rows lie one way, and the truth; the last ten rows are padding."""
    rng = np.random.default_rng(0)
    liked = rng.random(num) < 0.2
    rows = np.outer(2.0 * liked - 1, rng.normal(size=dim)) + 0.5 * rng.normal(size=(num, dim))
    rows[-10:] = 0
    return jnp.asarray(rows, jnp.float32), liked


def test_a_shadow_that_is_right_finds_every_item_and_one_that_is_deaf_none():
    rows, liked = made_up()
    direction = np.asarray(rows)[liked][:-2].mean(axis=0)

    def right(key, labels):
        return (2 * labels[:, None] - 1) * direction

    def deaf(key, labels):
        return jax.random.normal(key, rows.shape)

    def area(train):
        scores = np.asarray(interaction_membership(jax.random.key(3), rows, train))
        assert (scores[-10:] == 0).all()
        return area_under_curve(scores[:-10], liked[:-10])

    assert area(right) >= 0.98
    assert abs(area(deaf) - 0.5) < 0.12


def test_rows_of_padding_are_no_examples():
    rows, _ = made_up()

    def train(key, labels):
        return jnp.where((labels == -1).all(where=jnp.arange(200) >= 190), 1.0, jnp.nan) * rows

    assert np.isfinite(interaction_membership(jax.random.key(0), rows, train)).all()


@pytest.mark.parametrize("wrong", [{"share": 1.0}, {"num_guesses": 0}, {"kept": 1.0}])
def test_numbers_out_of_range_are_refused(wrong):
    rows, _ = made_up()
    with pytest.raises(ValueError, match=next(iter(wrong))):
        interaction_membership(jax.random.key(0), rows, lambda key, labels: rows, **wrong)


def test_a_shadow_takes_the_first_step_of_adam_by_hand(data):
    algorithm = fedmf(data.num_items, dim=4)
    state, _, frozen = build(algorithm).init(jax.random.key(0), data.num_clients)
    ids, labels = np.array([5, 9, 2, data.num_items]), np.array([1.0, 0.0, -1.0, -1.0])
    key = jax.random.key(7)
    change = shadow_upload(
        algorithm,
        state,
        Fixed(frozen, data.clients),
        jnp.asarray(ids),
        "item",
        key,
        jnp.asarray(labels),
        num_steps=1,
        learning_rate=0.1,
    )
    user = np.asarray(algorithm.model.init_private(key).dense)
    items = np.asarray(state.shared.rows["item"])[ids[:2]]
    gradient = (1 / (1 + np.exp(-items @ user)) - labels[:2])[:, None] * user
    np.testing.assert_allclose(change[:2], -0.1 * np.sign(gradient), rtol=1e-4)
    np.testing.assert_array_equal(change[2:], 0)


def test_a_model_that_reads_histories_has_no_shadow(data):
    algorithm = fedncf(
        *recommender(data.num_items, model="sasrec", objective="next_item", dim=8, max_length=10)
    )
    state, _, frozen = build(algorithm).init(jax.random.key(0), data.num_clients)
    ids = jnp.arange(3)
    with pytest.raises(UserError, match="reads histories"):
        shadow_upload(
            algorithm, state, Fixed(frozen, data.clients), ids, "item", jax.random.key(0), ids
        )
