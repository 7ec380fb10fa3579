"""Readers: the same rows whatever the format, and one line for every malformed file."""

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedjax_rec.data.interactions import Interactions
from fedjax_rec.data.sources import read_path
from fedjax_rec.errors import UserError

ROWS = [("7", "30", "4", "20"), ("12", "4", "5", "10"), ("7", "4", "1", "20")]
U_DATA = "".join("\t".join(row) + "\n" for row in ROWS)
U_ITEM = "4|Misérables, Les (1995)|x||\n30|Alien (1979)|x||\n"
INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + U_DATA
ITEM = "item_id:token\tmovie_title:token_seq\tclass:token_seq\n4\tMisérables, Les\t\n"


def as_raw(events: Interactions) -> list[tuple[str, str, float, int]]:
    users, items = events.user_labels[events.users], events.item_labels[events.items]
    columns = (users.tolist(), items.tolist(), events.values.tolist(), events.times.tolist())
    return list(zip(*columns, strict=True))


EXPECTED = [("7", "30", 4.0, 20), ("12", "4", 5.0, 10), ("7", "4", 1.0, 20)]


def refusal(path: Path, name: str = "mine") -> str:
    with pytest.raises(UserError) as caught:
        read_path(path, name)
    message = str(caught.value)
    assert "\n" not in message
    return message


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_u_data_reads_as_a_file_a_folder_and_a_zip(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text(U_DATA)
    (tmp_path / "u.item").write_text(U_ITEM, encoding="latin-1")
    zipped = write_zip(
        tmp_path / "ml.zip",
        {"ml/u.data": U_DATA.encode(), "ml/u.item": U_ITEM.encode("latin-1")},
    )
    for path in (tmp_path / "u.data", tmp_path, zipped):
        events = read_path(path, "mine")
        assert as_raw(events) == EXPECTED
        assert events.user_labels.tolist() == ["7", "12"], "dense ids follow numeric order"
        assert events.item_titles == ("Misérables, Les (1995)", "Alien (1979)")


def test_a_folder_with_one_zip_reads_as_the_zip(tmp_path: Path) -> None:
    write_zip(tmp_path / "any.zip", {"deep/er/u.data": U_DATA.encode()})
    events = read_path(tmp_path, "mine")
    assert as_raw(events) == EXPECTED
    assert events.item_titles is None


@pytest.mark.parametrize("packed", [False, True])
def test_recbole_files_read_as_a_file_a_folder_and_a_wheel(tmp_path: Path, packed: bool) -> None:
    ending, pack = (".gz", gzip.compress) if packed else ("", bytes)
    (tmp_path / f"mine.inter{ending}").write_bytes(pack(INTER.encode()))
    (tmp_path / f"mine.item{ending}").write_bytes(pack(ITEM.encode()))
    wheel = write_zip(
        tmp_path / "pack.whl",
        {f"p/d/mine.inter{ending}": pack(INTER.encode()), "p/d/mine.kg": b"nothing"},
    )
    for path in (tmp_path / f"mine.inter{ending}", tmp_path, wheel):
        assert as_raw(read_path(path, "mine")) == EXPECTED
    assert read_path(tmp_path, "mine").item_titles == ("Misérables, Les", "30")


def test_recbole_columns_are_found_by_name_and_optional_ones_may_lack(tmp_path: Path) -> None:
    path = tmp_path / "x.inter"
    path.write_text("item_id:token\tdwell:float\tuser_id:token\nB0x\t?\tann\nA9\t1\tbob\n")
    events = read_path(path, "x")
    assert as_raw(events) == [("ann", "B0x", 1.0, 0), ("bob", "A9", 1.0, 0)]
    assert events.item_labels.tolist() == ["A9", "B0x"]


def test_windows_line_ends_and_blank_lines_at_the_end_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "u.data"
    path.write_bytes(U_DATA.replace("\n", "\r\n").encode() + b"\r\n\n")
    assert as_raw(read_path(path, "mine")) == EXPECTED


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("1\t2\tnan\t5", "rating 'nan' is not a finite float32 number"),
        ("1\t2\t-inf\t5", "rating '-inf' is not a finite float32 number"),
        ("1\t2\t1e300\t5", "rating '1e300' is not a finite float32 number"),
        ("1\t2\tgood\t5", "rating 'good' is not a finite float32 number"),
        ("1\t2\t3\tnan", "timestamp 'nan' is not a finite float32 number"),
        ("1\t2\t3\t", "timestamp '' is not a finite float32 number"),
        ("-1\t2\t3\t5", "user id '-1' is not a whole number >= 0"),
        ("1\t-2\t3\t5", "item id '-2' is not a whole number >= 0"),
        ("1\t2.5\t3\t5", "item id '2.5' is not a whole number >= 0"),
        ("ann\t2\t3\t5", "user id 'ann' is not a whole number >= 0"),
        ("1\t2\t3", "3 tab-separated columns instead of 4 (user, item, rating, timestamp)"),
        ("1\t2\t3\t4\t5", "5 tab-separated columns instead of 4"),
        ("1,2,3,4", "1 tab-separated columns instead of 4"),
        ("", "1 tab-separated columns instead of 4"),
    ],
)
def test_a_malformed_line_of_u_data_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "u.data"
    path.write_text(f"{U_DATA}{line}\n9\t9\t1\t1\n")
    message = refusal(path)
    assert f"{path}, line 4: {complaint}" in message
    assert message.endswith("mend or remove the line")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (INTER + "1\t2\tnan\t5\n", "line 5: rating 'nan' is not a finite float32 number"),
        (INTER + "1\t2\t3\tinf\n", "line 5: timestamp 'inf' is not a finite float32 number"),
        (INTER + "\t2\t3\t5\n", "line 5: user_id '' is not an id but a missing value"),
        (INTER + "1\t2\t3\n", "line 5: 3 tab-separated columns instead of 4"),
        (U_DATA, "line 1: '7' is not a typed header"),
        ("user_id:token\tprice:float\n1\t2\n", "line 1: no column 'item_id'"),
        (INTER.splitlines()[0] + "\n", "the data set is empty"),
    ],
)
def test_a_malformed_recbole_file_is_named(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "x.inter"
    path.write_text(content)
    message = refusal(path)
    assert message.startswith(str(path))
    assert complaint in message


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_data_set_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "u.data").write_text(content)
    assert "u.data: no events: the data set is empty" in refusal(tmp_path)


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "gone.zip").startswith(f"{tmp_path / 'gone.zip'}: no such file")


