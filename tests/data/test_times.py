"""Times in every unit and way of writing become the same seconds."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedjax_rec.data import from_events
from fedjax_rec.data.times import DATES, PER_SECOND, NoTimeError, from_numbers, from_texts
from fedjax_rec.errors import UserError

MOMENT = datetime(2021, 9, 13, 10, 20, 0, tzinfo=UTC)


@given(
    times=st.lists(st.integers(3 * 10**8, 4 * 10**9), min_size=1, max_size=20),
    unit=st.sampled_from(sorted(PER_SECOND)),
    rest=st.floats(0, 0.99),
)
def test_numbers_are_read_in_the_unit_that_their_size_shows(
    times: list[int], unit: str, rest: float
) -> None:
    factor = PER_SECOND[unit]
    numbers = np.array([time * factor + int(rest * factor) for time in times], np.int64)
    seconds, found = from_numbers(numbers)
    assert (seconds.tolist(), found) == (times, unit)


@pytest.mark.parametrize("form", [form for form in DATES if "%z" not in form])
def test_common_dates_are_read(form: str) -> None:
    text = MOMENT.strftime(form)
    expected = MOMENT.replace(second=0) if "%H" in form else MOMENT.replace(hour=0, minute=0)
    assert from_texts([text])[0].tolist() == [int(expected.timestamp())]


@pytest.mark.parametrize(
    "text",
    [
        "2021-09-13T10:20:00Z",
        "2021-09-13 10:20:00",
        "2021-09-13T12:20:00+02:00",
        "2021-09-13T10:20:00.999999",
        "2021-09-13 10:20:00 UTC",
        "20210913T102000",
        "Mon Sep 13 10:20:00 +0000 2021",
        "13/9/2021 10:20",
        "9/13/2021 10:20:00",
        "9/13/2021 10:20 AM",
    ],
)
def test_a_moment_is_the_same_however_written(text: str) -> None:
    assert from_texts([text])[0].tolist() == [int(MOMENT.timestamp())]


def test_day_and_month_are_told_apart_by_the_column_or_not_at_all() -> None:
    seconds, words = from_texts(["3/4/2020", "3/14/2020"])
    assert words == "dates (month/day/year)"
    assert datetime.fromtimestamp(int(seconds[0]), UTC).month == 3
    with pytest.raises(NoTimeError, match="may be day/month/year or month/day/year"):
        from_texts(["3/4/2020", "5/6/2020"])


@pytest.mark.parametrize(
    ("texts", "row"),
    [(["yesterday"], 0), (["2020-09-01", "soon"], 1), (["2020-09-01", ""], 1)],
)
def test_what_is_no_date_is_named_by_its_row(texts: list[str], row: int) -> None:
    with pytest.raises(NoTimeError) as caught:
        from_texts(texts)
    assert caught.value.row == row


@pytest.mark.parametrize(
    "times",
    [
        [MOMENT, MOMENT],
        np.array([MOMENT.replace(tzinfo=None)] * 2, "datetime64[ns]"),
        [MOMENT.isoformat()] * 2,
        [MOMENT.timestamp()] * 2,
        np.array([int(MOMENT.timestamp())] * 2, object),
        [f"{MOMENT.timestamp():.0f}"] * 2,
    ],
    ids=["datetime", "datetime64", "text", "number", "objects", "digits"],
)
def test_columns_in_python_may_hold_dates(times: Any) -> None:
    events = from_events([1, 2], [3, 4], times=times)
    assert events.times.tolist() == [int(MOMENT.timestamp())] * 2


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"times": ["2020-09-01", "soon"]}, "custom: event 2: time 'soon' is neither a number"),
        ({"times": np.array(["2020-09-01", "NaT"], "M8[s]")}, "event 2: time is missing"),
        ({"values": ["good", "bad"]}, "a value is no number; give ratings or counts"),
    ],
)
def test_columns_in_python_that_are_none_are_refused(columns: Any, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        from_events([1, 2], [3, 4], **columns)


def test_days_in_eight_digits_are_days() -> None:
    seconds, words = from_numbers(np.array([20210913, 20200229, 20210913]))
    assert seconds.tolist() == [1631491200, 1582934400, 1631491200]
    assert words == "dates (year, month and day in eight digits)"
    assert from_numbers(np.array([20210913, 20210931]))[1] == "seconds"
    assert from_numbers(np.array([20210913, 0]))[1] == "seconds"


def test_times_in_two_units_are_refused() -> None:
    with pytest.raises(NoTimeError, match="coarser unit than the milliseconds of others"):
        from_numbers(np.array([0, 1_600_000_000, 1_600_000_000_000]))
