"""Row support and signs on real uploads of FedMF clients, bare and with local noise."""

import jax
import numpy as np
import pytest

from fedjax_rec.algorithms import fedmf
from fedjax_rec.attacks import area_under_curve, row_support, svd_sign
from fedjax_rec.base import Fixed
from fedjax_rec.data import load
from fedjax_rec.simulation import build, pad_cohort
from fedjax_rec.simulation.uploads import rows_sent, training_items, uploads

DIM = 16
NUM_CLIENTS = 40
LOCAL_NOISE = 1.0
"""Standard deviation of a coordinate over the norm of the upload, on the whole table."""

attack = jax.jit(svd_sign)


def seen_of(data, rounds=0):
    """Uploads of some clients after so many rounds of all."""
    algorithm = fedmf(data.num_items, dim=DIM)
    engine = build(algorithm)
    state, clients, frozen = jax.jit(engine.init, static_argnums=1)(
        jax.random.key(0), data.num_clients
    )
    fixed = Fixed(frozen, data.clients)
    everyone = pad_cohort(np.arange(data.num_clients), data.num_clients)
    step = jax.jit(engine.step)
    for _ in range(rounds):
        state, clients, _ = step(state, clients, everyone, fixed)
    rng = np.random.default_rng(0)
    ids = rng.choice(data.num_clients, min(NUM_CLIENTS, data.num_clients), replace=False)
    seen = jax.jit(lambda *now: uploads(algorithm, *now))(state, clients, fixed, ids)
    return seen, training_items(data.clients, ids)


def tables(data, seen, noise=0.0):
    """The rows that each client touched, and its upload as a whole table."""
    rng = np.random.default_rng(1)
    for place in range(seen.messages.weight.shape[0]):
        rows, change = rows_sent(seen, place, "item", data.num_items)
        table = np.zeros((data.num_items, DIM), np.float32)
        table[rows] = change
        size = np.linalg.norm(table)
        rows = np.sort(rows[np.any(change != 0, axis=1)])
        yield rows, table + np.float32(noise * size) * rng.normal(size=table.shape)


def sign_areas(data, seen, truth, noise=0.0):
    """The attack's area for each client: its items against its sampled negatives."""
    areas = []
    for items, (rows, table) in zip(truth, tables(data, seen, noise), strict=True):
        is_item = np.isin(rows, items)
        if is_item.all():
            continue
        areas.append(area_under_curve(attack(table)[rows], is_item))
    return np.array(areas)


@pytest.fixture(scope="module")
def synthetic():
    data = load("synthetic", num_users=100, num_items=600, mean_events=30.0)
    return data, *seen_of(data)


@pytest.fixture(scope="module")
def ml_100k(data_folder):
    if not (data_folder / "ml-100k").is_dir():
        pytest.skip("needs real data: the folder has no ml-100k")
    data = load("ml-100k", notice=lambda line: None)
    return data, *seen_of(data)


def test_row_support_finds_every_row_of_a_sparse_upload(synthetic):
    data, seen, truth = synthetic
    for items, (rows, table) in zip(truth, tables(data, seen), strict=True):
        found = np.flatnonzero(np.asarray(row_support(table)) > 0)
        assert found.tolist() == rows.tolist()
        assert set(items) <= set(found)
        # four negatives to each, none twice, of those that are left
        assert len(found) == len(items) + min(4 * len(items), data.num_items - len(items))


def test_row_support_says_nothing_where_every_row_has_noise(synthetic):
    data, seen, _ = synthetic
    areas = []
    for rows, table in tables(data, seen, LOCAL_NOISE):
        is_sent = np.isin(np.arange(data.num_items), rows)
        if not is_sent.all():
            areas.append(area_under_curve(row_support(table), is_sent))
    assert abs(np.mean(areas) - 0.5) < 0.04


def test_signs_tell_items_from_sampled_negatives(synthetic):
    areas = sign_areas(*synthetic)
    assert len(areas) > 30
    assert areas.mean() >= 0.99


def test_signs_tell_them_in_a_trained_model_too():
    data = load("synthetic", num_users=100, num_items=600, mean_events=30.0)
    assert sign_areas(data, *seen_of(data, rounds=20)).mean() >= 0.99


def test_signs_are_chance_behind_local_noise(synthetic):
    areas = sign_areas(*synthetic, noise=LOCAL_NOISE)
    assert abs(areas.mean() - 0.5) <= 0.06
    assert areas.min() < 0.5  # the sign is no oracle: it may fall the wrong way


def test_a_little_local_noise_is_no_protection(synthetic):
    assert sign_areas(*synthetic, noise=0.01).mean() > 0.85


def test_signs_on_ml_100k(ml_100k):
    assert sign_areas(*ml_100k).mean() >= 0.99


def test_signs_on_ml_100k_behind_local_noise(ml_100k):
    assert abs(sign_areas(*ml_100k, noise=LOCAL_NOISE).mean() - 0.5) <= 0.06


def test_the_vector_is_that_of_numpy():
    rows = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    rows += 3 * np.outer(np.random.default_rng(1).normal(size=50), np.ones(6))
    expected = rows @ np.linalg.svd(rows)[2][0]
    scores = np.asarray(svd_sign({"first": rows[:, :2], "second": rows[:, 2:].reshape(50, 2, 2)}))
    assert np.abs(scores) == pytest.approx(np.abs(expected), rel=1e-4, abs=1e-4)
    assert (scores > 0).sum() <= (scores < 0).sum()


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0, 1e15])
def test_no_size_of_an_upload_breaks_the_attack(scale):
    rows = scale * np.outer([1.0, -1.0, -2.0], [3.0, 4.0]).astype(np.float32)
    scores = np.asarray(svd_sign(rows.astype(np.float32)))
    assert np.isfinite(scores).all()
    if scale > 1e-15:
        assert scores[0] > 0 > scores[1] > scores[2]
