"""Files that tell the order of events and no times."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from fedjax_rec.data import describe, hold_out, load, read
from fedjax_rec.data.interactions import Interactions
from fedjax_rec.data.sources import read_path
from fedjax_rec.errors import UserError

PAIRS = "2 30\n1 4\n2 9\n1 5\n2 4\n1 30\n2 7\n"
SEQUENCES = "2 30 9 4 7\n1 4 5 30\n"
EXPECTED = {
    "pairs": "2/30/1 1/4/1 2/9/2 1/5/2 2/4/3 1/30/3 2/7/4",
    "sequences": "2/30/1 2/9/2 2/4/3 2/7/4 1/4/1 1/5/2 1/30/3",
}
TEXTS = {"pairs": PAIRS, "sequences": SEQUENCES}


def read_as(layout: str, tmp_path: Path, text: str) -> Interactions:
    path = tmp_path / "mine.txt"
    path.write_text(text)
    return read_path(path, "mine", layout)


@pytest.mark.parametrize("layout", TEXTS)
@pytest.mark.parametrize("change", ["", "tabs", "windows", "trailing", "packed"])
def test_order_in_the_file_is_order_in_time(tmp_path: Path, layout: str, change: str) -> None:
    text = TEXTS[layout]
    if change == "tabs":
        text = text.replace(" ", "\t")
    elif change == "windows":
        text = text.replace("\n", "\r\n") + "\r\n"
    elif change == "trailing":
        text = text.replace("\n", " \n")
    path = tmp_path / "mine.txt"
    path.write_text(text)
    if change == "packed":
        path = tmp_path / "mine.txt.gz"
        path.write_bytes(gzip.compress(text.encode()))
    events = read_path(path, "mine", layout)
    labels = events.user_labels[events.users].tolist(), events.item_labels[events.items].tolist()
    found = zip(*labels, map(str, events.times.tolist()), strict=True)
    assert " ".join(map("/".join, found)) == EXPECTED[layout]
    assert events.is_order_only
    assert events.values.tolist() == [1.0] * 7


@pytest.mark.parametrize("layout", TEXTS)
def test_the_last_in_order_is_tested_and_the_one_before_it_validates(
    tmp_path: Path, layout: str
) -> None:
    events = read_as(layout, tmp_path, TEXTS[layout])
    split = hold_out(events)
    labels = events.item_labels
    assert labels[split.test.items].tolist() == [["30"], ["7"]]
    assert labels[split.valid.items].tolist() == [["5"], ["4"]]
    assert labels[split.train.items].tolist() == ["4", "30", "9"]


def test_repeats_of_a_sequence_are_kept_where_asked_for(tmp_path: Path) -> None:
    events = read_as("sequences", tmp_path, "1 4 5 4 6 4\n2 4 5 6\n")
    kept, merged = hold_out(events, repeats="keep"), hold_out(events, repeats="first")
    assert kept.train.num_events == 3 + 1
    assert events.item_labels[kept.test.items[0, 0]] == "4"
    assert events.item_labels[merged.test.items[0, 0]] == "6"
    assert (kept.num_repeats, merged.num_repeats) == (2, 2)


def test_places_are_no_times(tmp_path: Path) -> None:
    events = read_as("pairs", tmp_path, PAIRS)
    with pytest.raises(UserError, match="'temporal' needs times, and its files tell each user's"):
        hold_out(events, "temporal", validation="none")
    facts = describe(events)
    assert (facts["first_time"], facts["last_time"]) == (0, 0)
    assert facts["last_two_tied"] == 0


@pytest.mark.parametrize(
    ("layout", "text", "complaint"),
    [
        ("pairs", "1 2\n1 2 3\n", "line 2: 3 blank-separated columns instead of 2 (user, item)"),
        ("pairs", "1 2\n\n1\n", "line 3: 1 blank-separated columns instead of 2 (user, item)"),
        ("pairs", "1 2\n\nnan 3\n", "line 3: user id 'nan' is not an id but a missing value"),
        ("pairs", "\n", "the data set is empty"),
        ("sequences", "1 2 3\n\n2\n", "line 3: a user without items"),
        ("sequences", "1 2 3\n2 3\n1 4\n", "line 3: user '1' has line 1 already"),
        ("sequences", "1 2 3\n\n2 3 None\n", "line 3: item id 'None' is not an id but a missing"),
        ("sequences", "", "the data set is empty"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, layout: str, text: str, complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        read_as(layout, tmp_path, text)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "longest", "repeats"),
    [
        ("beauty", 293, 0),
        ("sasrec-video", 860, 0),
        ("s3rec-beauty", 204, 0),
        ("s3rec-toys", 550, 0),
        ("s3rec-yelp", 350, 11_830),
        ("s3rec-lastfm", 899, 0),
    ],
)
def test_known_sequences_load_by_name(
    data_folder: Path, name: str, longest: int, repeats: int
) -> None:
    facts = describe(read(name, notice=lambda line: None))
    assert facts["repeated_events"] == repeats
    assert facts["events_per_user_max"] == longest


def test_toys_split_as_the_paper_does(data_folder: Path) -> None:
    data = load("s3rec-toys", notice=lambda line: None)
    is_asked = data.split.test.items[:, 0] < data.num_items
    assert is_asked.all()
    text = gzip.decompress((data_folder / "s3rec" / "Toys_and_Games.txt.gz").read_bytes())
    last = {line.split()[0]: line.split()[-1] for line in text.decode().splitlines()}
    labels = data.split.train.item_labels[data.split.test.items[:, 0]]
    assert labels.tolist() == [last[user] for user in data.split.train.user_labels.tolist()]
    assert np.isin(data.split.valid.items[:, 0], np.arange(data.num_items)).all()
