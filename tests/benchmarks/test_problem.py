"""What every peer reads: its examples, and the quality that all are judged by."""

from dataclasses import replace

import numpy as np
import pytest

import fedjax_rec
from benchmarks import quality
from benchmarks.problem import Problem, Settings, load


@pytest.fixture
def problem():
    """Three clients, twelve items; the last client holds nothing out."""
    rng = np.random.default_rng(0)
    return Problem(
        Settings("W1", "made by hand", clients=2, dim=4, batch_size=8),
        np.array([0, 3, 4, 6]),
        np.array([1, 5, 11, 0, 2, 3]),
        np.array([2, 7, -1]),
        rng.standard_normal((3, 4)).astype(np.float32),
        rng.standard_normal((12, 4)).astype(np.float32),
        {"bias0": np.ones(2, np.float32)},
    )


def test_a_saved_problem_is_read_back_whole(problem, tmp_path):
    problem.save(tmp_path / "problem.npz")

    again = load(tmp_path / "problem.npz")

    assert again.settings == problem.settings
    for name in ("offsets", "items", "test", "users_start", "items_start"):
        np.testing.assert_array_equal(getattr(again, name), getattr(problem, name))
    assert again.extra["bias0"].tolist() == [1, 1]


def test_an_epoch_holds_each_positive_once_and_negatives_outside_them(problem):
    rng = np.random.default_rng(1)
    counts = np.zeros(12)
    for _ in range(2000):
        items, labels = problem.epoch(rng, 0)
        assert sorted(items[labels == 1]) == [1, 5, 11]
        assert len(items) == 15
        assert len(set(items[labels == 0])) == 9  # all there are, then some again
        np.add.at(counts, items[labels == 0], 1)

    assert counts[[1, 5, 11]].sum() == 0
    free = np.delete(counts, [1, 5, 11])  # uniform: 2000 x 12 draws over 9 items
    assert np.all(np.abs(free / free.sum() - 1 / 9) < 0.01)


def test_no_negative_comes_twice_while_others_are_left(problem):
    for seed in range(20):
        items, _ = problem.epoch(np.random.default_rng(seed), 1)
        assert len(set(items)) == 5


def test_examples_are_shuffled(problem):
    first = [problem.epoch(np.random.default_rng(seed), 0)[1][0] for seed in range(200)]
    assert 0.1 < np.mean(first) < 0.3  # a fifth of them are positives


def test_grouped_examples_are_each_positive_and_its_negatives(problem):
    grouped = replace(problem, settings=replace(problem.settings, order="grouped"))
    firsts = set()
    for seed in range(50):
        items, labels = grouped.epoch(np.random.default_rng(seed), 0)
        assert labels.tolist() == [1, 0, 0, 0, 0] * 3
        assert sorted(items[labels == 1]) == [1, 5, 11]
        assert not {1, 5, 11} & set(items[labels == 0])
        firsts.add(items[0])
    assert firsts == {1, 5, 11}


def test_batches_cut_every_epoch_anew(problem):
    batches = list(problem.batches(np.random.default_rng(0), 0))
    assert [len(items) for items, _ in batches] == [8, 7]


def test_everybody_gets_the_same_cohorts(problem):
    sampler = fedjax_rec.Uniform(3, 2)
    for round in range(20):
        assert sorted(sampler.draw(0, round)) == problem.cohort(round).tolist()
    assert problem.cohort(3).tolist() == problem.cohort(3).tolist()
    assert {tuple(problem.cohort(round)) for round in range(50)} == {(0, 1), (0, 2), (1, 2)}


def test_candidates_are_items_a_client_never_touched():
    offsets, items = np.array([0, 2, 4]), np.array([3, 50, 7, 8])
    start = np.zeros((150, 2), np.float32)
    problem = Problem(Settings("W1", "", 2, 2), offsets, items, np.array([9, 10]), start[:2], start)

    drawn = quality.candidates(problem)

    assert [len(set(row)) for row in drawn.tolist()] == [99, 99]
    assert not {3, 50, 9} & set(drawn[0])
    assert not {7, 8, 10} & set(drawn[1])


@pytest.fixture
def ranked():
    """150 items of one dimension; one client per place of the held-out item, 0 to 19."""
    places = np.arange(20)
    start = np.zeros((150, 1), np.float32)
    return Problem(
        Settings("W1", "", 20, 1),
        np.arange(21),
        np.full(20, 149),
        places,
        np.ones((20, 1), np.float32),
        start,
    )


def test_quality_equals_a_plain_loop(ranked):
    rng = np.random.default_rng(3)
    users = np.ones((20, 1), np.float32)
    items = rng.standard_normal((150, 1)).astype(np.float32)
    hits, gains = [], []
    for client, row in enumerate(quality.candidates(ranked)):
        place = sum(items[item, 0] >= items[ranked.test[client], 0] for item in row)
        hits.append(place < 10)
        gains.append(1 / np.log2(place + 2) if place < 10 else 0)

    measured = quality.measure(ranked, {"users": users, "items": items})

    assert 0 < np.mean(hits) < 1
    assert measured == pytest.approx((np.mean(hits), np.mean(gains)))


@pytest.mark.parametrize("score", [0.0, np.nan, np.inf])
def test_equal_and_broken_scores_are_no_hits(ranked, score):
    items = np.full((150, 1), score, np.float32)
    assert quality.measure(ranked, {"users": np.ones((20, 1)), "items": items}) == (0, 0)


def test_candidates_are_drawn_from_the_items_that_a_client_has_not_touched():
    rng = np.random.default_rng(0)
    own = [np.sort(rng.choice(300, size, replace=False)) for size in (1, 40, 150)]
    problem = Problem(
        Settings("W1", "made by hand", clients=3, dim=1),
        np.append(0, np.cumsum([len(items) for items in own])),
        np.concatenate(own),
        np.array([5, -1, own[2][0]]),
        np.zeros((3, 1), np.float32),
        np.zeros((300, 1), np.float32),
    )
    draws = np.random.default_rng(quality.CANDIDATES_SEED)
    for items, held, drawn in zip(own, (5, 0, own[2][0]), quality.candidates(problem), strict=True):
        free = [item for item in range(300) if item not in {*items.tolist(), int(held)}]
        assert drawn.tolist() == draws.choice(free, 99, replace=False).tolist()
