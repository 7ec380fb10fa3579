"""Ranks against a list of candidates that is really put in order."""

import itertools
import math

import jax
import numpy as np
import pytest

from fedjax_rec.evaluation.metrics import METRICS, UNRANKED, at_cutoffs
from fedjax_rec.evaluation.ranking import count_non_finite, ranks

NAN, INF = float("nan"), float("inf")


def ordered_ranks(scores, targets, is_candidate, ties):
    """Puts the candidates in order and reads off the places of the targets."""
    real = [target for target in targets if target < len(scores)]
    competing = {i for i, flag in enumerate(is_candidate) if flag} | set(real)

    def place(item):
        is_target = item in real
        goes_ahead = not is_target if ties == "pessimistic" else is_target
        return -scores[item], not goes_ahead, targets.index(item) if is_target else 0

    order = sorted((item for item in competing if math.isfinite(scores[item])), key=place)
    return [order.index(t) + 1 if t in order else UNRANKED for t in targets]


@pytest.mark.parametrize("ties", ["pessimistic", "optimistic"])
@pytest.mark.parametrize("alphabet", [(0.0, 1.0, 2.0), (0.5, NAN, INF, -INF)])
def test_ranks_equal_an_ordered_list_in_every_small_case(ties, alphabet):
    num_items = 3
    cases = list(
        itertools.product(
            itertools.product(alphabet, repeat=num_items),
            [*itertools.permutations(range(num_items), 2), (1, 3), (3, 0), (3, 3)],
            itertools.product([False, True], repeat=num_items),
        )
    )
    batched = [np.array(column) for column in zip(*cases, strict=True)]
    found = jax.vmap(lambda s, t, c: ranks(s, t, c, ties))(*batched)
    expected = [ordered_ranks(*case, ties) for case in cases]
    assert found.tolist() == expected


def test_ranks_equal_an_ordered_list_with_many_ties_and_targets():
    rng = np.random.default_rng(0)
    for ties in ("pessimistic", "optimistic"):
        for _ in range(20):
            scores = rng.integers(0, 4, 25).astype(float).tolist()
            targets = rng.permutation(25)[:6].tolist()
            is_candidate = rng.random(25) < 0.6
            found = ranks(np.array(scores), np.array(targets), is_candidate, ties)
            assert found.tolist() == ordered_ranks(scores, targets, is_candidate, ties)


def test_a_constant_model_finds_nothing_under_the_default_rule():
    everything = np.ones(100, bool)
    assert ranks(np.zeros(100), np.array([7]), everything).tolist() == [100]
    assert ranks(np.zeros(100), np.array([7]), everything, "optimistic").tolist() == [1]


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("ties", ["pessimistic", "optimistic"])
def test_a_model_without_finite_scores_has_zero_everywhere(value, ties):
    found = ranks(np.full(4, value), np.array([0, 2]), np.ones(4, bool), ties)
    values = at_cutoffs(found, np.array(2), [1, 4, 1000])
    assert len(values) == 3 * len(METRICS)
    assert all(metric.item() == 0 for metric in values.values())


def test_non_finite_scores_go_ahead_of_nothing():
    scores = np.array([NAN, INF, -5.0, -INF])
    assert ranks(scores, np.array([2]), np.ones(4, bool)).tolist() == [1]


def test_items_that_are_no_candidates_are_never_ahead():
    scores = np.array([9.0, 8.0, 7.0, 6.0])
    is_candidate = np.array([False, True, False, False])
    assert ranks(scores, np.array([3]), is_candidate).tolist() == [2]


def test_non_finite_scores_are_counted_among_candidates_only():
    scores = np.array([NAN, INF, 1.0, -INF])
    assert count_non_finite(scores, np.array([True, False, True, True])).item() == 2
