"""The generator: what it promises, and how near it comes to real data."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedjax_rec.data import Interactions, describe, leave_one_out, synthetic
from fedjax_rec.data.sources import read_path
from fedjax_rec.errors import UserError


@pytest.fixture(scope="module")
def like_ml_100k() -> Interactions:
    return synthetic(num_users=943, num_items=1682, mean_events=106.0, seed=0)


@settings(max_examples=40)
@given(
    num_users=st.integers(2, 60),
    num_items=st.integers(4, 80),
    mean=st.floats(0, 1),
    sigma=st.sampled_from([0.0, 1.0, 3.0]),
    seed=st.integers(0, 2**40),
)
def test_any_size_gives_distinct_items_in_order_of_time(
    num_users: int, num_items: int, mean: float, sigma: float, seed: int
) -> None:
    mean_events = 1 + mean * (num_items - 2)
    events = synthetic(num_users, num_items, mean_events, seed, size_sigma=sigma, min_events=1)
    assert (events.num_users, events.num_items) == (num_users, num_items)
    assert np.unique(events.users).size == num_users, "every user has an event"
    assert events.items.min() >= 0
    assert events.items.max() < num_items
    pairs = set(zip(events.users.tolist(), events.items.tolist(), strict=True))
    assert len(pairs) == events.num_events, "items of a user are distinct"
    same = np.diff(events.users) == 0
    assert (np.diff(events.users) >= 0).all()
    assert (np.diff(events.times)[same] >= 0).all()
    assert events.times.max() - events.times.min() <= 216 * 86_400
    assert set(events.values.tolist()) <= {1.0, 2.0, 3.0, 4.0, 5.0}


@pytest.mark.parametrize("mean_events", [6.0, 50.0, 150.0, 280.0])
def test_the_mean_is_the_one_asked_for(mean_events: float) -> None:
    events = synthetic(num_users=400, num_items=300, mean_events=mean_events, seed=2)
    assert events.num_events / 400 == pytest.approx(mean_events, rel=0.02)
    assert np.bincount(events.users).min() >= 5


def test_the_same_seed_gives_the_same_events_and_another_gives_others() -> None:
    first, again, other = (synthetic(50, 80, 12, seed) for seed in (7, 7, 8))
    for field in ("users", "items", "values", "times"):
        np.testing.assert_array_equal(getattr(first, field), getattr(again, field))
    assert first.num_events != other.num_events or (first.items != other.items).any()


def test_item_ids_say_nothing_about_popularity(like_ml_100k: Interactions) -> None:
    counts = np.bincount(like_ml_100k.items, minlength=like_ml_100k.num_items)
    ranks = np.argsort(np.argsort(-counts))
    correlation = np.corrcoef(ranks, np.arange(like_ml_100k.num_items))[0, 1]
    assert abs(correlation) < 4 / np.sqrt(like_ml_100k.num_items)


def test_the_order_within_a_user_says_nothing_about_popularity(
    like_ml_100k: Interactions,
) -> None:
    counts = np.bincount(like_ml_100k.items, minlength=like_ml_100k.num_items)
    is_last = np.append(np.diff(like_ml_100k.users) > 0, True)
    last = counts[like_ml_100k.items[is_last]]
    first = counts[like_ml_100k.items[np.roll(is_last, 1)]]
    error = np.hypot(last.std(), first.std()) / np.sqrt(len(last))
    assert abs(last.mean() - first.mean()) < 4 * error


def test_tastes_let_a_factor_model_beat_popularity_clearly(like_ml_100k: Interactions) -> None:
    with_taste = hit_rates(like_ml_100k)
    assert 0.05 < with_taste["popularity"] < 0.12
    assert with_taste["factors"] > 1.4 * with_taste["popularity"]
    without = hit_rates(synthetic(943, 1682, 106.0, taste_strength=0.0))
    assert without["factors"] < 1.1 * without["popularity"]


def hit_rates(events: Interactions) -> dict[str, float]:
    """HR@10 of item popularity and of a truncated SVD (16 factors), full catalogue."""
    split = leave_one_out(events, validation="none")
    train, target = split.train, split.test.items[:, 0]
    matrix = np.zeros((train.num_users, train.num_items), np.float32)
    matrix[train.users, train.items] = 1
    left = np.random.default_rng(0).standard_normal((train.num_users, 16)).astype(np.float32)
    for _ in range(6):  # subspace iteration towards the leading singular vectors
        left = np.linalg.qr(matrix @ (matrix.T @ left)).Q
    models = {
        "popularity": np.tile(matrix.sum(0), (train.num_users, 1)),
        "factors": left @ (left.T @ matrix),
    }
    found = {}
    for name, scores in models.items():
        scores = np.where(matrix > 0, -np.inf, scores)
        own = scores[np.arange(train.num_users), target]
        found[name] = float(np.mean((scores > own[:, None]).sum(1) < 10))
    return found


def test_ratings_keep_their_proportions_at_any_taste_strength() -> None:
    mean = {
        strength: synthetic(300, 400, 40, taste_strength=strength).values.mean()
        for strength in (0.0, 8.0)
    }
    assert mean[0.0] == pytest.approx(3.5, abs=0.15)
    assert mean[8.0] == pytest.approx(3.5, abs=0.15)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"num_users": 1}, "num_users 1 .at least 2. is out of range"),
        ({"num_items": 3}, "num_items 3"),
        ({"mean_events": 4.0}, "mean_events 4.0 .from min_events, 5,"),
        ({"num_items": 50, "mean_events": 50.0}, "to below num_items, 50. is out of range"),
        ({"mean_events": float("nan")}, "mean_events nan"),
        ({"min_events": 0}, "min_events 0"),
        ({"popularity_exponent": 0.0}, "popularity_exponent 0.0"),
        ({"popularity_shift": 0.0}, "popularity_shift 0.0"),
        ({"size_sigma": -1.0}, "size_sigma -1.0"),
        ({"taste_strength": -1.0}, "taste_strength -1.0"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_arguments_out_of_range_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as caught:
        synthetic(**options)
    assert "\n" not in str(caught.value)


def test_at_the_size_of_ml_100k_it_looks_like_ml_100k(
    like_ml_100k: Interactions, ml_100k_folder: Path
) -> None:
    real, made = describe(read_path(ml_100k_folder, "ml-100k")), describe(like_ml_100k)
    for what, tolerance in {
        "events": 0.01,
        "events_per_user_median": 0.2,
        "events_per_user_max": 0.3,
        "popularity_gini": 0.1,
        "popularity_top_10_percent": 0.1,
        "last_two_tied": 0.25,
        "items_with_events": 0.02,
    }.items():
        assert made[what] == pytest.approx(real[what], rel=tolerance), what
    span = {
        name: found["last_time"] - found["first_time"]
        for name, found in (("real", real), ("made", made))
    }  # type: ignore[operator]
    assert span["made"] == pytest.approx(span["real"], rel=0.05)
