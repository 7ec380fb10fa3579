"""No file and no column is passed over in silence."""

import zipfile
from pathlib import Path

import pytest

from fedjax_rec.data import client_data, from_events, hold_out, load
from fedjax_rec.data.sources import holds_data, read_path
from fedjax_rec.errors import UserError

HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
INTER = HEADER + "1\t5\t4\t20\n2\t6\t3\t21\n"
LINES = "1\t5\t1\n1\t6\t1\n2\t5\t1\n"
RATINGS = "1\t5\t1\t0\n1\t6\t1\t0\n2\t5\t1\t0\n"


def refusal(path: Path, name: str = "mine") -> str:
    with pytest.raises(UserError) as caught:
        read_path(path, name)
    message = str(caught.value)
    assert "\n" not in message
    return message


def put(folder: Path, **contents: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in contents.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


@pytest.mark.parametrize("layout", ["folder", "zip"])
@pytest.mark.parametrize(
    "names",
    [
        ["clicks.inter", "orders.inter"],
        ["u.data", "x.inter"],
        ["a.train.rating", "b.train.rating"],
        ["ratings.csv", "ratings.dat"],
        ["u.data", "u.data.gz"],
    ],
)
def test_several_main_files_are_refused_by_name(
    tmp_path: Path, layout: str, names: list[str]
) -> None:
    place = tmp_path
    if layout == "zip":
        place = tmp_path / "a.zip"
        with zipfile.ZipFile(place, "w") as archive:
            for name in names:
                archive.writestr(f"x/{name}", INTER)
    else:
        for name in names:
            (tmp_path / name).write_text(INTER)
    message = refusal(place)
    assert all(name in message for name in names)
    assert "not read together" in message


def test_the_same_file_in_two_folders_of_a_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for folder in ("train", "test"):
            archive.writestr(f"{folder}/u.data", RATINGS)
    assert "test/u.data, train/u.data, which are not read" in refusal(tmp_path / "a.zip")


def test_the_file_of_the_data_sets_own_name_is_the_one_that_is_asked_for(tmp_path: Path) -> None:
    put(tmp_path, clicks__inter=INTER, orders__inter=HEADER + "1\t5\t4\t20\n")
    assert read_path(tmp_path, "clicks").num_events == 2
    assert read_path(tmp_path, "orders").num_events == 1
    assert read_path(tmp_path / "orders.inter", "mine").num_events == 1


def test_parts_beside_the_whole_are_refused(tmp_path: Path) -> None:
    put(tmp_path, mine__inter=INTER, mine__test__inter=INTER)
    assert "mine.test.inter would be left out beside mine.inter" in refusal(tmp_path)


def test_several_archives_are_refused(tmp_path: Path) -> None:
    for name in "ab":
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr("u.data", RATINGS)
    assert "holds a.zip, b.zip; give the path of one" in refusal(tmp_path)


def test_what_macos_puts_beside_files_is_no_data(tmp_path: Path) -> None:
    put(tmp_path / "a", events__inter=INTER)
    (tmp_path / "a" / "._events.inter").write_bytes(b"\0\5\x16\7")
    assert read_path(tmp_path / "a", "mine").num_events == 2
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("__MACOSX/events.inter", "\0")
        archive.writestr("__MACOSX/._events.inter", "\0")
        archive.writestr("events.inter", INTER)
    assert read_path(tmp_path / "a.zip", "mine").num_events == 2
    put(tmp_path / "b")
    (tmp_path / "b" / "._u.data").write_text("\0")
    assert not holds_data(tmp_path / "b")


@pytest.mark.parametrize("name", ["valid.txt", "val.txt", "dev.txt"])
def test_validation_events_beside_train_and_test_are_not_dropped(tmp_path: Path, name: str) -> None:
    put(tmp_path, train__txt=LINES, test__txt="2\t6\t1\n")
    assert read_path(tmp_path, "mine").num_events == 4
    (tmp_path / name).write_text("1\t7\t1\n")
    for path in (tmp_path, tmp_path / "train.txt"):
        events = read_path(path, "mine")
        assert events.num_events == 5
        split = hold_out(events, "file", validation="file")
        labels = [*events.item_labels.tolist(), "-"]
        assert [[labels[i] for i in row] for row in split.valid.items] == [["7"], ["-"]]
        assert [[labels[i] for i in row] for row in split.test.items] == [["-"], ["6"]]
        assert split.train.num_events == 3
        returned = hold_out(events, "file", validation="none")
        assert returned.train.num_events == 4, (
            "validation events are trained on where none is asked"
        )


def test_parts_of_a_table_are_one_data_set_with_its_split(tmp_path: Path) -> None:
    put(tmp_path, mine__train__inter=INTER, mine__test__inter=HEADER + "1\t7\t4\t30\n")
    events = read_path(tmp_path, "mine")
    assert events.num_events == 3
    assert events.file_split is not None
    assert events.file_split.is_test.tolist() == [False, False, True]
    assert events.file_split.is_valid is None
    with pytest.raises(UserError, match="validation 'file' needs a file of validation events"):
        hold_out(events, "file", validation="file")


def test_validation_ratings_beside_train_and_test_are_not_dropped(tmp_path: Path) -> None:
    put(tmp_path, x__train__rating=RATINGS, x__test__rating="2\t6\t1\t0\n")
    assert read_path(tmp_path, "mine").num_events == 4
    put(tmp_path, x__valid__rating="1\t7\t1\t0\n")
    assert "x.valid.rating: would be left out" in refusal(tmp_path)


@pytest.mark.parametrize(
    "twice", ["rating:float", "rating:token", "user_id:token", " rating:float"]
)
def test_two_columns_of_one_name_are_refused(tmp_path: Path, twice: str) -> None:
    text = INTER.replace("\n", "\t9\n").replace("timestamp:float\t9", f"timestamp:float\t{twice}")
    put(tmp_path, x__inter=text)
    name = twice.strip().partition(":")[0]
    assert f"line 1: 2 columns are called '{name}'" in refusal(tmp_path)


def test_two_columns_of_one_name_in_a_listing_of_items_are_refused(tmp_path: Path) -> None:
    put(
        tmp_path,
        x__inter=INTER,
        x__item="item_id:token\ttitle:token\ttitle:token_seq\n5\tAir\tWater\n",
    )
    assert "x.item, line 1: 2 columns are called 'title'" in refusal(tmp_path)


# ------------------------------------------------------ of one item, of one client


def test_a_catalogue_of_one_item_is_refused(tmp_path: Path) -> None:
    put(tmp_path, u__data="".join(f"{user}\t5\t1\t{user + 1}\n" for user in range(6)))
    with pytest.raises(UserError, match="mine: its catalogue is one item") as caught:
        load("mine", path=str(tmp_path), notice=lambda line: None)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="its catalogue is one item"):
        client_data(hold_out(from_events([1, 2], [5, 5], times=[1, 2])))


def test_a_single_client_loads(tmp_path: Path) -> None:
    put(tmp_path, u__data="".join(f"7\t{item}\t1\t{item + 1}\n" for item in range(6)))
    data = load("mine", path=str(tmp_path), notice=lambda line: None)
    assert (data.num_clients, data.num_items, data.split.train.num_events) == (1, 6, 4)
