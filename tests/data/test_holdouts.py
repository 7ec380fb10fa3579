"""Hold-outs by hash, time, share and file: against plain oracles, and by their properties."""

from collections import defaultdict
from dataclasses import replace
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedjax_rec.config.schema import DataConfig, SplitConfig
from fedjax_rec.data import Interactions, Split, client_data, from_events, hold_out, load
from fedjax_rec.data.hashing import hash_events, hash_users, mix
from fedjax_rec.data.interactions import FileSplit
from fedjax_rec.data.rules import (
    BY_EVENT,
    HOLDOUTS,
    OF_RECORDS,
    REPEATS,
    TIES,
    VALIDATIONS,
    VALIDATIONS_OF,
    WITH_SHARE,
)
from fedjax_rec.data.splits import shuffle_items
from fedjax_rec.errors import UserError
from fedjax_rec.evaluation.protocols import Protocol

COMBINATIONS = [
    (h, v) for h, validations in VALIDATIONS_OF.items() for v in validations if h not in OF_RECORDS
]


@st.composite
def interactions(draw: st.DrawFn, repeats: bool = False) -> Interactions:
    """Few users and times, all known, and a hold-out by file; repeats of items where asked for."""
    pairs = draw(
        st.lists(
            st.tuples(st.integers(0, 5), st.integers(0, 5 if repeats else 12)),
            min_size=2,
            max_size=50,
            unique=not repeats,
        )
    )
    size = len(pairs)
    times = draw(st.lists(st.integers(1, 9), min_size=size, max_size=size))
    is_test = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    users, items = zip(*pairs, strict=True)
    events = from_events(users, items, times=times)
    is_valid = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    split = FileSplit(np.array(is_test), is_valid=np.array(is_valid) & ~np.array(is_test))
    return replace(events, file_split=split)


def held_pairs(split: Split, name: str) -> set[tuple[int, int]]:
    table = getattr(split, name).items
    return {(n, int(i)) for n, row in enumerate(table) for i in row if i < split.train.num_items}


def train_pairs(split: Split) -> list[tuple[int, int]]:
    return list(zip(split.train.users.tolist(), split.train.items.tolist(), strict=True))


def try_split(events: Interactions, *rules: Any, **options: Any) -> Split | None:
    """The split, or `None` where so few events leave none to train on."""
    try:
        return hold_out(events, rules[0], validation=rules[1], **options)
    except UserError as error:
        if "leaves no event to train" in str(error):
            return None
        raise


def test_the_rules_are_named_alike_everywhere() -> None:
    schema, protocol = get_type_hints(SplitConfig), get_type_hints(Protocol)
    assert get_args(schema["holdout"]) == get_args(protocol["holdout"]) == HOLDOUTS
    assert get_args(schema["validation"]) == get_args(protocol["validation"]) == VALIDATIONS
    assert get_args(schema["ties"]) == get_args(protocol["time_ties"]) == TIES
    assert (
        get_args(get_type_hints(DataConfig)["repeats"])
        == get_args(get_args(protocol["repeats"])[0])
        == REPEATS
    )


@pytest.mark.parametrize(("holdout", "validation"), COMBINATIONS)
@given(events=interactions(), seed=st.integers(0, 2**64 - 1), share=st.floats(0.01, 0.49))
def test_every_rule_parts_the_events_and_says_its_name(
    holdout: Any, validation: Any, events: Interactions, seed: int, share: float
) -> None:
    split = try_split(events, holdout, validation, seed=seed, share=share)
    if split is None:
        return
    train, valid, test = train_pairs(split), held_pairs(split, "valid"), held_pairs(split, "test")
    assert len(train) == len(set(train))
    assert not valid & test
    assert not (valid | test) & set(train)
    every = set(zip(events.users.tolist(), events.items.tolist(), strict=True))
    lost = every - set(train) - valid - test
    trained = {n for n, _ in train}
    assert {n for n, _ in valid | test} <= trained
    if holdout in BY_EVENT:
        assert not {n for n, _ in lost} & trained, "only a client without training events loses any"
    else:
        assert not lost
    assert (validation != "none") or not valid
    assert (split.holdout, split.validation, split.seed) == (holdout, validation, seed)
    assert split.share == (share if holdout in WITH_SHARE else None)
    assert (split.held_users is not None) == (holdout == "users")
    assert (split.held_items is not None) == (holdout == "items")
    assert (np.diff(split.train.users) >= 0).all()
    for n in trained:
        assert (np.diff(split.train.times[split.train.users == n]) >= 0).all(), "oldest first"


