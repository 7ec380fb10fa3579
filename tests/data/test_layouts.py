"""Every layout: a small file of it, what is understood of files of one's own, and real files."""

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedjax_rec.data import Columns, from_events, hold_out, load, read
from fedjax_rec.data.interactions import Interactions
from fedjax_rec.data.sources import known_layouts, read_path
from fedjax_rec.errors import UserError
from fedjax_rec.registry import READERS

ROWS = [("ann", "B30", "4", 20), ("bob", "A4", "5", 10), ("ann", "A4", "1.5", 25)]
QUADRUPLES = [(u, i, float(r), t + 1_600_000_000) for u, i, r, t in ROWS]


def as_raw(events: Interactions) -> list[tuple[str, str, float, int]]:
    users, items = events.user_labels[events.users], events.item_labels[events.items]
    columns = (users.tolist(), items.tolist(), events.values.tolist(), events.times.tolist())
    return list(zip(*columns, strict=True))


def table(separator: str = ",", header: str = "", *, columns: int = 4) -> str:
    lines = [separator.join(map(str, row[:columns])) for row in QUADRUPLES]
    names = [separator.join(header.split())] if header else []
    return "\n".join([*names, *lines]) + "\n"


def put(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refusal(path: Path, **said: Any) -> str:
    with pytest.raises(UserError) as caught:
        read_path(path, "mine", **said)
    message = str(caught.value)
    assert "\n" not in message
    return message


# ------------------------------------------------------- found out by first lines


@pytest.mark.parametrize("separator", [",", "\t", ";", "|", "::", " "])
@pytest.mark.parametrize("header", ["", "user_id item_id rating timestamp", "uid iid stars ts"])
@pytest.mark.parametrize("name", ["events.csv", "whatever", "events.txt.gz"])
def test_a_table_is_understood_whatever_parts_its_columns(
    tmp_path: Path, separator: str, header: str, name: str
) -> None:
    text = table(separator, header).encode()
    path = put(tmp_path, name, gzip.compress(text) if name.endswith("gz") else text)
    events = read_path(path, "mine")
    assert as_raw(events) == QUADRUPLES
    assert len(events.notes) == 1
    assert "-separated table with" in events.notes[0]


@pytest.mark.parametrize(
    ("header", "roles"),
    [
        ("reviewerID,asin,overall,unixReviewTime", "user item rating time"),
        ("User-ID,ISBN,Book-Rating", "user item rating"),
        ("userId,movieId,timestamp", "user item time"),
        ("timestamp,rating,movieId,userId", "time rating item user"),
        ("visitorid,itemid", "user item"),
        ("user_id,business_id,stars,date", "user item rating time"),
        ("steamid,appid,hours", "user item rating"),
        ("customer_id,parent_asin,rating,sort_timestamp", "user item rating time"),
    ],
)
def test_columns_are_known_by_the_names_that_public_data_give_them(
    tmp_path: Path, header: str, roles: str
) -> None:
    place = {"user": 0, "item": 1, "rating": 2, "time": 3}
    lines = [",".join(str(row[place[role]]) for role in roles.split()) for row in QUADRUPLES]
    events = read_path(put(tmp_path, "x.csv", "\n".join([header, *lines])), "mine")
    expected = [
        (u, i, r if "rating" in roles else 1.0, t if "time" in roles else 0)
        for u, i, r, t in QUADRUPLES
    ]
    assert as_raw(events) == expected


def test_a_column_of_words_is_no_rating_and_one_with_numbers_is(tmp_path: Path) -> None:
    head = "user,item,rating,event\n"
    words = "".join(f"{u},{i},{r},view\n" for u, i, r, _ in QUADRUPLES)
    events = read_path(put(tmp_path, "a.csv", head + words), "mine")
    assert [row[2] for row in as_raw(events)] == [4.0, 5.0, 1.5]
    events = read_path(put(tmp_path, "b.csv", head.replace("rating", "x") + words), "mine")
    assert [row[2] for row in as_raw(events)] == [1.0, 1.0, 1.0]
    assert events.notes[1].endswith("not used: 'x', 'event'")
    late = words.replace("view", "many", 1).replace("view", "3")
    message = refusal(put(tmp_path, "c.csv", head.replace("rating", "x") + late))
    assert "line 2: rating 'many' is not a finite float32 number" in message


def test_three_columns_are_ratings_or_times_by_their_size(tmp_path: Path) -> None:
    rated = read_path(put(tmp_path, "a.csv", table(columns=3)), "mine")
    assert [row[2:] for row in as_raw(rated)] == [(4.0, 0), (5.0, 0), (1.5, 0)]
    lines = "".join(f"{u},{i},{t}\n" for u, i, _, t in QUADRUPLES)
    timed = read_path(put(tmp_path, "b.csv", lines), "mine")
    assert [row[2:] for row in as_raw(timed)] == [(1.0, row[3]) for row in QUADRUPLES]
    swapped = "".join(f"{u},{i},{t},{r}\n" for u, i, r, t in QUADRUPLES)
    assert as_raw(read_path(put(tmp_path, "c.csv", swapped), "mine")) == QUADRUPLES


def test_pairs_between_commas_have_no_order(tmp_path: Path) -> None:
    events = read_path(put(tmp_path, "a.csv", table(columns=2)), "mine")
    assert not events.is_order_only
    assert events.times.tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.ndjson.gz"])
def test_json_lines_are_understood(tmp_path: Path, name: str) -> None:
    fields = ("reviewerID", "asin", "overall", "unixReviewTime")
    lines = [json.dumps(dict(zip(fields, row, strict=True)) | {"x": [1]}) for row in QUADRUPLES]
    text = "\n".join(lines).encode()
    path = put(tmp_path, name, gzip.compress(text) if name.endswith("gz") else text)
    events = read_path(path, "mine")
    assert as_raw(events) == QUADRUPLES
    assert "JSON, an object a line: user 'reviewerID'" in events.notes[0]
    assert events.notes[1].endswith("not used: 'x'")


def test_an_object_of_lists_is_in_order(tmp_path: Path) -> None:
    path = put(tmp_path, "x.json", json.dumps({"7": [30, 4, 30], "12": [4]}, indent=1))
    events = read_path(path, "mine")
    assert as_raw(events) == [
        ("7", "30", 1.0, 1),
        ("7", "4", 1.0, 2),
        ("7", "30", 1.0, 3),
        ("12", "4", 1.0, 1),
    ]
    assert events.is_order_only


def test_parquet_is_understood(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="needs the extra data")
    import pyarrow.parquet as pq

    users, items, ratings, times = zip(*QUADRUPLES, strict=True)
    frame = pa.table(
        {
            "user_id": users,
            "item_id": pa.array(items).dictionary_encode(),
            "rating": ratings,
            "date": pa.array([t * 10**6 for t in times], pa.timestamp("us", "UTC")),
            "text": ["x"] * 3,
            "event": ["view"] * 3,
        }
    )
    pq.write_table(frame, tmp_path / "x.parquet")
    events = read_path(tmp_path, "mine")
    assert as_raw(events) == QUADRUPLES
    assert "not used: 'text', 'event'" in events.notes[1]
    named = Columns(user="text", item="item_id", rating="rating")
    assert read_path(tmp_path / "x.parquet", "mine", columns=named).num_users == 1
    assert "no column 'usr' for data.user (did you mean" in refusal(
        tmp_path, columns=Columns(user="usr", item="item_id")
    )
    put(tmp_path, "y.parquet", b"PAR1 and nothing more")
    assert "cannot be read as parquet" in refusal(tmp_path / "y.parquet")


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = refusal(put(tmp_path, "x.parquet", b"PAR1xxxxPAR1"))
    assert message.endswith("parquet needs pyarrow; pip install 'fedjax-rec[data]'")


# ------------------------------------------------------------- said by the user


def test_columns_are_named_by_name_or_number(tmp_path: Path) -> None:
    text = "when;x;who;what;how\n" + "".join(f"{t};0;{u};{i};{r}\n" for u, i, r, t in QUADRUPLES)
    path = put(tmp_path, "x.csv", text)
    by_name = Columns(user="who", item="what", rating="how", time="when")
    by_number = Columns(user="3", item="4", rating="5", time="1", separator=";")
    for columns in (by_name, by_number):
        assert as_raw(read_path(path, "mine", columns=columns)) == QUADRUPLES
    path = put(tmp_path, "y.csv", text.partition("\n")[2])
    assert as_raw(read_path(path, "mine", columns=by_number)) == QUADRUPLES
    numbers = put(tmp_path, "z.csv", "1 2 1\n3 2 1\n")
    assert read_path(numbers, "mine", columns=Columns(user="1", item="2")).num_users == 2
    pairs = read_path(path, "mine", columns=Columns(user="3", item="4"))
    assert [row[2:] for row in as_raw(pairs)] == [(1.0, 0)] * 3


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"user": "wo", "item": "what"}, "no column 'wo' for data.user (did you mean 'who'?)"),
        ({"user": "who", "item": "9"}, "no column 9 for data.item: a line has 3"),
        ({"user": "who"}, "data.item: the column is missing"),
        ({"separator": "#"}, "data.separator: '#' is none; choose from tab, comma"),
        ({"user": "who", "item": "what", "time": "how"}, "line 2: timestamp 'much' is neither"),
        ({"user": "who", "item": "what", "rating": "how"}, "line 2: rating 'much' is not a finite"),
    ],
)
def test_what_is_said_of_columns_is_checked(
    tmp_path: Path, columns: dict[str, str], complaint: str
) -> None:
    path = put(tmp_path, "x.csv", "who,what,how\nann,A4,much\nbob,A4,much\n")
    assert complaint in refusal(path, columns=Columns(**columns))


