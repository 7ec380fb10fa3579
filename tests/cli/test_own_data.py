"""Sixty files as people have them: the right data, or one line and exit code 2."""

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from fedjax_rec.cli import main

QUIET = ("FEDJAX_REC_CPU", "off")
ROWS = [
    (user, item, 1 + (user + item) % 5, 1_600_000_000 + 1000 * item)
    for user in (1, 2, 3)
    for item in (1, 2, 3, 4)
]


def lines(separator: str = ",", rows: Sequence[tuple[object, ...]] = ROWS, end: str = "\n") -> str:
    return "".join(separator.join(map(str, row)) + end for row in rows)


def with_row(number: int, *row: object) -> list[tuple[object, ...]]:
    changed: list[tuple[object, ...]] = list(ROWS)
    changed[number] = row
    return changed


def swapped(make: object) -> list[tuple[object, ...]]:
    return [make(*row) for row in ROWS]  # type: ignore[operator]


H = "user_id,item_id,rating,timestamp\n"
RIGHT: Mapping[str, bytes | str] = {
    "quadruples.csv": lines(),
    "header.csv": H + lines(),
    "header_upper.csv": H.upper() + lines(),
    "semicolon.csv": H.replace(",", ";") + lines(";"),
    "tabs.tsv": H.replace(",", "\t") + lines("\t"),
    "pipes.txt": lines("|"),
    "colons.dat": lines("::"),
    "blanks.txt": lines(" "),
    "many_blanks.txt": lines("   "),
    "bom.csv": "\ufeff" + H + lines(),
    "bom_quadruples.csv": "\ufeff" + lines(),
    "crlf.csv": (H + lines()).replace("\n", "\r\n"),
    "old_mac.csv": (H + lines()).replace("\n", "\r"),
    "no_last_newline.csv": (H + lines()).rstrip("\n"),
    "blank_lines.csv": H + lines(end="\n\n"),
    "blank_lines_at_end.csv": H + lines() + "\n\n \n",
    "comments.csv": "# made by hand\n" + H + "# and so on\n" + lines(),
    "quoted.csv": '"user_id","item_id","rating","timestamp"\n'
    + lines(rows=swapped(lambda u, i, r, t: (f'"{u}"', f'"{i}"', r, t))),
    "quoted_half.csv": H + lines(rows=with_row(1, '"1"', '"2"', 4, 1_600_002_000)),
    "quoted_comma.csv": "user_id,title,item_id,rating,timestamp\n"
    + lines(rows=swapped(lambda u, i, r, t: (u, '"a, b"', i, r, t))),
    "quoted_newline.csv": "user_id,text,item_id,rating,timestamp\n"
    + lines(rows=swapped(lambda u, i, r, t: (u, '"a\nb"', i, r, t))),
    "trailing_separator.csv": (H + lines()).replace("\n", ",\n"),
    "trailing_tabs.tsv": lines("\t", end="\t\n"),
    "blanks_around.csv": H + lines(" , "),
    "index_column.csv": "," + H + "".join(f"{n},{x}\n" for n, x in enumerate(lines().split())),
    "milliseconds.csv": H + lines(rows=swapped(lambda u, i, r, t: (u, i, r, t * 1000))),
    "microseconds.csv": H + lines(rows=swapped(lambda u, i, r, t: (u, i, r, t * 10**6))),
    "fractions.csv": H + lines(rows=swapped(lambda u, i, r, t: (u, i, r, f"{t}.25"))),
    "iso.csv": H + lines(rows=swapped(lambda u, i, r, t: (u, i, r, f"2020-09-{i:02d}T10:00:00Z"))),
    "days.csv": H + lines(rows=swapped(lambda u, i, r, t: (u, i, r, f"2020-09-{i:02d}"))),
    "compact.csv": H + lines(rows=swapped(lambda u, i, r, t: (u, i, r, f"202009{i:02d}"))),
    "german.csv": H + lines(rows=swapped(lambda u, i, r, t: (u, i, r, f"{i:02d}.09.2020"))),
    "american.csv": H + lines(rows=swapped(lambda u, i, r, t: (u, i, r, f"9/{i + 12}/2020"))),
    "text_ids.csv": H + lines(rows=swapped(lambda u, i, r, t: (f"u{u}", f"Bö{i}", r, t))),
    "negative_ids.csv": H + lines(rows=swapped(lambda u, i, r, t: (-u, -i, r, t))),
    "64_bit_ids.csv": H + lines(rows=swapped(lambda u, i, r, t: (2**63 - u, 2**62 + i, r, t))),
    "padded_ids.csv": H + lines(rows=swapped(lambda u, i, r, t: (f"00{u}", i, r, t))),
    "half_stars.csv": H + lines(rows=swapped(lambda u, i, r, t: (u, i, r / 2, t))),
    "exponents.csv": H + lines(rows=swapped(lambda u, i, r, t: (u, i, f"{r}e0", t))),
    "other_order.csv": "timestamp,item_id,user_id,rating\n"
    + lines(rows=swapped(lambda u, i, r, t: (t, i, u, r))),
    "amazon.jsonl": "".join(
        f'{{"reviewerID": "A{u}", "asin": "B{i}", "overall": {r}.0, "unixReviewTime": {t}}}\n'
        for u, i, r, t in ROWS
    ),
    "kinds_of_events.csv": "timestamp,visitorid,event,itemid\n"
    + lines(rows=swapped(lambda u, i, r, t: (t, u, ("view", "buy")[r % 2], i))),
    "sessions.csv": "session_id,item_id,timestamp\n"
    + lines(rows=swapped(lambda u, i, r, t: (u, i, t))),
    "shop.csv": "InvoiceNo,StockCode,Quantity,InvoiceDate,CustomerID\n"
    + lines(rows=swapped(lambda u, i, r, t: (7, i, r, f"2020-09-{i:02d} 10:00", u))),
    "kinds_of_events.jsonl": "".join(
        f'{{"user": {u}, "item": {i}, "event": "{("view", "buy")[r % 2]}"}}\n'
        for u, i, r, _ in ROWS
    ),
    "crlf.jsonl": "".join(f'{{"user": {u}, "item": {i}}}\r\n' for u, i, *_ in ROWS),
    "lists.json": '{"1": [1, 2, 3, 4], "2": [1, 2, 3, 4], "3": [1, 2, 3, 4]}',
    "sequences.txt": "1 1 2 3 4\n2 4 3 2 1\n3 1 2 3 4\n\n".replace("2 4 3 2 1", "2 4 3 2 1 1"),
    "packed.csv.gz": gzip.compress((H + lines()).encode()),
    "latin1_title.csv": (
        "user_id,item_id,title\n" + lines(rows=swapped(lambda u, i, r, t: (u, i, "Café")))
    ).encode("latin-1"),
}
"""Twelve events of three people, as all of these say (`sequences` has one more)."""