@pytest.mark.parametrize(("holdout", "validation"), COMBINATIONS)
@given(events=interactions(repeats=True), seed=st.integers(0, 9))
def test_repeats_are_held_out_once_and_by_hash_all_together(
    holdout: Any, validation: Any, events: Interactions, seed: int
) -> None:
    split = try_split(events, holdout, validation, seed=seed, share=0.4, repeats="keep")
    if split is None:
        return
    for part in (split.valid, split.test):
        for row in part.items:
            known = row[row < events.num_items]
            assert len(set(known.tolist())) == len(known)
    if holdout in ("leave_one_out_hash", "ratio", "users", "items"):
        held = held_pairs(split, "valid") | held_pairs(split, "test")
        assert not held & set(train_pairs(split))


@pytest.mark.parametrize("validation", ["hash", "none"])
@given(events=interactions(), seed=st.integers(0, 2**64 - 1))
def test_leave_one_out_by_hash_equals_a_plain_oracle(
    validation: Any, events: Interactions, seed: int
) -> None:
    split = hold_out(events, "leave_one_out_hash", validation=validation, seed=seed)
    first, second = hash_events(events, seed), mix(hash_events(events, seed))
    expected_test, expected_valid = set(), set()
    for n in range(events.num_users):
        mine = [e for e in range(events.num_events) if events.users[e] == n]
        if len(mine) <= (1 if validation == "none" else 2):
            continue
        test = max(mine, key=lambda e: int(first[e]))
        expected_test.add((n, int(events.items[test])))
        if validation == "hash":
            valid = max((e for e in mine if e != test), key=lambda e: int(second[e]))
            expected_valid.add((n, int(events.items[valid])))
    assert held_pairs(split, "test") == expected_test
    assert held_pairs(split, "valid") == expected_valid


@given(events=interactions(), share=st.floats(0.05, 0.45))
def test_a_temporal_split_trains_on_nothing_later_than_what_it_holds_out(
    events: Interactions, share: float
) -> None:
    split = try_split(events, "temporal", "temporal", share=share)
    if split is None:
        return
    time = {
        (int(u), int(i)): int(t)
        for u, i, t in zip(events.users, events.items, events.times, strict=True)
    }
    parts = [train_pairs(split), held_pairs(split, "valid"), held_pairs(split, "test")]
    times = [[time[pair] for pair in part] for part in parts]
    for i, earlier in enumerate(times):
        for later in times[i + 1 :]:
            assert not earlier or not later or max(earlier) < min(later)
    # The cut is the time of the first of the latest share of events.
    num_held = max(1, int(share * events.num_events + 1e-9))
    cut = sorted(events.times.tolist())[-num_held]
    trained = {n for n, _ in parts[0]}
    assert held_pairs(split, "test") == {p for p, t in time.items() if t >= cut and p[0] in trained}


@given(events=interactions(), share=st.floats(0.05, 0.45), seed=st.integers(0, 99))
def test_a_ratio_split_takes_the_share_of_each_client_with_the_largest_hashes(
    events: Interactions, share: float, seed: int
) -> None:
    split = hold_out(events, "ratio", validation="none", share=share, seed=seed)
    hashes = hash_events(events, seed)
    expected = set()
    per_client = defaultdict(list)
    for e in range(events.num_events):
        per_client[int(events.users[e])].append(e)
    for n, mine in per_client.items():
        num = max(1, int(share * len(mine) + 1e-9)) if len(mine) > 1 else 0
        ranked = sorted(mine, key=lambda e: -int(hashes[e]))
        expected |= {(n, int(events.items[e])) for e in ranked[:num]}
    assert held_pairs(split, "test") == expected


