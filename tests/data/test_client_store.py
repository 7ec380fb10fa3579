"""The store of histories on the device: against a plain-Python oracle, client by client."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedjax_rec.data import Interactions, client_data, from_events, leave_one_out, synthetic
from fedjax_rec.data.sources import read_path
from fedjax_rec.errors import UserError


def assert_store_equals_oracle(events: Interactions, exclude: Any, check: list[int]) -> None:
    split = leave_one_out(events, repeats="keep")
    data = client_data(split, exclude=exclude)
    train, num_items = split.train, events.num_items
    counts = [int((train.users == n).sum()) for n in range(events.num_users)]
    first = min((int(t) for t in train.times if t), default=0)

    assert data.num_clients == events.num_users
    assert data.num_items == num_items
    by_rank = sorted(range(events.num_users), key=lambda n: (-counts[n], n))
    assert np.asarray(data.rank)[by_rank].tolist() == list(range(events.num_users))
    assert_classes(data.classes, [counts[n] for n in by_rank])
    assert int(data.first) == 0

    for n in check:
        mine = train.users == n
        held = [int(part.items[n, 0]) for part in (split.valid, split.test)]
        excluded = set(train.items[mine].tolist())
        if exclude == "heldout":
            excluded |= {item for item in held if item < num_items}
        rank = int(data.rank[n])
        length = next(c for c in data.classes if c.start <= rank < c.stop)
        history = data.history(n, length)
        padding = length.num_events - counts[n]
        times = [int(t) - first if t else 0 for t in train.times[mine]]
        assert history.items.tolist() == [*train.items[mine].tolist(), *[num_items] * padding]
        assert history.values.tolist() == [*train.values[mine].tolist(), *[0.0] * padding]
        assert history.times.tolist() == [*times, *[0] * padding]
        assert int(history.num_events) == counts[n]
        fill = length.num_excluded - len(excluded)
        assert history.excluded.tolist() == [*sorted(excluded), *[num_items] * fill]
        assert int(history.num_excluded) == len(excluded)
        is_distinct = len(set(train.items[mine].tolist())) == counts[n]
        assert bool(data.is_distinct[n]) == is_distinct
        assert is_distinct or not length.is_distinct


def assert_classes(classes: Any, falling_counts: list[int]) -> None:
    """Ranges between powers of two, from 32, each as long as its longest client."""
    assert classes[0].start == 0
    assert classes[-1].stop == len(falling_counts)
    assert all(left.stop == right.start for left, right in itertools.pairwise(classes))
    powers = []
    for length in classes:
        counts = falling_counts[length.start : length.stop]
        assert length.num_events == max(*counts, 1)
        powers += [{max(math.ceil(math.log2(max(count, 1))), 5) for count in counts}]
    assert all(len(power) == 1 for power in powers)
    assert len(set.union(*powers)) == len(classes), "two classes between the same powers"


@pytest.mark.parametrize("exclude", ["train", "heldout"])
def test_every_history_of_a_small_data_set_equals_the_oracle(exclude: Any) -> None:
    events = synthetic(num_users=40, num_items=300, mean_events=40, size_sigma=1.5, seed=4)
    assert_store_equals_oracle(events, exclude, list(range(40)))


@pytest.mark.parametrize("exclude", ["train", "heldout"])
@settings(max_examples=25)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=12
    )
)
def test_short_histories_repeats_and_unknown_times_are_kept(
    exclude: Any, rows: list[tuple[int, int, int]]
) -> None:
    users, items, times = zip(*rows, strict=True)
    events = from_events((*users, 4), (*items, 7), times=(*times, 0))  # two items at least
    assert_store_equals_oracle(events, exclude, list(range(events.num_users)))


def test_a_class_is_distinct_where_no_client_of_it_meets_an_item_twice() -> None:
    counts = [70, 69, 40, 3, 2]  # classes of two, one and two clients
    users = np.repeat(np.arange(5), np.array(counts) + 2)
    items = np.concatenate([np.arange(count + 2) for count in counts])
    for repeats, expected in ((1, [False, True, True]), (4, [True, True, False])):
        again = items.copy()
        again[np.flatnonzero(users == repeats)[:2]] = 1
        times = np.arange(len(users))
        events = from_events(users, again, times=times)
        data = client_data(leave_one_out(events, repeats="keep"))
        assert [length.is_distinct for length in data.classes] == expected
        assert np.asarray(data.is_distinct).tolist() == [n != repeats for n in range(5)]
    data = client_data(leave_one_out(from_events(users, items, times=times)), exclude="heldout")
    assert [length.num_excluded for length in data.classes] == [72, 42, 5]


@pytest.mark.parametrize("counts", [[32, 33, 64, 65, 1], [32], [128, 128, 129]])
def test_class_bounds_are_powers_of_two(counts: list[int]) -> None:
    users = np.repeat(np.arange(len(counts)), np.array(counts) + 2)
    items = np.concatenate([np.arange(count + 2) for count in counts])
    data = client_data(leave_one_out(from_events(users, items)))
    assert_classes(data.classes, sorted(counts, reverse=True))


def test_arrays_are_32_bit_on_the_device() -> None:
    data = client_data(leave_one_out(synthetic(20, 50, 8)))
    integers = (data.items, data.times, data.offsets, data.excluded, data.excluded_offsets)
    assert {str(array.dtype) for array in (*integers, data.rank)} == {"int32"}
    assert str(data.values.dtype) == "float32"


def test_an_unknown_exclusion_is_refused() -> None:
    with pytest.raises(UserError, match="'held_out' is not known"):
        client_data(leave_one_out(synthetic(20, 50, 8)), exclude="held_out")  # type: ignore[arg-type]


@pytest.mark.parametrize("exclude", ["train", "heldout"])
def test_histories_of_ml_100k_equal_the_oracle(ml_100k_folder: Path, exclude: Any) -> None:
    events = read_path(ml_100k_folder, "ml-100k")
    assert_store_equals_oracle(events, exclude, [*range(0, 943, 100), 404, 942])
