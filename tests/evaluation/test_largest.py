"""The largest scores by groups against a sort in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.evaluation.largest import WORTH, largest
from fedjax_rec.evaluation.slices import NUM_SLICES

K = 3
LEAST = WORTH * NUM_SLICES * K
SIZES = [K, 50, LEAST, LEAST + 17, 1000]
NAN, INF = np.nan, np.inf


def sorted_first(scores, k):
    """The places of the k largest, equal ones by place."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("num_items", SIZES)
@pytest.mark.parametrize("num_values", [1, 4, 300, 10**6])
def test_places_are_those_of_a_stable_sort_whatever_the_ties(num_items, num_values):
    rng = np.random.default_rng(num_items + num_values)
    scores = rng.integers(0, num_values, (7, num_items)).astype(np.float32)
    values, places = jax.jit(largest, static_argnums=1)(jnp.array(scores), K)
    assert places.tolist() == sorted_first(scores, K).tolist()
    assert values.tolist() == np.take_along_axis(scores, np.asarray(places), 1).tolist()


@pytest.mark.parametrize("num_left", [0, 1, 2, 5])
@pytest.mark.parametrize("struck", [-INF, NAN, INF])
def test_only_finite_scores_are_found(num_left, struck):
    rng = np.random.default_rng(num_left)
    scores = np.full((5, 1000), struck, np.float32)
    for row in scores:
        row[rng.permutation(1000)[:num_left]] = rng.random(num_left)
    values, places = largest(jnp.array(scores), K)
    real, finite = min(num_left, K), np.where(np.isfinite(scores), scores, -INF)
    assert places[:, :real].tolist() == sorted_first(finite, real).tolist()
    assert np.isneginf(values[:, real:]).all()


@pytest.mark.parametrize(("earlier", "later"), [(5, 38), (7, 36)])
def test_a_tie_between_a_group_taken_and_one_left_out_goes_to_the_earlier_item(earlier, later):
    num_groups = 1000 // NUM_SLICES
    assert len({place % num_groups for place in (900, 932, earlier, later)}) == 4
    scores = np.zeros((1, 1000), np.float32)
    scores[0, [900, later, 932, earlier]] = [3, 1, 2, 1]
    assert largest(jnp.array(scores), K)[1].tolist() == [[900, 932, earlier]]


def test_the_largest_in_the_last_items_that_fill_no_group_are_found():
    scores = np.arange(999, dtype=np.float32)[None]
    assert 999 % NUM_SLICES > 0
    assert largest(jnp.array(scores), K)[1].tolist() == [[998, 997, 996]]