@pytest.mark.parametrize("validation", ["users", "none"])
@given(events=interactions(), share=st.floats(0.05, 0.45), seed=st.integers(0, 99))
def test_users_are_held_out_whole_and_asked_for_half_of_their_events(
    validation: Any, events: Interactions, share: float, seed: int
) -> None:
    split = try_split(events, "users", validation, share=share, seed=seed)
    if split is None:
        return
    of_users, of_events = hash_users(events, seed), hash_events(events, seed)
    ranked = sorted(range(events.num_users), key=lambda n: -int(of_users[n]))
    num_held = max(1, int(share * events.num_users + 1e-9))
    held = {"test": ranked[:num_held], "valid": []}
    if validation == "users":
        held["valid"] = ranked[num_held : 2 * num_held]
    assert split.held_users is not None
    assert set(np.flatnonzero(split.held_users)) == {n for part in held.values() for n in part}
    for name, users in held.items():
        expected = set()
        for n in users:
            mine = [e for e in range(events.num_events) if events.users[e] == n]
            asked = sorted(mine, key=lambda e: -int(of_events[e]))[: len(mine) // 2]
            expected |= {(n, int(events.items[e])) for e in asked}
        assert held_pairs(split, name) == expected


@given(events=interactions(repeats=True), most=st.integers(1, 12), seed=st.integers(0, 9))
def test_as_many_events_of_each_user_are_used_as_asked_for(
    events: Interactions, most: int, seed: int
) -> None:
    options: Any = {"validation": "none", "share": 0.4, "seed": seed, "repeats": "keep"}
    split = hold_out(events, "ratio", **options, max_events=most)
    assert split.max_events == most
    sizes = np.bincount(events.users, minlength=events.num_users)
    used = train_pairs(split) + sorted(held_pairs(split, "test"))
    for n, size in enumerate(sizes):
        mine = [pair for pair in used if pair[0] == n]
        assert len(mine) <= min(size, most)  # repeats are held out as one pair
        assert {pair[0] for pair in mine} <= {n}
    every = set(zip(events.users.tolist(), events.items.tolist(), strict=True))
    assert set(used) <= every
    whole = hold_out(events, "ratio", **options, max_events=int(sizes.max()))
    assert train_pairs(whole) == train_pairs(hold_out(events, "ratio", **options))


def test_which_events_are_used_says_nothing_of_which_are_held_out() -> None:
    users, items = np.divmod(np.arange(40 * 500), 40)
    events = from_events(users, items)
    rank = np.argsort(np.argsort(hash_events(events, 0).reshape(500, 40), axis=1), axis=1)
    used = hold_out(events, "ratio", validation="none", share=0.5 - 1e-6, max_events=20)
    pairs = np.array(train_pairs(used) + sorted(held_pairs(used, "test")))
    assert len(pairs) == 500 * 20
    assert abs(rank[pairs[:, 0], pairs[:, 1]].mean() - 19.5) < 0.5


@pytest.mark.parametrize("holdout", ["leave_one_out_hash", "ratio"])
def test_choices_by_hash_depend_neither_on_the_lines_nor_on_chance(holdout: Any) -> None:
    rng = np.random.default_rng(0)
    pairs = rng.permutation(20 * 40)[:400]
    users, items = np.divmod(pairs, 40)
    order = rng.permutation(400)
    once = hold_out(from_events(users, items), holdout, validation="hash")
    again = hold_out(from_events(users[order], items[order]), holdout, validation="hash")
    other = hold_out(from_events(users, items), holdout, validation="hash", seed=1)
    for name in ("valid", "test"):
        assert held_pairs(once, name) == held_pairs(again, name) != held_pairs(other, name)


def test_the_validation_hash_is_another_than_the_tests() -> None:
    """The second-largest test hash would be the validation item in one of 19 cases, not in all."""
    users, items = np.divmod(np.arange(20 * 2000), 20)
    events = from_events(users, items)
    split = hold_out(events, "leave_one_out_hash", validation="hash")
    hashes = hash_events(events, 0).reshape(2000, 20)
    second = np.argsort(hashes, axis=1)[:, -2]
    share = np.mean(split.valid.items[:, 0] == second)
    assert abs(share - 1 / 19) < 0.02
    counts = np.bincount(split.valid.items[:, 0], minlength=20)
    assert abs(counts - 100).max() < 45, "no item is favoured"


def test_a_file_split_follows_the_files_and_its_candidates_lose_repeats_and_targets() -> None:
    events = from_events([1, 1, 1, 1, 2, 2, 3], [1, 2, 3, 4, 5, 6, 7], times=[1, 2, 3, 4, 5, 6, 7])
    is_test = np.array([0, 1, 0, 1, 0, 1, 1], bool)
    listed = np.array([[4, 4, 5, 1], [6, 0, 1, 2], [7, 7, 7, 7]], np.int32)
    events = replace(events, file_split=FileSplit(is_test, listed))
    split = hold_out(events, "file", validation="none")
    assert split.test.items.tolist() == [[1, 3], [5, 7], [7, 7]]
    assert split.train.items.tolist() == [0, 2, 4]
    assert split.train.file_split is None
    assert split.candidates is not None
    assert split.candidates["test"].tolist() == [
        [1, 3, 4, 5, 7, 7],
        [5, 7, 0, 1, 2, 6],
        [7, 7, 7, 7, 7, 7],
    ]
    shuffled = shuffle_items(split)
    labels = np.append(shuffled.train.item_labels, "-")
    assert shuffled.candidates is not None
    assert labels[shuffled.candidates["test"]].tolist() == [
        ["2", "4", "5", "6", "-", "-"],
        ["6", "-", "1", "2", "3", "7"],
        ["-"] * 6,
    ]
    assert client_data(split, exclude="heldout_and_candidates").num_clients == 3


def test_candidates_of_files_belong_to_the_files_own_items_only() -> None:
    events = from_events([1, 1, 1], [1, 2, 3], times=[1, 2, 3])
    listed = np.array([[0]], np.int32)
    events = replace(events, file_split=FileSplit(np.array([False, False, True]), listed))
    assert hold_out(events, "leave_one_out").candidates is None


def test_a_client_without_training_events_is_not_measured() -> None:
    events = from_events([1, 1, 2], [5, 6, 7], times=[1, 2, 9])
    split = hold_out(events, "temporal", validation="none", share=0.3)
    assert split.test.items.tolist() == [[3], [3]]
    assert split.train.items.tolist() == [0, 1]
    data = client_data(split)
    assert data.num_clients == 2
    assert data.history(1, data.classes[0]).num_events == 0


def test_events_of_the_second_of_the_cut_are_all_held_out() -> None:
    events = from_events([1, 1, 1, 2, 2, 2], [1, 2, 3, 1, 2, 3], times=[1, 7, 7, 2, 7, 8])
    split = hold_out(events, "temporal", validation="none", share=0.34)  # two of six
    assert split.test.items.tolist() == [[1, 2], [1, 2]]


@pytest.mark.parametrize(
    ("times", "rules", "complaint"),
    [
        ([0, 1, 2], {"holdout": "temporal", "validation": "none"}, "1 of 3 have none; choose"),
        ([0, 0, 0], {}, "for 1 clients the time of the latest event is unknown; choose holdout"),
        ([0, 0, 1], {}, "for 1 clients the time of the validation event is unknown; choose valid"),
        ([0, 0, 1], {"ties": "file_order"}, "the time of the validation event is unknown"),
        ([1, 2, 3], {"holdout": "file"}, "'file' needs a data set whose files say what is held"),
        ([7, 7, 7], {"holdout": "temporal", "validation": "none"}, "leaves no event to train"),
    ],
)
def test_what_the_data_lack_is_told_in_one_line(
    times: list[int], rules: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint) as caught:
        hold_out(from_events([1, 1, 1], [1, 2, 3], times=times), **rules)
    assert "\n" not in str(caught.value)


def test_where_no_time_is_known_the_lines_may_be_the_order() -> None:
    split = hold_out(from_events([1, 1, 1], [3, 1, 2]), ties="file_order")
    assert (split.test.items.tolist(), split.valid.items.tolist()) == ([[1]], [[0]])


def test_unknown_times_do_no_harm_where_they_decide_nothing() -> None:
    events = from_events([1] * 4, [1, 2, 3, 4], times=[0, 0, 0, 9])
    split = hold_out(events, validation="hash")
    assert split.test.items.tolist() == [[3]]
    assert split.valid.items[0, 0] in (0, 1, 2)


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        ({"holdout": "leave_one_ot"}, "holdout 'leave_one_ot' is not known .did you mean 'leave_"),
        (
            {"holdout": "ratio", "validation": "second_latest"},
            "'second_latest' does not go with holdout 'ratio'; choose from: ra",
        ),
        ({"holdout": "ratio", "validation": "none", "share": 0.5}, "share 0.5 is out of range"),
        ({"holdout": "ratio", "validation": "none", "share": 0.0}, "share 0.0 is out of range"),
    ],
)
def test_rules_that_cannot_be_met_are_refused_before_data_are_read(
    rules: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        load("no-such-data", **rules)


def test_a_share_is_part_of_the_protocol_where_there_is_one() -> None:
    sizes: dict[str, Any] = {"num_users": 30, "num_items": 60, "mean_events": 9.0}
    data = load("synthetic", holdout="temporal", validation="temporal", share=0.2, **sizes)
    facts = Protocol(**data.protocol).to_dict()  # type: ignore[arg-type]
    assert (facts["holdout"], facts["validation"]) == ("temporal", "temporal")
    assert facts["holdout_share"] == 0.2
    plain = load("synthetic", **sizes)
    assert "holdout_share" not in Protocol(**plain.protocol).to_dict()  # type: ignore[arg-type]