def test_a_folder_or_zip_without_data_is_refused(tmp_path: Path) -> None:
    zipped = write_zip(tmp_path / "a.zip", {"readme": b"hello"})
    assert f"{zipped}: holds no data in a known format" in refusal(zipped)
    zipped.unlink()
    assert f"{tmp_path}: holds no data in a known format" in refusal(tmp_path)


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_truncated_zip_is_refused(tmp_path: Path, keep: float) -> None:
    path = write_zip(tmp_path / "a.zip", {"ml/u.data": U_DATA.encode() * 100})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if keep < 1 else int(keep)])
    assert "cut short or damaged; delete it and get it again" in refusal(path)


def test_a_zip_with_a_damaged_member_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"ml/u.data": U_DATA.encode() * 100})
    content = bytearray(path.read_bytes())
    content[60:70] = bytes(10)
    path.write_bytes(content)
    message = refusal(path)
    assert f"{path}:ml/u.data: cannot be read" in message


def test_a_truncated_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.inter.gz"
    path.write_bytes(gzip.compress(INTER.encode() * 50)[:-20])
    assert f"{path}: cannot be read" in refusal(path)


def test_times_in_milliseconds_are_read_and_said(tmp_path: Path) -> None:
    path = tmp_path / "u.data"
    path.write_text("1\t2\t3\t1000000000999\n1\t3\t3\t1500000000000\n")
    events = read_path(path, "mine")
    assert events.times.tolist() == [1_000_000_000, 1_500_000_000]
    assert events.notes == (f"{path}: times are milliseconds",)


def test_zip_and_recbole_copy_of_ml_100k_are_row_for_row_equal(
    data_folder: Path, ml_100k_folder: Path
) -> None:
    other = data_folder / "ml-100k-recbole"
    if not other.is_dir():
        pytest.skip(f"needs real data: no {other.name} in {data_folder}")
    zipped, atomic = read_path(ml_100k_folder, "ml-100k"), read_path(other, "ml-100k")
    assert zipped.num_events == atomic.num_events == 100_000
    for field in ("users", "items", "values", "times", "user_labels", "item_labels"):
        np.testing.assert_array_equal(getattr(zipped, field), getattr(atomic, field))
    assert zipped.item_titles is not None
    assert zipped.item_titles[0] == "Toy Story (1995)"
    assert atomic.item_titles is not None
    assert atomic.item_titles[0] == "Toy Story"


def test_a_line_more_takes_one_call_more_at_most(
    tmp_path: Path, count_calls: Callable[..., int]
) -> None:
    calls = []
    for num_lines in (10_000, 100_000):
        numbers = np.random.default_rng(0).integers(1, 1000, (num_lines, 4))
        path = tmp_path / f"{num_lines}" / "u.data"
        path.parent.mkdir()
        path.write_text("\n".join("\t".join(map(str, row)) for row in numbers.tolist()))
        assert read_path(path, "mine").num_events == num_lines
        calls.append(count_calls(lambda path=path: read_path(path, "mine")))
    few, many = calls
    assert many - few <= 90_000