WRONG: Mapping[str, tuple[bytes | str, str]] = {
    "empty.csv": ("", "no events: the data set is empty"),
    "header_only.csv": (H, "no events: the data set is empty"),
    "comments_only.csv": ("# nothing\n# at all\n", "no events: the data set is empty"),
    "missing_user.csv": (H + lines(rows=with_row(2, "", 3, 4, 5)), "line 4: user id '' is not an"),
    "missing_item.csv": (H + lines(rows=with_row(2, 1, "NA", 4, 5)), "line 4: item id 'NA' is"),
    "missing_rating.csv": (H + lines(rows=with_row(2, 1, 3, "NA", 5)), "line 4: rating 'NA'"),
    "missing_time.csv": (H + lines(rows=with_row(2, 1, 3, 4, "")), "line 4: timestamp ''"),
    "short_line.csv": (H + lines(rows=with_row(2, 1, 3)), "line 4: 2 comma-separated columns"),
    "long_line.csv": (H + lines(rows=with_row(2, 1, 3, 4, 5, 6)), "line 4: 5 comma-separated"),
    "open_quote.csv": (H + lines(rows=with_row(2, '"1', 3, 4, 5)), "a quote is not closed"),
    "two_spellings.csv": (H + lines(rows=with_row(2, "01", 3, 4, 5)), "'01' and '1' are one"),
    "unknown_header.csv": ("a,b,c\n" + lines(rows=[r[:3] for r in ROWS]), "does not show; say"),
    "two_users.csv": ("user,user,item\n" + lines(rows=[r[:3] for r in ROWS]), "2 columns are"),
    "alike_users.csv": ("user_id,userId,item\n1,2,3\n", "may both be the user; say which"),
    "words.txt": ("to be or not to be, that is\nthe question: whether\n", "line 2: 1 comma-sep"),
    "binary.dat": (bytes(range(256)) * 4, "is no text; give a table"),
    "utf16.csv": ((H + lines()).encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
    "cut.csv.gz": (gzip.compress((H + lines()).encode() * 99)[:-9], "cut short or damaged"),
    "no_gzip.csv.gz": (H + lines(), "cut short or damaged"),
    "list.json": ('[{"user": 1, "item": 2}]', "is a JSON list; write one object a line"),
    "broken.jsonl": ('{"user": 1, "item": 2}\n{"user": 1,\n', "line 2: is no JSON"),
    "lacking.jsonl": ('{"user": 1, "item": 2}\n{"user": 1}\n', "line 2: no field 'item'"),
    "null.jsonl": ('{"user": 1, "item": 2}\n{"user": null, "item": 2}\n', "line 2: user id None"),
    "float.jsonl": ('{"user": 1, "item": 2}\n{"user": true, "item": 2}\n', "line 2: user id True"),
    "ambiguous_dates.csv": (
        H + lines(rows=swapped(lambda u, i, r, t: (u, i, r, f"0{i}/05/2020"))),
        "may be day/month/year or month/day/year",
    ),
    "mixed_units.csv": (
        H + lines(rows=with_row(2, 1, 3, 4, 1_600_002_000_000)),
        "is in a coarser unit than the milliseconds of others",
    ),
    "infinite.csv": (H + lines(rows=with_row(2, 1, 3, "inf", 5)), "line 4: rating 'inf'"),
    "not_utf8.csv": ((H + lines()).encode() + b"\xff,2,3,4\n", "is not UTF-8 text; save the file"),
    "long_id.csv": (H + lines(rows=with_row(2, "x" * 300, 3, 4, 5)), "line 4: user id 'xxxx"),
    "decimal_comma.csv": (
        H.replace(",", ";") + lines(";", rows=with_row(2, 1, 3, "4,5", 5)),
        "line 4: rating '4,5' is not a finite float32 number; write a decimal point",
    ),
    "late_rating.jsonl": (
        '{"user": 1, "item": 2}\n{"user": 1, "item": 3, "rating": 4}\n',
        "line 1: no field 'rating' for data.rating",
    ),
    "page.csv": ("\n<!DOCTYPE html><html><body>404</body></html>\n", "is a page of HTML or XML"),
    "page.csv.gz": (gzip.compress(b"<HTML>\n<body>a b</body>\n"), "is a page of HTML or XML"),
    "pointer.csv": (
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 12345\n",
        "is a pointer of Git LFS; get the file itself",
    ),
}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(*QUIET)


def described(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, list[str]]:
    code = main(["data", "describe", str(path)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err.splitlines()


def test_there_are_sixty_inputs() -> None:
    assert len(RIGHT) + len(WRONG) >= 60


@pytest.mark.parametrize("name", RIGHT)
def test_the_right_data_are_read(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = RIGHT[name]
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    code, out, notes = described(path, capsys)
    assert code == 0, notes
    rows = [list(map(str.strip, row.split("│")[1:3])) for row in out.splitlines() if "│" in row]
    facts = {key: value for key, value in rows if key}
    extra = int(name == "sequences.txt")
    assert (facts["users"], facts["items"], facts["events"]) == ("3", "4", str(12 + extra))
    assert all(str(path) in note for note in notes)


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_in_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, complaint = WRONG[name]
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    code, _, errors = described(path, capsys)
    assert code == 2
    assert len(errors) == 1
    assert complaint in errors[0]
    assert str(path) in errors[0]


def test_a_csv_of_ones_own_trains_evaluates_and_recommends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        (f"2021-01-{1 + n:02d}", f"person {u}", f"film {(7 * u + n * n) % 23}", 1 + n % 5)
        for u in range(12)
        for n in range(9)
    ]
    path = tmp_path / "my.csv"
    path.write_text("t,u,i,r\n" + lines(rows=rows))
    run = str(tmp_path / "run")
    words = ["run", "ml-100k/fedmf", "--data.path", str(path), "--data.user", "u", "--data.item"]
    words += ["i", "--data.rating", "r", "--data.time", "t", "--rounds", "2", "--output", run]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert f"{path}: comma-separated table with a header: user 'u', item 'i'" in captured.err
    assert "holdout leave_one_out" in captured.out
    assert main(["recommend", run, "--client", "person 3", "--k", "3"]) == 0
    assert "film " in capsys.readouterr().out
