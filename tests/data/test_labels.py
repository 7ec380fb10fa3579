"""Ids are read as what they are: the same with and without marks and blanks, and never missing."""

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedjax_rec.data import Interactions, from_events
from fedjax_rec.data.labels import natural_sort
from fedjax_rec.data.sources import read_path
from fedjax_rec.errors import UserError

HEADERS = {
    "u.data": b"",
    "ratings.dat": b"",
    "ratings.csv": b"userId,movieId,rating,timestamp\n",
    "x.inter": b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n",
}
SEPARATORS = {"u.data": b"\t", "ratings.dat": b",", "ratings.csv": b",", "x.inter": b"\t"}
TEXT_IDS = ("ratings.dat", "ratings.csv", "x.inter")
ROWS = [(b"1", b"5", b"4", b"20"), (b"1", b"6", b"3", b"21"), (b"2", b"5", b"1", b"22")]
MARK = b"\xef\xbb\xbf"


def content(name: str, rows: list[tuple[bytes, ...]] = ROWS) -> bytes:
    return HEADERS[name] + b"".join(SEPARATORS[name].join(row) + b"\n" for row in rows)


def written(folder: Path, name: str, text: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(text)
    return folder / name


def as_raw(events: Interactions) -> list[tuple[str, str]]:
    users, items = events.user_labels[events.users], events.item_labels[events.items]
    return list(zip(users.tolist(), items.tolist(), strict=True))


def refusal(reads: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as caught:
        reads()
    message = str(caught.value)
    assert "\n" not in message
    return message


PLAIN = [("1", "5"), ("1", "6"), ("2", "5")]


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("packing", ["plain", "gzip", "zip"])
def test_a_byte_order_mark_is_no_part_of_the_first_id(
    tmp_path: Path, name: str, packing: str
) -> None:
    text = MARK + content(name)
    if packing == "gzip":
        path = written(tmp_path, f"{name}.gz", gzip.compress(text))
    elif packing == "zip":
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, text)
    else:
        path = written(tmp_path, name, text)
    assert as_raw(read_path(path, "mine")) == PLAIN


def test_marks_between_files_that_were_joined_are_no_part_of_an_id_either(tmp_path: Path) -> None:
    text = content("ratings.dat")
    path = written(tmp_path, "ratings.dat", MARK + text + MARK + text)
    assert as_raw(read_path(path, "mine")) == PLAIN * 2


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_wide_text_is_refused_for_what_it_is(tmp_path: Path, encoding: str) -> None:
    text = ("\ufeff" if encoding != "utf-16" else "") + content("ratings.dat").decode()
    path = written(tmp_path, "ratings.dat", text.encode(encoding))
    assert "is UTF-16 text; save it as UTF-8" in refusal(lambda: read_path(path, "mine"))


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("blank", [b" ", b"  ", b"\xc2\xa0"])
def test_blanks_around_an_id_are_no_part_of_it(tmp_path: Path, name: str, blank: bytes) -> None:
    user, item, *rest = ROWS[1]
    rows = [ROWS[0], (blank + user + blank, blank + item, *rest), ROWS[2]]
    path = written(tmp_path, name, content(name, rows))
    assert as_raw(read_path(path, "mine")) == PLAIN


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("word", [b"nan", b"NaN", b"None", b"<NA>", b"", b" ", b"NULL", b"NaT"])
def test_a_missing_id_in_a_file_is_refused_with_its_line(
    tmp_path: Path, name: str, place: int, word: bytes
) -> None:
    row = [*ROWS[1]]
    row[place] = word
    path = written(tmp_path, name, content(name, [ROWS[0], tuple(row), ROWS[2]]))
    message = refusal(lambda: read_path(path, "mine"))
    line = 2 + bool(HEADERS[name])
    assert message.startswith(f"{path}, line {line}: {('user', 'item')[place]}")
    reason = "is not an id but a missing value" if name in TEXT_IDS else "is not a whole number"
    assert reason in message


MISSING = [
    None,
    float("nan"),
    np.nan,
    np.float32("nan"),
    np.datetime64("NaT", "s"),
    "",
    " ",
    b"nan",
]


@pytest.mark.parametrize("missing", [*MISSING, "None", "<NA>", "null"], ids=repr)
def test_a_missing_id_in_a_column_is_refused_with_its_event(missing: Any) -> None:
    for columns in (([7, missing], [1, 2]), ([1, 2], ["a", missing])):
        message = refusal(lambda columns=columns: from_events(*columns))  # type: ignore[misc]
        assert message.startswith("custom: event 2: ")
        assert "id " in message
        assert "is a missing value" in message
    as_array = np.array(["x", missing], object)
    assert "is a missing value" in refusal(lambda: from_events(as_array, [1, 2]))


def test_names_that_look_like_a_missing_value_only_in_part_are_ids() -> None:
    assert from_events(["Nancy", "nano", "0"], ["Nat", "nil", "-"]).num_users == 3


@pytest.mark.parametrize("raw", [1.0, np.float32(2), 0.5, True, np.True_])
def test_what_is_neither_text_nor_whole_number_is_no_id(raw: Any) -> None:
    message = refusal(lambda: from_events([1, raw], [2, 3]))
    assert "event 2: user id" in message
    assert "is neither text nor a whole number" in message


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (" ann", "has blanks around it"),
        ("\ufeffann", "has blanks around it"),
        (b"\xff", "is not UTF-8 text"),
        ("a\0", "holds a NUL character"),
        ("x" * 201, "is longer than 200 characters"),
    ],
)
def test_an_id_that_would_be_another_one_is_refused(raw: Any, reason: str) -> None:
    assert reason in refusal(lambda: from_events(["ann", raw], [2, 3]))


