"""What is left out by rule is left out, counted and said; two domains of one's own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedjax_rec.data import Filters, from_events, hold_out, load, read
from fedjax_rec.data.filters import select
from fedjax_rec.data.interactions import Interactions
from fedjax_rec.errors import UserError

EVENTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 8)), min_size=1, max_size=60)


def raw_pairs(events: Interactions) -> list[tuple[str, str]]:
    users, items = events.user_labels[events.users], events.item_labels[events.items]
    return list(zip(users.tolist(), items.tolist(), strict=True))


def plain_core(pairs: list[tuple[int, int]], least: int) -> list[tuple[int, int]]:
    while True:
        distinct = set(pairs)
        users = [u for u, _ in distinct]
        items = [i for _, i in distinct]
        left = [(u, i) for u, i in pairs if users.count(u) >= least and items.count(i) >= least]
        if left == pairs:
            return left
        pairs = left


@given(pairs=EVENTS, least=st.integers(1, 4))
def test_a_core_equals_a_plain_oracle(pairs: list[tuple[int, int]], least: int) -> None:
    users, items = zip(*pairs, strict=True)
    expected = [(str(u), str(i)) for u, i in plain_core(pairs, least)]
    events = from_events(users, items)
    if not expected:
        with pytest.raises(UserError, match="no event is left"):
            select(events, Filters(core=least))
        return
    left, lines = select(events, Filters(core=least))
    assert raw_pairs(left) == expected
    assert len(lines) == 1
    assert len(np.unique(left.users)) == left.num_users
    assert len(np.unique(left.items)) == left.num_items


def test_each_rule_says_what_it_leaves_out() -> None:
    events = from_events(
        [1, 1, 2, 2, 3],
        [5, 6, 5, 7, 6],
        [5, 1, 4, 3, 3],
        [100, 200, 300, 400, 500],
        titles={5: "five", 6: "six", 7: "seven"},
    )
    rules: dict[str, Any] = {"min_rating": 3, "since": "200", "until": "1970-01-01T00:08:20"}
    left, lines = select(events, Filters(**rules))
    assert raw_pairs(left) == [("2", "5"), ("2", "7")]
    assert left.item_titles == ("five", "seven")
    assert lines == [
        "custom: data.min_rating 3 leaves out 1 of 5 events",
        "custom: data.since 200 leaves out 1 of 4 events, 1 of 3 users",
        "custom: data.until 1970-01-01T00:08:20 leaves out 1 of 3 events, 1 of 2 users, 1 of 3 "
        "items",
    ]
    same, said = select(events, Filters(core=1))
    assert raw_pairs(same) == raw_pairs(events)
    assert said == ["custom: data.core 1 leaves out 0 of 5 events"]
    assert select(events, Filters()) == (events, [])


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        ({"min_rating": 9}, "no event is left; loosen data.min_rating"),
        ({"since": "yesterday"}, "data.since: 'yesterday' is no time; write it as 2020-09-01"),
        ({"until": "7"}, "data.until needs every event's time, and some have none"),
    ],
)
def test_a_rule_that_cannot_hold_is_refused(rules: dict[str, Any], complaint: str) -> None:
    times = [0, 5] if "until" in rules else [4, 5]
    with pytest.raises(UserError, match=complaint):
        select(from_events([1, 2], [3, 4], times=times), Filters(**rules))


def test_values_of_repeats_are_added_up() -> None:
    events = from_events([1, 1, 1, 2], [5, 6, 5, 5], [4, 3, 2, 1], times=[10, 20, 30, 40])
    split = hold_out(events, "leave_one_out_hash", validation="none", repeats="sum")
    kept = dict(zip(raw_pairs(split.train), split.train.values.tolist(), strict=True))
    held = split.test.values
    assert held is not None
    assert sorted([*kept.values(), float(held[0, 0])]) == [1.0, 3.0, 6.0]
    assert split.num_repeats == 1


def test_two_domains_of_ones_own_need_no_edit(tmp_path: Path) -> None:
    (tmp_path / "films.csv").write_text("user,item,time\na,1,5\na,2,6\na,3,7\nb,1,8\nc,2,9\n")
    (tmp_path / "books.csv").write_text("user,item,time\nb,9,5\na,9,6\nd,8,7\n")
    notices: list[str] = []
    data = load(
        "mine",
        path=str(tmp_path / "films.csv"),
        other=str(tmp_path / "books.csv"),
        notice=notices.append,
    )
    assert (data.num_clients, data.num_items, data.clients.num_other) == (2, 3, 1)
    assert [line for line in notices if "one domain only" in line] == [
        "mine: 1 of 3 users are in one domain only, and left out with 1 events",
        "mine-other: 1 of 3 users are in one domain only, and left out with 1 events",
    ]
    with pytest.raises(UserError, match="two domains are not filtered"):
        read(
            "mine",
            path=str(tmp_path / "films.csv"),
            other=str(tmp_path / "books.csv"),
            filters=Filters(core=2),
            notice=notices.append,
        )
    (tmp_path / "books.csv").write_text("user,item,time\nx,9,5\n")
    with pytest.raises(UserError, match="no user of it is in mine-other"):
        read(
            "mine",
            path=str(tmp_path / "films.csv"),
            other=str(tmp_path / "books.csv"),
            notice=notices.append,
        )
