"""Events that repeat: merged or kept, counted, named, and never a question by accident."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fedjax_rec.baselines import popularity
from fedjax_rec.data import FileSplit, Interactions, beside, from_events, hold_out, load
from fedjax_rec.data.seen import without_seen
from fedjax_rec.errors import UserError
from fedjax_rec.evaluation import Protocol
from fedjax_rec.simulation import EvaluationPlan, simulate
from fedjax_rec.simulation.plans import protocol_of

Rows = list[tuple[int, int, int, int]]
"""User, item, value, time."""

rows = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(1, 5), st.integers(1, 9)),
    min_size=1,
    max_size=25,
)


def events_of(rows: Rows) -> Interactions:
    return from_events(*zip(*rows, strict=True), catalogue=range(9))  # type: ignore[arg-type]


def held(table: np.ndarray, num_items: int) -> set[tuple[int, int]]:
    return {(n, int(item)) for n, row in enumerate(table) for item in row if item < num_items}


def trained(split: Any) -> list[tuple[int, int]]:
    return list(zip(split.train.users.tolist(), split.train.items.tolist(), strict=True))


def list_of_repeats(folder: Path, times: int = 1) -> Path:
    """Each of twelve people has eight items, one a day; every line so many times."""
    rng = np.random.default_rng(5)
    lines = []
    for user in range(12):
        for day, item in enumerate(rng.permutation(120)[:8]):
            lines += [f"{user}\t{item}\t{1 + day % 5}\t{1000 + 86_400 * day + user}"] * times
    folder.mkdir(exist_ok=True)
    (folder / "u.data").write_text("\n".join(lines) + "\n")
    return folder


def listens_again(folder: Path) -> Path:
    """Twelve people who play three favourites in turn; two of them end with something new."""
    lines = []
    for user in range(12):
        favourites = [9 + user % 3, 5 + user % 4, user % 5]  # the last is the rarest
        lines += [f"{user}\t{favourites[t % 3]}\t{1 + t % 5}\t{1000 + t}" for t in range(15)]
        if user < 2:
            lines.append(f"{user}\t{30 + user}\t1\t2000")
    folder.mkdir(exist_ok=True)
    (folder / "u.data").write_text("\n".join(lines) + "\n")
    return folder


# --------------------------------------------------------------------- merging


@given(rows=rows, rule=st.sampled_from(["first", "last"]))
def test_of_each_pair_the_first_or_the_last_event_is_left(rows: Rows, rule: Any) -> None:
    split = hold_out(events_of(rows), validation="none", repeats=rule)
    expected: dict[tuple[int, int], int] = {}
    for user, item, _, time in rows:
        pick = min if rule == "first" else max
        expected[user, item] = pick(time, expected.get((user, item), time))
    assert split.num_repeats == len(rows) - len(expected)
    assert split.repeats == (rule if split.num_repeats else None)
    users, items = split.train.user_labels, split.train.item_labels
    found = [(int(users[u]), int(items[i])) for u, i in trained(split)]
    found += [(int(users[u]), int(items[i])) for u, i in held(split.test.items, 9)]
    assert sorted(found) == sorted(expected), "each pair once, none lost"
    for pair, time in zip(found, split.train.times.tolist(), strict=False):
        assert expected[pair] == time


def test_the_value_left_is_that_of_the_event_left() -> None:
    events = from_events([1] * 4, [5, 5, 5, 6], [3, 1, 2, 4], [20, 10, 30, 5])
    for rule, value in (("first", 1.0), ("last", 2.0)):
        split = hold_out(events, validation="none", repeats=rule)  # type: ignore[arg-type]
        assert split.test.values is not None
        assert split.test.values[0, 0] == value


@pytest.mark.parametrize("rule", ["first", "last"])
def test_an_event_of_unknown_time_is_left_only_where_no_other_is(rule: Any) -> None:
    events = from_events([1] * 5, [5, 5, 6, 7, 7], [1, 2, 3, 4, 4], [0, 20, 10, 0, 0])
    split = hold_out(events, validation="none", repeats=rule)
    assert split.train.times.tolist() == [0, 10]
    assert split.test.values is not None
    assert split.test.values[0, 0] == 2.0


@given(rows=rows, times=st.integers(2, 4))
def test_every_line_several_times_is_the_data_set_itself(rows: Rows, times: int) -> None:
    once = list({row[:2]: row for row in rows}.values())
    plain, again = hold_out(events_of(once)), hold_out(events_of(once * times))
    assert again.num_repeats == len(once) * (times - 1)
    for name in ("users", "items", "values", "times"):
        np.testing.assert_array_equal(getattr(again.train, name), getattr(plain.train, name))
    np.testing.assert_array_equal(again.test.items, plain.test.items)
    np.testing.assert_array_equal(again.valid.items, plain.valid.items)


def test_what_files_hold_out_is_merged_apart_from_what_they_train_on() -> None:
    events = from_events([1] * 5, [5, 5, 6, 6, 6])
    is_test = np.array([False, False, False, True, True])
    split = hold_out(replace(events, file_split=FileSplit(is_test)), "file", validation="none")
    assert split.num_repeats == 2
    assert trained(split) == [(0, 0), (0, 1)]
    assert held(split.test.items, 2) == {(0, 1)}, "the file says so"
    assert without_seen(split)[1] == {"valid": 0, "test": 1}


def test_another_domain_is_merged_too() -> None:
    target = from_events([1, 1, 2, 2], [5, 6, 5, 7], times=[1, 2, 3, 4])
    other = from_events([1, 1, 2], [8, 8, 9], times=[1, 2, 3])
    split = hold_out(beside(target, other), validation="none")
    assert split.num_repeats == 1
    assert split.train.other is not None
    assert split.train.other.items.tolist() == [0, 1]


def test_data_without_repeats_are_as_they_were_and_say_nothing(tmp_path: Path) -> None:
    notices: list[str] = []
    data = load("mine", path=str(list_of_repeats(tmp_path / "a")), notice=notices.append)
    assert notices == []
    assert not {"repeats", "num_repeats", "questions_dropped"} & set(data.protocol)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(UserError, match=r"repeats 'frist' is not known.*did you mean 'first'"):
        hold_out(from_events([1], [2]), repeats="frist")  # type: ignore[arg-type]


# -------------------------------------------------------------- what is dropped


@given(rows=rows, holdout=st.sampled_from(["leave_one_out", "temporal", "ratio", "users"]))
def test_no_item_that_was_trained_on_is_asked_about(rows: Rows, holdout: Any) -> None:
    validation = "second_latest" if holdout == "leave_one_out" else holdout
    try:
        split = hold_out(events_of(rows), holdout, validation=validation, share=0.3, repeats="keep")
    except UserError:  # so few events leave none to train on
        assume(False)
    asked, num_dropped = without_seen(split)
    seen = set(trained(split))
    valid, test = held(split.valid.items, 9), held(split.test.items, 9)
    assert held(asked.valid.items, 9) == valid - seen
    assert held(asked.test.items, 9) == test - seen - valid
    assert num_dropped == {"valid": len(valid & seen), "test": len(test & (seen | valid))}
    for part in (asked.valid, asked.test):
        assert part.values is not None
        assert (part.values[part.items == 9] == 0).all()


def measured(data: Any, plan: EvaluationPlan) -> tuple[dict[str, Any], Any, list[str]]:
    notices: list[str] = []
    result = simulate(
        popularity(data.num_items),
        data,
        key=jax.random.key(0),
        rounds=1,
        evaluation=plan,
        notice=notices.append,
    )
    return result.summary, result.per_client["hit_rate@10"], notices


PLAN = EvaluationPlan(every=1, at_k=(10,))


def test_every_line_three_times_gives_the_figures_of_the_data_set_itself(tmp_path: Path) -> None:
    found = []
    for times in (1, 3):
        notices: list[str] = []
        path = str(list_of_repeats(tmp_path / str(times), times))
        data = load("mine", path=path, notice=notices.append)
        found.append(measured(data, PLAN)[0]["metrics"])
    assert notices == [
        "mine: 192 events repeat an item of the same user; merged, the first of each is left"
    ]
    assert (data.protocol["repeats"], data.protocol["num_repeats"]) == ("first", 192)
    metrics = [{k: v for k, v in one.items() if k.startswith(("test", "valid"))} for one in found]
    assert metrics[0] == metrics[1]
    assert metrics[0]


def test_kept_repeats_are_not_asked_about_and_the_number_is_printed(tmp_path: Path) -> None:
    path = str(listens_again(tmp_path / "a"))
    data = load("mine", path=path, repeats="keep", notice=lambda line: None)
    summary, hits, notices = measured(data, PLAN)
    assert np.isfinite(hits).sum() == 2, "those who end with something new"
    assert data.protocol["questions_dropped"] == 22
    assert summary["protocol"]["questions_dropped"] == 22
    assert summary["protocol"]["repeats"] == "keep"
    assert [line for line in notices if "not asked about" in line] == [
        f"mine: {num} held-out items ({split}) are not asked about: their clients have seen them; "
        "--evaluate.seen_items ranked ranks seen items too"
        for num, split in ((12, "valid"), (10, "test"))
    ]


def test_repeat_consumption_ranks_seen_items_beside_the_held_out_one(tmp_path: Path) -> None:
    """Ranks equal those of a plain count over the whole catalogue."""
    path = str(listens_again(tmp_path / "a"))
    data = load("mine", path=path, repeats="keep", notice=lambda line: None)
    summary, hits, notices = measured(data, replace(PLAN, at_k=(1, 3, 10), seen_items="ranked"))
    counts = np.bincount(data.split.train.items, minlength=data.num_items)
    targets = data.split.test.items[:, 0]
    ranks = (counts[None] >= counts[targets][:, None]).sum(1)  # itself, and ties before it
    np.testing.assert_array_equal(hits, (ranks <= 10).astype(np.float32))
    for cutoff in (1, 3, 10):
        expected = (ranks <= cutoff).mean()
        assert summary["metrics"][f"test/hit_rate@{cutoff}"] == pytest.approx(expected)
    assert summary["protocol"]["seen_items"] == "ranked"
    assert "questions_dropped" not in summary["protocol"]
    assert not [line for line in notices if "not asked" in line]


@pytest.mark.parametrize("candidates", ["uni99", "file"])
def test_a_seen_item_is_never_ranked_among_unseen_candidates(candidates: Any) -> None:
    with pytest.raises(UserError, match=r"set evaluate\.candidates to full"):
        EvaluationPlan(seen_items="ranked", candidates=candidates)


def test_the_protocol_of_a_run_names_the_policy() -> None:
    facts = {"repeats": "last", "num_repeats": 3, "questions_dropped": 2}
    named = protocol_of(facts, EvaluationPlan(), None).to_dict()
    assert {name: named[name] for name in facts} == facts
    assert not facts.keys() & Protocol().to_dict().keys()


def test_ml_100k_with_every_line_three_times_is_ml_100k(
    ml_100k_folder: Path, tmp_path: Path
) -> None:
    plain = load("ml-100k", path=str(ml_100k_folder), notice=lambda line: None)
    events = plain.split.train
    assert not {"repeats", "questions_dropped"} & set(plain.protocol)
    columns = (
        events.user_labels[events.users],
        events.item_labels[events.items],
        events.values.astype(int),
        events.times,
    )
    lines = ["\t".join(map(str, row)) for row in zip(*columns, strict=True)]
    for times in (1, 3):
        (tmp_path / f"{times}").mkdir()
        (tmp_path / f"{times}" / "u.data").write_text("\n".join(lines * times) + "\n")
    one, three = (
        load("mine", path=str(tmp_path / name), notice=lambda line: None).split for name in "13"
    )
    np.testing.assert_array_equal(one.test.items, three.test.items)
    np.testing.assert_array_equal(one.valid.items, three.valid.items)
    np.testing.assert_array_equal(one.train.items, three.train.items)