def test_a_number_and_its_text_are_one_id() -> None:
    assert from_events([7, "7", b"7", np.int64(7)], [1, 2, 3, 4]).num_users == 1


@pytest.mark.parametrize("name", HEADERS)
def test_a_number_in_two_spellings_is_refused(tmp_path: Path, name: str) -> None:
    rows = [ROWS[0], (b"01", *ROWS[1][1:]), ROWS[2]]
    path = written(tmp_path, name, content(name, rows))
    message = refusal(lambda: read_path(path, "mine"))
    assert message.startswith(f"{path}: user ids '01' and '1' are one number in two spellings")


def test_ids_that_are_padded_alike_are_ids() -> None:
    made = from_events(["001", "010", "002"], ["0", "7", "00x"])
    assert made.user_labels.tolist() == ["001", "002", "010"]


def test_among_text_a_leading_zero_is_text() -> None:
    assert from_events(["01X", "1X", "1", "01"], [1, 2, 3, 4]).num_users == 4


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("digits", [19, 20, 39])
def test_ids_of_many_digits_are_read_to_the_last_one(
    tmp_path: Path, name: str, digits: int
) -> None:
    one, other = b"1" * digits, b"1" * (digits - 1) + b"2"
    rows = [(one, other, b"4", b"20"), (other, one, b"3", b"21")]
    path = written(tmp_path, name, content(name, rows))
    assert as_raw(read_path(path, "mine")) == [
        (one.decode(), other.decode()),
        (other.decode(), one.decode()),
    ]


@given(st.lists(st.integers(0, 10**25), unique=True))
def test_whole_numbers_are_sorted_as_numbers_however_long(numbers: list[int]) -> None:
    assert natural_sort([str(n) for n in numbers]) == [str(n) for n in sorted(numbers)]


def test_numbers_too_long_for_python_to_read_are_sorted_too() -> None:
    assert natural_sort(["9" * 5000, "1" + "0" * 5000, "7"]) == ["7", "9" * 5000, "1" + "0" * 5000]


# ------------------------------------------------------------------------ times


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("milliseconds", 1000), ("microseconds", 10**6), ("nanoseconds", 10**9)],
)
@pytest.mark.parametrize("spread", [0, 86_400, 10**8])
def test_times_in_finer_units_are_read_as_what_they_are(
    tmp_path: Path, unit: str, factor: int, spread: int
) -> None:
    times = [1_600_000_000 * factor, (1_600_000_000 + spread) * factor]
    seconds = [1_600_000_000, 1_600_000_000 + spread]
    assert from_events([1, 1], [2, 3], times=times).times.tolist() == seconds
    rows = [(b"1", str(n).encode(), b"3", str(time).encode()) for n, time in enumerate(times)]
    for name in HEADERS:
        path = written(tmp_path, name, content(name, rows))
        events = read_path(path, "mine")
        assert events.times.tolist() == seconds
        assert events.notes == (f"{path}: times are {unit}",)


def test_seconds_before_1970_and_in_a_thousand_years_are_seconds() -> None:
    made = from_events([1, 1], [2, 3], times=[-86_400.0, 1.0])
    assert made.times.tolist() == [-86_400, 1]
    assert from_events([1], [2], times=[33_000_000_000]).times.tolist() == [33_000_000_000]


# ----------------------------------------------------------------------- titles


@pytest.mark.parametrize("key", [30, "30", b"30", np.int64(30), " 30"])
def test_titles_are_found_by_number_as_by_text(key: Any) -> None:
    made = from_events([1, 1], [30, 31], titles={key: "Air", 99: "Else"})
    assert made.item_titles == ("Air", "31")


@pytest.mark.parametrize("title", [None, float("nan"), "", "  "])
def test_an_item_whose_title_is_missing_goes_by_its_id(title: Any) -> None:
    made = from_events([1, 1], [30, 31], titles={30: title, 31: "Air"})
    assert made.item_titles == ("30", "Air")


def test_titles_of_none_of_the_items_are_refused() -> None:
    message = refusal(lambda: from_events([1, 1], [30, 31], titles={"tt30": "Air"}))
    assert "no title is of one of the items" in message
    assert "'tt30'" in message
