"""Lists of items, and what held-out items are ranked among."""

import itertools

import numpy as np
import pytest

from fedjax_rec.data.candidates import candidate_lists, item_lists, uniform_candidates
from fedjax_rec.data.clients import client_data
from fedjax_rec.data.interactions import from_events
from fedjax_rec.data.splits import leave_one_out
from fedjax_rec.errors import UserError


def test_item_lists_hold_what_each_user_touched_sorted_and_once():
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 20, 300), rng.integers(0, 30, 300)
    users[users == 7] = 8  # one user without events
    held_out = rng.integers(0, 31, (20, 2))  # 30 is padding
    held_out[7] = 30
    offsets, flat = item_lists(users, items, 20, 30, [held_out])
    for user in range(20):
        expected = set(items[users == user]) | (set(held_out[user]) - {30})
        assert flat[offsets[user] : offsets[user + 1]].tolist() == sorted(expected)


def test_item_lists_of_no_events_are_empty():
    nothing = np.zeros(0, int)
    offsets, flat = item_lists(nothing, nothing, 3, 5)
    assert offsets.tolist() == [0, 0, 0, 0]
    assert len(flat) == 0


@pytest.fixture
def touched():
    """40 clients over 50 items; client 0 touched all, client 1 all but 4, client 2 none."""
    rng = np.random.default_rng(1)
    sizes = [50, 46, 0, *rng.integers(1, 45, 37)]
    users = np.repeat(np.arange(40), sizes)
    items = np.concatenate([rng.permutation(50)[:size] for size in sizes])
    return item_lists(users, items, 40, 50)


def test_uniform_candidates_are_targets_and_distinct_untouched_items(touched):
    offsets, items = touched
    targets = np.full((40, 2), 50)
    targets[3:, 0] = items[offsets[3:-1]]
    candidates = uniform_candidates(touched, targets, 50, num_candidates=10, seed=3)
    assert candidates.shape == (40, 12)
    assert candidates.dtype == np.int32
    np.testing.assert_array_equal(candidates[:, :2], targets)
    for user, row in enumerate(candidates[:, 2:]):
        own = set(items[offsets[user] : offsets[user + 1]].tolist())
        drawn = row[row < 50].tolist()
        assert len(drawn) == min(10, 50 - len(own))
        assert len(set(drawn)) == len(drawn)
        assert not own & set(drawn)
        assert (row[len(drawn) :] == 50).all()


def test_a_target_is_no_candidate_twice_even_when_it_is_not_listed():
    nothing = item_lists(np.zeros(0, int), np.zeros(0, int), 500, 4)
    targets = np.full((500, 1), 2)
    candidates = uniform_candidates(nothing, targets, 4, num_candidates=3)
    assert candidates.tolist() == [[2, 0, 1, 3]] * 500


def test_uniform_candidates_follow_their_seed(touched):
    targets = np.full((40, 1), 50)

    def draw(seed):
        return uniform_candidates(touched, targets, 50, 10, seed).tolist()

    assert draw((0, 1)) == draw((0, 1))
    assert draw((0, 1)) != draw((0, 0))


FREE = [0, 1, 3, 4, 8]
"""Untouched items of every client in the tests of uniformity, out of 9; 2 and 5 to 7 are taken."""
NUM_CLIENTS = 20_000


def chi_square_of_pairs(pairs):
    """`(statistic, degrees of freedom)` against equally likely pairs of free items."""
    names = list(itertools.combinations(FREE, 2))
    counts = np.zeros(len(names))
    for pair, count in zip(*np.unique(pairs, axis=0, return_counts=True), strict=True):
        counts[names.index(tuple(pair.tolist()))] = count
    expected = len(pairs) / len(names)
    return ((counts - expected) ** 2 / expected).sum(), len(names) - 1


def test_every_set_of_free_items_is_equally_likely():
    users = np.repeat(np.arange(NUM_CLIENTS), 4)
    lists = item_lists(users, np.tile([2, 5, 6, 7], NUM_CLIENTS), NUM_CLIENTS, 9)
    targets = np.full((NUM_CLIENTS, 1), 5)
    pairs = uniform_candidates(lists, targets, 9, num_candidates=2, seed=4)[:, 1:]
    statistic, freedom = chi_square_of_pairs(pairs)
    assert statistic < freedom + 4 * np.sqrt(2 * freedom)


