"""Some users of a data set: exactly theirs, and nothing else changes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedjax_rec.data import FileSplit, read, some_users, synthetic
from fedjax_rec.errors import UserError

EVENTS = synthetic(40, 90, 7)


def test_all_events_of_the_chosen_and_of_nobody_else() -> None:
    part = some_users(EVENTS, 15, seed=3)
    assert part.num_users == 15
    assert part.num_items == EVENTS.num_items
    is_theirs = np.isin(EVENTS.user_labels[EVENTS.users], part.user_labels)
    for name in ("items", "values", "times"):
        np.testing.assert_array_equal(getattr(part, name), getattr(EVENTS, name)[is_theirs])
    np.testing.assert_array_equal(
        part.user_labels[part.users], EVENTS.user_labels[EVENTS.users[is_theirs]]
    )


def test_the_seed_chooses_and_everybody_is_everybody() -> None:
    labels = [some_users(EVENTS, 20, seed).user_labels.tolist() for seed in (0, 0, 1)]
    assert labels[0] == labels[1] != labels[2]
    np.testing.assert_array_equal(some_users(EVENTS, 40).users, EVENTS.users)


def test_what_files_hold_out_is_cut_too() -> None:
    is_test = np.arange(EVENTS.num_events) % 3 == 0
    candidates = np.arange(40 * 2, dtype=np.int32).reshape(40, 2)
    events = replace(EVENTS, file_split=FileSplit(is_test, candidates))
    part = some_users(events, 15)
    assert part.file_split is not None
    assert part.file_split.candidates is not None
    is_kept = np.isin(EVENTS.user_labels, part.user_labels)
    np.testing.assert_array_equal(part.file_split.is_test, is_test[is_kept[EVENTS.users]])
    np.testing.assert_array_equal(part.file_split.candidates, candidates[is_kept])


@pytest.mark.parametrize("num_users", [0, 41])
def test_a_number_out_of_range_is_told(num_users: int) -> None:
    with pytest.raises(UserError, match=r"has 40 users; data\.num_users must be between 1"):
        some_users(EVENTS, num_users)


def test_read_cuts_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.tsv"
    path.write_text("".join(f"{user}\t{user % 3}\t4\t9\n" for user in range(9)))
    assert read("mine", path=str(path)).num_users == 9
    assert read("mine", path=str(path), num_users=4).num_users == 4
