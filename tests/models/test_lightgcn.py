"""LightGCN on a star, against sums over its edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.base import History, Inputs, Part, Private, View, empty, nothing_private
from fedjax_rec.models import lightgcn, matrix_factorization

NUM_ITEMS, DIM = 7, 3
RNG = np.random.default_rng(0)
TABLE, USER = RNG.normal(size=(NUM_ITEMS, DIM)), RNG.normal(size=DIM)
VIEW = View(
    Part({"item": jnp.asarray(TABLE, jnp.float32)}, ()),
    Private({}, jnp.asarray(USER, jnp.float32)),
    empty(),
    nothing_private(),
    empty(),
)


def history(items):
    padded = jnp.array(items + [NUM_ITEMS] * 2)
    return History(padded, padded, padded, jnp.int32(len(items)), padded, jnp.int32(0))


def score(num_layers, items, ids=None):
    model = lightgcn(NUM_ITEMS, DIM, num_layers)
    return model.score(VIEW, Inputs(ids, history(items)))


def test_one_layer_adds_the_items_to_the_user_and_the_user_to_its_items():
    own = [4, 1, 6]
    user = (USER + TABLE[own].sum(axis=0) / np.sqrt(3)) / 2
    items = TABLE / 2
    items[own] += USER / np.sqrt(3) / 2
    np.testing.assert_allclose(score(1, own), items @ user, rtol=1e-4)
    ids = jnp.array([4, 4, 0])
    np.testing.assert_allclose(score(1, own, ids), (items @ user)[[4, 4, 0]], rtol=1e-4)


def test_two_layers_lead_back_to_the_user_and_to_the_mean_of_its_items():
    own = [4, 1, 6]
    user = (2 * USER + TABLE[own].sum(axis=0) / np.sqrt(3)) / 3
    items = TABLE / 3
    items[own] += (USER / np.sqrt(3) + TABLE[own].mean(axis=0)) / 3
    np.testing.assert_allclose(score(2, own), items @ user, rtol=1e-4)


def test_neither_order_nor_repeats_nor_padding_of_a_history_matter():
    expected = score(3, [4, 1, 6])
    np.testing.assert_allclose(score(3, [6, 1, 4, 1, 1]), expected, rtol=1e-5)


def test_no_layer_is_matrix_factorisation():
    factors = matrix_factorization(NUM_ITEMS, DIM)
    np.testing.assert_array_equal(score(0, [4, 1]), factors.score(VIEW, Inputs(None)))
    key = jax.random.key(3)
    for one, other in zip(
        jax.tree.leaves((lightgcn(7, 3).init(key), lightgcn(7, 3).init_private(key))),
        jax.tree.leaves((factors.init(key), factors.init_private(key))),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_a_client_without_events_has_a_graph_without_edges():
    np.testing.assert_allclose(score(1, []), TABLE @ USER / 4, rtol=1e-4)


def test_a_missing_history_and_layers_below_none_are_refused():
    with pytest.raises(ValueError, match="reads a history"):
        lightgcn(NUM_ITEMS, DIM).score(VIEW, Inputs(None))
    with pytest.raises(ValueError, match="num_layers must be at least 0, got -1"):
        lightgcn(NUM_ITEMS, DIM, -1)