def test_the_test_of_uniformity_sees_a_sampler_that_moves_on_to_the_next_free_item():
    rng = np.random.default_rng(4)
    pairs = []
    while len(pairs) < NUM_CLIENTS:
        drawn = {min(i for i in [*FREE, 9] if i >= item) for item in rng.integers(0, 9, 2)}
        if len(drawn) == 2:
            pairs.append(sorted(drawn))
    statistic, freedom = chi_square_of_pairs(np.array(pairs))
    assert statistic > freedom + 100 * np.sqrt(2 * freedom)


def test_candidates_of_ten_times_as_many_clients_take_hardly_more_calls(count_calls):
    rng = np.random.default_rng(0)
    calls = []
    for num_clients in (604, 6040):
        users = np.repeat(np.arange(num_clients), 166)
        lists = item_lists(users, rng.integers(0, 3706, len(users)), num_clients, 3706)
        targets = rng.integers(0, 3706, (num_clients, 1))
        calls.append(count_calls(lambda given=(lists, targets): uniform_candidates(*given, 3706)))
    few, many = calls
    assert many < 2 * few


# ------------------------------------------------------------------- of a split


def split_of(num_users=30, num_items=400, events=8, **options):
    """Everybody has the same number of distinct items, in a random order of time."""
    rng = np.random.default_rng(5)
    items = np.concatenate([rng.permutation(num_items)[:events] for _ in range(num_users)])
    users = np.repeat(np.arange(num_users), events)
    times = rng.permutation(len(users)) + 1
    return leave_one_out(
        from_events(users, items, times=times, catalogue=range(num_items)), **options
    )


def test_candidates_of_validation_and_test_are_drawn_apart_and_never_touched():
    split = split_of()
    lists = candidate_lists(split, "uni99", seed=4)
    assert list(lists) == ["valid", "test"]
    shared = []
    for user in range(split.train.num_users):
        touched = set(split.train.items[split.train.users == user])
        touched |= {split.valid.items[user, 0], split.test.items[user, 0]}
        for name, target in (("valid", split.valid), ("test", split.test)):
            first, *others = lists[name][user]
            assert first == target.items[user, 0]
            assert len(set(others)) == 99
            assert not set(others) & touched
        shared.append(len(set(lists["valid"][user][1:]) & set(lists["test"][user][1:])))
    num_free = split.train.num_items - 8
    assert abs(np.mean(shared) - 99 * 99 / num_free) < 3  # as independent draws share


def test_a_split_without_validation_items_has_candidates_for_test_alone():
    assert list(candidate_lists(split_of(validation="none"), "uni99")) == ["test"]


def test_candidates_from_a_file_need_a_file():
    with pytest.raises(UserError, match="come"):
        candidate_lists(split_of(), "file")


def test_each_exclusion_holds_what_it_says():
    split = split_of()
    lists = candidate_lists(split, "uni99", seed=7)
    excluded = {
        name: client_data(split, exclude=name, candidates_seed=7)
        for name in ("train", "heldout", "heldout_and_candidates")
    }
    for user in range(split.train.num_users):
        train = set(split.train.items[split.train.users == user].tolist())
        heldout = train | {int(split.valid.items[user, 0]), int(split.test.items[user, 0])}
        among = set(np.concatenate([lists["valid"][user], lists["test"][user]]).tolist())
        expected = {
            "train": train,
            "heldout": heldout,
            "heldout_and_candidates": heldout | among,
        }
        for name, data in excluded.items():
            begin, end = data.excluded_offsets[user], data.excluded_offsets[user + 1]
            assert data.excluded[begin:end].tolist() == sorted(expected[name])


@pytest.mark.parametrize(("num_items", "is_refused"), [(8, True), (101, True), (102, False)])
def test_fewer_than_99_candidates_are_refused_with_client_and_catalogue(num_items, is_refused):
    """The second client has three items, one held out; the first, with one, is not asked."""
    events = from_events(
        ["ann", "bob", "bob", "bob"], [1, 2, 3, 4], times=[1, 1, 2, 3], catalogue=range(num_items)
    )
    split = leave_one_out(events)
    if not is_refused:
        assert (candidate_lists(split, "uni99")["test"][1] < num_items).all(), "99 and the item"
        return
    with pytest.raises(UserError) as caught:
        candidate_lists(split, "uni99")
    message = str(caught.value)
    assert f"client 'bob' has {num_items - 3} of a catalogue of {num_items}" in message
    assert message.endswith("set evaluate.candidates to full")
    assert "\n" not in message
