"""Coverage and popularity bias against loops."""

import math

import numpy as np
import pytest

from fedjax_rec.evaluation.beyond import (
    consumption,
    coverage,
    gini_of_exposure,
    list_metrics,
    popularity_bias,
)
from fedjax_rec.evaluation.fairness import gini

RNG = np.random.default_rng(0)
NUM_CLIENTS, NUM_ITEMS = 8, 15
LISTS = np.array([RNG.permutation(NUM_ITEMS)[:4] for _ in range(NUM_CLIENTS)])
LISTS[2, 1:] = NUM_ITEMS  # a short list
LISTS[5] = NUM_ITEMS  # none at all
USERS = RNG.integers(0, NUM_CLIENTS - 1, 60)  # the last has no history
ITEMS = np.minimum(RNG.geometric(0.25, 60), NUM_ITEMS - 1)  # with repeats


def test_coverage_counts_what_anybody_is_shown():
    shown = {item for row in LISTS.tolist() for item in row if item < NUM_ITEMS}
    assert coverage(LISTS, NUM_ITEMS) == len(shown) / NUM_ITEMS


def test_exposure_is_even_or_all_on_one():
    assert gini_of_exposure(np.arange(6).reshape(3, 2), 6) == 0
    assert gini_of_exposure(np.zeros((5, 1), int), 10) == pytest.approx(0.9)
    counts = np.bincount(LISTS[LISTS < NUM_ITEMS], minlength=NUM_ITEMS)
    assert gini_of_exposure(LISTS, NUM_ITEMS) == pytest.approx(gini(counts))


def test_popularity_bias_is_the_mean_over_clients_of_mean_popularity():
    held = [set(ITEMS[user == USERS].tolist()) for user in range(NUM_CLIENTS)]
    popularity = [sum(item in own for own in held) / NUM_CLIENTS for item in range(NUM_ITEMS)]

    def mean(lists):
        return np.mean([np.mean([popularity[i] for i in own]) for own in lists if own])

    shown = [[item for item in row if item < NUM_ITEMS] for row in LISTS.tolist()]
    consumed = consumption(USERS, ITEMS, NUM_CLIENTS, NUM_ITEMS)
    assert consumed.share.tolist() == popularity
    assert consumed.mean == pytest.approx(mean([list(own) for own in held]))
    bias = popularity_bias(LISTS, consumed)
    assert bias.recommended == pytest.approx(mean(shown))
    assert bias.lift == pytest.approx(bias.recommended / consumed.mean - 1)


def test_recommending_the_histories_has_no_lift():
    lists = np.array([[0, 1], [1, 2], [1, 0]])
    bias = popularity_bias(lists, consumption(np.repeat(np.arange(3), 2), lists.ravel(), 3, 3))
    assert bias.lift == pytest.approx(0)


def test_a_cutoff_looks_at_the_heads_of_the_lists():
    consumed = consumption(USERS, ITEMS, NUM_CLIENTS, NUM_ITEMS)
    found = list_metrics(LISTS, consumed, (1, 3, 9))
    for k in (1, 3, 9):
        heads = LISTS[:, :k]
        bias = popularity_bias(heads, consumed)
        assert found[f"coverage@{k}"] == coverage(heads, NUM_ITEMS)
        assert found[f"exposure_gini@{k}"] == gini_of_exposure(heads, NUM_ITEMS)
        assert (found[f"popularity@{k}"], found[f"popularity_lift@{k}"]) == bias
    assert found["coverage@1"] < found["coverage@3"] < found["coverage@9"]


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (4, 2)])
def test_empty_lists_show_nothing(shape):
    lists = np.full(shape, NUM_ITEMS)
    assert coverage(lists, NUM_ITEMS) == 0
    assert math.isnan(gini_of_exposure(lists, NUM_ITEMS))
    nobody = np.array([], int)
    consumed = consumption(nobody, nobody, NUM_CLIENTS, NUM_ITEMS)
    assert math.isnan(consumed.mean)
    assert all(map(math.isnan, popularity_bias(lists, consumed)))