def test_layouts_go_by_name(tmp_path: Path) -> None:
    path = put(tmp_path, "x.dat", "7 30 4\n12 4 30\n")
    assert read_path(path, "mine", "sequences").num_events == 4
    assert read_path(path, "mine", "selfrec").values.tolist() == [4.0, 30.0]
    with pytest.raises(UserError, match="did you mean 'sequences'"):
        read_path(path, "mine", "sequence")
    assert "a named layout says which columns" in refusal(
        path, layout="sequences", columns=Columns(user="1", item="2")
    )
    assert set(known_layouts().split(", ")) == set(READERS)


def test_what_does_not_show_is_refused_with_the_layouts(tmp_path: Path) -> None:
    message = refusal(put(tmp_path, "x.txt", "one,two,three,four,five\na,b,c,d,e\n"))
    assert "do not show which columns are users and items" in message
    assert all(name in message for name in ("--data.user", "lightgcn", "sequences", "recbole"))
    header = refusal(put(tmp_path, "y.csv", "a,b,c\n1,2,3\n4,5,6\n"))
    assert "which of the columns 'a', 'b', 'c' are users and items does not show" in header


def test_a_file_in_a_zip_is_named_behind_a_colon(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/one.csv", table())
        archive.writestr("x/two.csv", table(header="user item rating time"))
        archive.writestr("README.txt", "nothing")
    message = refusal(tmp_path)
    assert f"give {tmp_path / 'a.zip'}:x/one.csv" in message
    for member in ("one", "two"):
        events = read_path(Path(f"{tmp_path}/a.zip:x/{member}.csv"), "mine")
        assert as_raw(events) == QUADRUPLES
    assert "holds no x/three.csv; it has" in refusal(Path(f"{tmp_path}/a.zip:x/three.csv"))


@pytest.mark.parametrize(
    ("names", "separator"),
    [
        (("train.csv", "valid.csv", "test.csv"), ","),
        (("my_train.tsv", "my_dev.tsv", "my_test.tsv"), "\t"),
        (("x.train.inter", "x.valid.inter", "x.test.inter"), "\t"),
        (("train.txt", "val.txt", "test.txt"), " "),
    ],
)
@pytest.mark.parametrize("layout", ["folder", "zip", "file"])
def test_parts_are_one_data_set_and_its_split(
    tmp_path: Path, names: tuple[str, ...], separator: str, layout: str
) -> None:
    is_inter = names[0].endswith(".inter")
    header = "user_id:token item_id:token" if is_inter else "user item"
    parts = {"train": [(1, 5), (1, 6), (2, 5)], "valid": [(1, 7)], "test": [(2, 6)]}
    texts = {
        name: "\n".join(separator.join(map(str, line)) for line in [header.split(), *lines])
        for name, lines in zip(names, parts.values(), strict=True)
    }
    place = tmp_path / "a.zip" if layout == "zip" else tmp_path
    if layout == "zip":
        with zipfile.ZipFile(place, "w") as archive:
            for name, text in texts.items():
                archive.writestr(f"x/{name}", text)
    else:
        for name, text in texts.items():
            put(tmp_path, name, text)
    data = load(
        "mine",
        path=str(place / names[0] if layout == "file" else place),
        notice=lambda line: None,
    )
    assert (data.split.holdout, data.split.validation) == ("file", "file")
    labels = [*data.split.train.item_labels.tolist(), "-"]
    assert [labels[i] for i in data.split.valid.items[:, 0]] == ["7", "-"]
    assert [labels[i] for i in data.split.test.items[:, 0]] == ["-", "6"]
    assert data.split.train.num_events == 3


def test_minionerec_tells_targets_from_histories(tmp_path: Path) -> None:
    header = "user_id,history_item_title,item_title,history_item_id,item_id\n"
    put(tmp_path, "valid/x.csv", header + 'A,"[\'a, b\']",t,"[1, 2]",3\n')
    put(tmp_path, "test/x.csv", header + 'A,"[\'a, b\']",t,"[1, 2, 3]",4\n')
    events = read_path(tmp_path / "valid" / "x.csv", "mine", "minionerec")
    assert events.item_labels[events.items].tolist() == ["1", "2", "3", "4"]
    assert events.file_split is not None
    assert events.file_split.is_test.tolist() == [False] * 3 + [True]
    assert events.file_split.is_valid is not None
    assert events.file_split.is_valid.tolist() == [False, False, True, False]
    put(tmp_path, "test/x.csv", header + "A,,t,1 2,4\n")
    assert "line 2: '1 2' is no list of item ids" in refusal(
        tmp_path / "valid" / "x.csv", layout="minionerec"
    )


# ------------------------------------------------------- where times are missing


def test_without_times_the_hash_holds_out_and_that_is_said(tmp_path: Path) -> None:
    lines = "user,item\n" + "".join(f"{u},{i}\n" for u in range(3) for i in range(5))
    path = put(tmp_path, "x.csv", lines)
    notices: list[str] = []
    data = load("mine", path=str(path), notice=notices.append)
    assert (data.protocol["holdout"], data.protocol["validation"]) == ("leave_one_out_hash", "hash")
    assert notices[-1] == (
        "mine: for 3 clients the time of the latest event is unknown: held out by "
        "leave_one_out_hash, validated by hash"
    )
    with pytest.raises(UserError, match="choose holdout leave_one_out_hash"):
        load("mine", path=str(path), holdout="leave_one_out", notice=notices.append)
    with pytest.raises(UserError, match="'temporal' does not go with holdout"):
        load("mine", path=str(path), validation="temporal", notice=notices.append)


def test_where_only_validation_times_are_missing_only_that_goes_by_hash() -> None:
    from fedjax_rec.data.choices import hold_out_or_hash

    events = from_events([1] * 4, [1, 2, 3, 4], times=[0, 0, 0, 9])
    notices: list[str] = []
    split = hold_out_or_hash(events, None, None, notices.append)
    assert (split.holdout, split.validation) == ("leave_one_out", "hash")
    assert len(notices) == 1
    assert hold_out_or_hash(events, None, "none", notices.append).validation == "none"
    assert len(notices) == 1


def test_events_of_users_without_training_are_counted(tmp_path: Path) -> None:
    put(tmp_path, "train.csv", "user,item\n1,5\n1,6\n")
    put(tmp_path, "test.csv", "user,item\n1,7\n2,5\n2,6\n")
    notices: list[str] = []
    load("mine", path=str(tmp_path), notice=notices.append)
    assert "mine: 2 events of 1 users are used nowhere: all of them are held out" in notices[-1]


# ------------------------------------------------------------ on the real files


@pytest.mark.parametrize(
    ("name", "held", "valid"),
    [
        ("gowalla", 217_242, 91_047),
        ("amazon-beauty-selfrec", 80_582, 29_796),
        ("minionerec-office", 4_866, 4_866),
    ],
)
def test_known_splits_are_those_of_their_files(
    data_folder: Path, name: str, held: int, valid: int
) -> None:
    events = read(name, notice=lambda line: None)
    split = events.file_split
    assert split is not None
    assert split.is_valid is not None
    assert abs(int(split.is_test.sum()) - held) <= (name == "minionerec-office") * held
    assert int((split.is_test | split.is_valid).sum()) <= held + valid
    assert hold_out(events, "file", validation="file").holdout == "file"


def test_instruments_are_in_the_order_of_their_lists(data_folder: Path) -> None:
    events = read("letter-instruments", notice=lambda line: None)
    listed = json.loads(
        gzip.decompress((data_folder / "letter" / "Instruments.inter.json.gz").read_bytes())
    )
    assert events.is_order_only
    order = np.lexsort((events.times, events.users))
    first = int(events.user_labels[0])
    mine = events.items[order][events.users[order] == 0]
    assert events.item_labels[mine].tolist() == list(map(str, listed[str(first)]))
