"""Events: dense ids, checks, statistics."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedjax_rec.data import describe, from_events
from fedjax_rec.errors import UserError


@given(st.lists(st.tuples(st.integers(0, 300), st.text("ab1é", min_size=1)), min_size=1))
def test_labels_and_dense_ids_give_back_the_raw_ids(events: list[tuple[int, str]]) -> None:
    users, items = zip(*events, strict=True)
    made = from_events(users, items)
    assert made.user_labels[made.users].tolist() == [str(user) for user in users]
    assert made.item_labels[made.items].tolist() == list(items)
    assert [int(label) for label in made.user_labels] == sorted(set(users))


def test_what_is_no_column_is_refused() -> None:
    with pytest.raises(UserError, match="user ids must be text or whole numbers"):
        from_events(1, 2)


def test_columns_have_the_promised_types() -> None:
    made = from_events(np.array([3, 1]), [b"x", b"y"], [4, 5], [2.9, 7])
    kinds = [made.users.dtype, made.items.dtype, made.values.dtype, made.times.dtype]
    assert kinds == [np.int32, np.int32, np.float32, np.int64]
    assert made.times.tolist() == [2, 7]


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        (([], []), "custom: no events"),
        (([1], [2, 3]), "unequal lengths"),
        (([1, 2], [2, 3], [1.0]), "unequal lengths"),
        (([1, 2], [2, 3], [1.0, float("nan")]), "event 2: value nan is not a finite number"),
        (([1], [2], [float("inf")]), "event 1: value inf"),
        (([1], [2], [1.0], [float("nan")]), "event 1: time nan"),
        (([1], [2], [1e39]), "event 1: value 1e.39"),
        (([1], [2], [1.0], [1e30]), "event 1: time 1e.30"),
        (([1, 1], [2, 3], None, [1, 3e9]), "more than 68 years apart"),
    ],
)
def test_bad_columns_are_refused(columns: tuple[list[float], ...], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        from_events(*columns)


def test_statistics_of_a_small_example() -> None:
    events = from_events([1, 1, 1, 2, 2, 3], [8, 9, 8, 8, 9, 7], times=[0, 5, 5, 9, 10, 11])
    found = describe(events)
    assert found["users"] == 3
    assert found["items"] == 3
    assert found["events"] == 6
    assert found["density"] == pytest.approx(6 / 9)
    assert [found[f"events_per_user_{what}"] for what in ("min", "median", "mean", "max")] == [
        1,
        2,
        2,
        3,
    ]
    assert found["last_two_tied"] == pytest.approx(1 / 3)
    assert found["repeated_events"] == 1
    assert (found["first_time"], found["last_time"]) == (5, 11)
    # Counts 1, 2, 3: the mean absolute difference over twice the mean.
    differences = np.abs(np.subtract.outer([1, 2, 3], [1, 2, 3])).mean()
    assert found["popularity_gini"] == pytest.approx(differences / (2 * 2))
    assert found["popularity_top_10_percent"] == pytest.approx(3 / 6)


def test_the_catalogue_may_hold_items_without_events() -> None:
    events = from_events([1, 1], [5, 7], catalogue=[6, 7, 10], titles={"10": "Ten"})
    assert events.item_labels.tolist() == ["5", "6", "7", "10"]
    assert events.items.tolist() == [0, 2]
    assert events.item_titles == ("5", "6", "7", "Ten")
    assert describe(events)["items_with_events"] == 2
