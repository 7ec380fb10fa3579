"""Leave-one-out by time: against a plain-Python oracle, and by its properties."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedjax_rec.data import Interactions, Split, from_events, leave_one_out
from fedjax_rec.data.hashing import hash_events
from fedjax_rec.data.interactions import describe
from fedjax_rec.data.rules import REPEATS
from fedjax_rec.data.sources import read_path
from fedjax_rec.data.splits import shuffle_items
from fedjax_rec.errors import UserError

MASK = 2**64 - 1


def plain_hash(user: str, item: str, seed: int) -> int:
    def mix(state: int) -> int:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
        return state ^ (state >> 31)

    def fnv(text: str) -> int:
        state = 0xCBF29CE484222325
        for byte in text.encode():
            state = ((state ^ byte) * 0x100000001B3) & MASK
        return state

    return mix(mix(mix(seed) ^ fnv(user)) ^ fnv(item))


def plain_split(
    events: Interactions, ties: str, seed: int, num_held: int
) -> tuple[dict[str, list[str]], dict[str, str], dict[str, str]]:
    """Training items, validation and test item of each user, by raw ids."""
    rows: dict[str, list[tuple[Any, ...]]] = {}
    for line in range(events.num_events):
        user = str(events.user_labels[events.users[line]])
        item = str(events.item_labels[events.items[line]])
        breaker = {"file_order": line, "item_id": int(item), "hash": plain_hash(user, item, seed)}
        rows.setdefault(user, []).append((int(events.times[line]), breaker[ties], item))
    train, valid, test = {}, {}, {}
    for user, events_of_user in rows.items():
        items = [item for _, _, item in sorted(events_of_user)]
        held = num_held if len(items) > num_held else 0
        train[user] = items[: len(items) - held]
        if held:
            test[user] = items[-1]
        if held == 2:
            valid[user] = items[-2]
    return train, valid, test


def as_raw(split: Split) -> tuple[dict[str, list[str]], dict[str, str], dict[str, str]]:
    labels = split.train.item_labels
    train = {
        str(user): [str(labels[i]) for i in split.train.items[split.train.users == n]]
        for n, user in enumerate(split.train.user_labels)
    }
    held = [
        {
            str(split.train.user_labels[n]): str(labels[i])
            for n, i in enumerate(part.items[:, 0])
            if i < split.train.num_items
        }
        for part in (split.valid, split.test)
    ]
    return train, held[0], held[1]


@st.composite
def interactions(draw: st.DrawFn) -> Interactions:
    """Few users and times, so that ties and short histories are common; no repeats."""
    pairs = draw(
        st.lists(
            st.tuples(st.integers(0, 5), st.integers(0, 12)), min_size=1, max_size=40, unique=True
        )
    )
    times = draw(st.lists(st.integers(0, 4), min_size=len(pairs), max_size=len(pairs)))
    users, items = zip(*pairs, strict=True)
    return from_events(users, items, times=times)


RULES = list(itertools.product(("second_latest", "none"), ("hash", "file_order", "item_id")))


@pytest.mark.parametrize(("validation", "ties"), RULES)
@given(events=interactions(), seed=st.integers(0, MASK))
def test_the_split_equals_a_plain_python_oracle(
    validation: Any, ties: Any, events: Interactions, seed: int
) -> None:
    split = leave_one_out(events, validation=validation, ties=ties, seed=seed)
    expected = plain_split(events, ties, seed, num_held=2 if validation != "none" else 1)
    assert as_raw(split) == expected
    assert (split.validation, split.ties, split.seed) == (validation, ties, seed)
    assert split.holdout == "leave_one_out"


@pytest.mark.parametrize("validation", ["second_latest", "none"])
@given(events=interactions())
def test_nothing_held_out_is_trained_on_and_nothing_is_lost(
    validation: Any, events: Interactions
) -> None:
    split = leave_one_out(events, validation=validation)
    train = set(zip(split.train.users.tolist(), split.train.items.tolist(), strict=True))
    held = [
        (n, int(i))
        for part in (split.valid, split.test)
        for n, i in enumerate(part.items[:, 0])
        if i < events.num_items
    ]
    assert not train & set(held)
    assert len(train) + len(held) == events.num_events
    assert (np.diff(split.train.users) >= 0).all()
    assert split.valid.items.shape == split.test.items.shape == (events.num_users, 1)
    assert split.test.items.dtype == np.int32


@given(events=interactions(), data=st.data())
def test_the_order_of_the_file_does_not_change_a_hash_split(
    events: Interactions, data: st.DataObject
) -> None:
    order = np.array(data.draw(st.permutations(range(events.num_events))))
    columns = ("users", "items", "values", "times")
    permuted = replace(events, **{name: getattr(events, name)[order] for name in columns})
    assert as_raw(leave_one_out(permuted)) == as_raw(leave_one_out(events))


def test_repeats_in_the_same_second_do_not_depend_on_the_file_either() -> None:
    once = from_events([1] * 4, [5, 5, 6, 7], [3.0, 4.0, 1.0, 1.0], [9, 9, 1, 2])
    again = from_events([1] * 4, [5, 5, 6, 7], [4.0, 3.0, 1.0, 1.0], [9, 9, 1, 2])
    for rule in REPEATS:
        splits = [leave_one_out(one, validation="none", repeats=rule) for one in (once, again)]
        np.testing.assert_array_equal(splits[0].train.values, splits[1].train.values)
        np.testing.assert_array_equal(splits[0].test.values, splits[1].test.values)


@given(
    user=st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1).map("{}u".format),
    item=st.integers(0, 10**12),
    seed=st.integers(0, MASK),
)
def test_the_hash_equals_its_definition(user: str, item: int, seed: int) -> None:
    # A second, longer user makes the labels of unequal length.
    events = from_events([user, user + "xyz"], [item, item])
    found = hash_events(events, seed)
    assert [int(h) for h in found] == [
        plain_hash(user, str(item), seed),
        plain_hash(user + "xyz", str(item), seed),
    ]


def test_the_seed_changes_which_tied_event_is_later() -> None:
    events = from_events([1] * 50, range(50))
    tests = {int(leave_one_out(events, seed=seed).test.items[0, 0]) for seed in range(20)}
    assert len(tests) > 10


def test_a_hash_split_does_not_favour_large_or_small_item_ids() -> None:
    users, items = np.divmod(np.arange(40_000), 20)
    chosen = leave_one_out(from_events(users, items)).test.items[:, 0]
    counts = np.bincount(chosen, minlength=20)
    # 2,000 draws over 20 items: 100 each, standard deviation below 10.
    assert abs(counts - 100).max() < 45


def test_shuffling_items_changes_their_numbers_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 20, 600), rng.integers(0, 80, 600)
    split = leave_one_out(
        from_events(users, items, rng.integers(1, 6, 600), rng.integers(9, size=600))
    )
    titles = tuple(f"title of {label}" for label in split.train.item_labels)
    split = replace(split, train=replace(split.train, item_titles=titles))
    shuffled = shuffle_items(split)
    assert as_raw(shuffled) == as_raw(split)
    assert shuffled.train.item_titles == tuple(
        f"title of {label}" for label in shuffled.train.item_labels
    )
    for name in ("users", "values", "times"):
        np.testing.assert_array_equal(getattr(shuffled.train, name), getattr(split.train, name))
    assert np.mean(shuffled.train.items == split.train.items) < 0.1
    assert {x.items.dtype for x in (shuffled.train, shuffled.valid, shuffled.test)} == {
        split.train.items.dtype
    }
    again = shuffle_items(split)
    np.testing.assert_array_equal(again.train.items, shuffled.train.items)


def test_padding_of_held_out_items_keeps_its_number() -> None:
    split = leave_one_out(from_events([1, 1, 1, 2], [5, 6, 7, 5]))
    shuffled = shuffle_items(split)
    assert split.test.items[1, 0] == shuffled.test.items[1, 0] == 3
    assert shuffled.test.items[0, 0] < 3


def test_new_numbers_carry_no_trace_of_the_old() -> None:
    """Neighbours stay neighbours as rarely as by chance, and large numbers are not kept large."""
    num_items = 2000
    split = leave_one_out(from_events([1] * num_items, range(num_items)))
    labels = shuffle_items(split).train.item_labels.astype(int)
    assert sorted(labels) == list(range(num_items))
    assert np.mean(abs(np.diff(labels)) == 1) < 0.005
    assert abs(np.corrcoef(np.arange(num_items), labels)[0, 1]) < 0.07


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"ties": "hsh"}, "ties 'hsh' is not known .did you mean 'hash'"),
        ({"validation": "latest"}, "validation 'latest' is not known"),
        ({"seed": -1}, "split seed -1 is out of range"),
    ],
)
def test_unknown_rules_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        leave_one_out(from_events([1], [2]), **options)


@pytest.fixture(scope="module")
def ml_100k(ml_100k_folder: Path) -> Interactions:
    return read_path(ml_100k_folder, "ml-100k")


@pytest.mark.parametrize("ties", ["hash", "file_order", "item_id"])
def test_on_ml_100k_the_split_equals_the_oracle(ml_100k: Interactions, ties: Any) -> None:
    split = leave_one_out(ml_100k, ties=ties, seed=3)
    assert as_raw(split) == plain_split(ml_100k, ties, 3, num_held=2)
    assert split.train.num_events == 100_000 - 2 * 943


def test_on_ml_100k_the_last_two_events_tie_for_415_of_943_users(ml_100k: Interactions) -> None:
    assert describe(ml_100k)["last_two_tied"] == 415 / 943


@pytest.mark.parametrize(
    ("ties", "low", "high"),
    [("file_order", 0.081, 0.091), ("hash", 0.07, 0.09), ("item_id", 0.045, 0.055)],
)
def test_on_ml_100k_popularity_depends_on_the_tie_rule_as_measured(
    ml_100k: Interactions, ties: Any, low: float, high: float
) -> None:
    split = leave_one_out(ml_100k, validation="none", ties=ties)
    train, target = split.train, split.test.items[:, 0]
    counts = np.bincount(train.items, minlength=train.num_items).astype(float)
    scores = np.tile(counts, (train.num_users, 1))
    scores[train.users, train.items] = -1
    own = scores[np.arange(train.num_users), target]
    hit_rate = np.mean((scores > own[:, None]).sum(1) < 10)
    assert low <= hit_rate <= high
