"""Negatives drawn with replacement: each by itself, and every item still in one row."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from fedjax_rec.base import History
from fedjax_rec.objectives import Sampler, binary_cross_entropy, sampled

NUM_ITEMS, NUM_NEGATIVES = 40, 3
ITEMS = [5, 17, 30, 8, 9]


@cache
def program(is_sliced: bool, with_replacement: bool) -> Any:
    sampler = Sampler(
        NUM_ITEMS,
        NUM_NEGATIVES,
        batch_size=7,
        is_sliced=is_sliced,
        with_replacement=with_replacement,
    )
    objective = sampled(sampler, binary_cross_entropy)

    def whole_round(key: Any, history: History) -> Any:
        rows, plan = objective.prepare(key, history)
        assert objective.batch is not None
        return rows["item"], jax.vmap(objective.batch, (None, 0))(plan, jnp.arange(3))

    return jax.jit(jax.vmap(whole_round, (0, None)))


def draw(num_rounds: int, *, is_sliced: bool = True, with_replacement: bool = True) -> Any:
    """`(rows [R, S] or None, global ids of the negatives [R, 15])` of many rounds."""
    items = jnp.array([*ITEMS, NUM_ITEMS, NUM_ITEMS])
    history = History(items, items, items, jnp.int32(5), jnp.sort(items), jnp.int32(5))
    keys = jax.random.split(jax.random.key(0), num_rounds)
    rows, examples = program(is_sliced, with_replacement)(keys, history)
    ids = np.asarray(examples.inputs.ids).reshape(num_rounds, -1)
    if rows is not None:
        ids = np.take_along_axis(np.asarray(rows), ids, 1)
    is_negative = np.asarray(examples.is_valid & (examples.label == 0)).reshape(num_rounds, -1)
    return rows, np.stack([one[mask] for one, mask in zip(ids, is_negative, strict=True)])


def test_no_row_comes_twice_and_slices_draw_what_the_whole_table_draws() -> None:
    rows, sliced = draw(50)
    for row in np.asarray(rows):
        real = row[row < NUM_ITEMS]
        assert len(set(real)) == len(real)
    nothing, whole = draw(50, is_sliced=False)
    assert nothing is None
    np.testing.assert_array_equal(sliced, whole)
    assert not np.isin(sliced, ITEMS).any()


@pytest.mark.parametrize("with_replacement", [True, False])
def test_as_many_items_are_distinct_as_chance_says(with_replacement: bool) -> None:
    _, negatives = draw(2000, with_replacement=with_replacement)
    num_free, num_drawn = NUM_ITEMS - len(ITEMS), len(ITEMS) * NUM_NEGATIVES
    found = np.mean([len(set(row)) for row in negatives])
    expected = num_free * (1 - (1 - 1 / num_free) ** num_drawn) if with_replacement else num_drawn
    assert found == pytest.approx(expected, abs=0.15)


def test_items_and_pairs_are_independent_and_uniform() -> None:
    _, negatives = draw(4000)
    free = np.setdiff1d(np.arange(NUM_ITEMS), ITEMS)
    counts = np.bincount(negatives.ravel(), minlength=NUM_ITEMS)[free]
    assert stats.chisquare(counts).pvalue > 1e-3
    place = np.searchsorted(free, negatives)
    pairs = np.bincount(place[:, 0] * len(free) + place[:, 1], minlength=len(free) ** 2)
    assert stats.chisquare(pairs).pvalue > 1e-3
