"""The other formats: what each reader finds, chosen by looking, and every malformed file."""

import gzip
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from fedjax_rec.data import describe, hold_out
from fedjax_rec.data.interactions import Interactions
from fedjax_rec.data.sources import holds_data, read_path
from fedjax_rec.errors import UserError

Contents = Mapping[str, bytes]

MOVIES = "4::Misérables, Les (1995)::Drama\n30::Alien\x85 (1979)::Sci-Fi\n9::X::Y\n"
DAT: Contents = {
    "ratings.dat": b"7::30::4::20\n12::4::5::0\n7::4::1::20\n",
    "movies.dat": MOVIES.encode("latin-1"),
}
CSV: Contents = {
    "ratings.csv": b"userId,movieId,rating,timestamp\n7,30,4.0,20\n12,4,5.0,0\n7,4,1.0,20\n",
    "movies.csv": 'movieId,title,genres\n4,"Misérables, Les (1995)",Drama\n'
    '30,"The ""Alien"", (1979)",A|B\n9,X,Y\n'.encode(),
}
COMMA: Contents = {"ratings.dat": b"A7,B30,4.0,20\r\nA12,B4,5.0,0\r\nA7,B4,1.0,20\r\n"}
HETREC: Contents = {
    "user_artists.dat": b"7\t30\t4\r\n12\t4  \t5\r\n7\t4\t1\r\n",
    "artists.dat": "id\tname\turl\tpictureURL\n4\t山下智久\thttp://a\thttp://b\n30\tAir\t\t\n".encode(),
}
NCF: Contents = {
    "x.train.rating": b"7\t30\t4\t20\n12\t4\t5\t0\n7\t4\t1\t20\n",
    "x.test.rating": b"7\t5\t3\t21\n12\t30\t2\t9\n",
    "x.test.negative": b"(7,5)\t6\t5\t8\n(12,30)\t5\t6\n",
}
DISENCDR: Contents = {
    "train.txt": b"7\t30\t1\n12\t4\t1\n7\t4\t1\n",
    "test.txt": b"12\t30\t1\n",
    "test_original.txt": b"12\t30\t1\n7\t99\t1\n",
}
FORMATS = {
    "dat": DAT,
    "csv": CSV,
    "comma": COMMA,
    "hetrec": HETREC,
    "ncf": NCF,
    "disencdr": DISENCDR,
}


def put(folder: Path, contents: Contents, **changes: bytes | None) -> Path:
    """Writes files, some changed (`ratings_dat=...`) or left out (`None`); returns the first."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        changed = changes.get(name.replace(".", "_"), content)
        if changed is not None:
            (folder / name).write_bytes(changed)
    return folder / next(iter(contents))


def as_raw(events: Interactions) -> list[tuple[str, str, float, int]]:
    users, items = events.user_labels[events.users], events.item_labels[events.items]
    columns = (users.tolist(), items.tolist(), events.values.tolist(), events.times.tolist())
    return list(zip(*columns, strict=True))


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_path(path, "mine")
    message = str(caught.value)
    assert "\n" not in message
    return message


EXPECTED = {
    "dat": [("7", "30", 4.0, 20), ("12", "4", 5.0, 0), ("7", "4", 1.0, 20)],
    "comma": [("A7", "B30", 4.0, 20), ("A12", "B4", 5.0, 0), ("A7", "B4", 1.0, 20)],
    "hetrec": [("7", "30", 4.0, 0), ("12", "4", 5.0, 0), ("7", "4", 1.0, 0)],
    "disencdr": [
        ("7", "30", 1.0, 0),
        ("12", "4", 1.0, 0),
        ("7", "4", 1.0, 0),
        ("12", "30", 1.0, 0),
    ],
}
EXPECTED["csv"] = EXPECTED["dat"]
EXPECTED["ncf"] = [*EXPECTED["dat"], ("7", "5", 3.0, 21), ("12", "30", 2.0, 9)]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("layout", ["file", "folder", "packed", "packed file", "zip", "zip inside"])
def test_every_format_reads_from_every_place(tmp_path: Path, form: str, layout: str) -> None:
    contents, place = FORMATS[form], tmp_path
    if "packed" in layout:
        contents = {f"{name}.gz": gzip.compress(text) for name, text in contents.items()}
    if "zip" in layout:
        place = tmp_path / "a.zip"
        with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in contents.items():
                archive.writestr(f"deep/er/{name}", text)
        place = tmp_path if layout == "zip inside" else place
    else:
        first = put(tmp_path, contents)
        assert holds_data(tmp_path)
        place = first if "file" in layout else tmp_path
    assert as_raw(read_path(place, "mine")) == EXPECTED[form]


@pytest.mark.parametrize("form", ["dat", "csv", "comma"])
def test_a_file_of_any_name_is_read_by_its_first_line(tmp_path: Path, form: str) -> None:
    path = tmp_path / "half.of.it"
    path.write_bytes(next(iter(FORMATS[form].values())))
    assert as_raw(read_path(path, "mine")) == EXPECTED[form]


def test_titles_come_from_the_listing_in_its_own_encoding(tmp_path: Path) -> None:
    titles = {form: read_path(put(tmp_path / form, FORMATS[form]), form) for form in FORMATS}
    assert titles["dat"].item_titles == ("Misérables, Les (1995)", "Alien\x85 (1979)")
    assert titles["csv"].item_titles == ("Misérables, Les (1995)", 'The "Alien", (1979)')
    assert titles["hetrec"].item_titles == ("山下智久", "Air")
    assert titles["comma"].item_titles is titles["ncf"].item_titles is None
    for form, listing in (("dat", "movies_dat"), ("csv", "movies_csv"), ("hetrec", "artists_dat")):
        path = put(tmp_path / f"{form} alone", FORMATS[form], **{listing: None})
        assert read_path(path, form).item_titles is None


def test_the_header_of_hetrec_is_passed_over_only_where_there_is_one(tmp_path: Path) -> None:
    with_header = b"userID\tartistID\tweight\r\n" + HETREC["user_artists.dat"]
    path = put(tmp_path, HETREC, user_artists_dat=with_header)
    assert as_raw(read_path(path, "mine")) == EXPECTED["hetrec"]
    path.write_bytes(with_header + b"1\tx\t2\r\n")
    assert "line 5: artist id 'x' is not a whole number >= 0" in refusal(path)


def test_the_header_of_a_csv_may_be_in_any_case(tmp_path: Path) -> None:
    path = put(tmp_path, CSV, ratings_csv=CSV["ratings.csv"].lower().replace(b"\n", b"\r\n"))
    assert as_raw(read_path(path, "mine")) == EXPECTED["csv"]


def test_ncf_gives_a_hold_out_and_candidates_without_the_item_itself(tmp_path: Path) -> None:
    events = read_path(put(tmp_path, NCF), "mine")
    assert events.item_labels.tolist() == ["4", "5", "6", "8", "30"], "candidates are items too"
    split = hold_out(events, "file", validation="none")
    labels = np.append(split.train.item_labels, "-")
    assert labels[split.test.items].tolist() == [["5"], ["30"]]
    assert split.candidates is not None
    assert labels[split.candidates["test"]].tolist() == [
        ["5", "6", "8", "-"],
        ["30", "5", "6", "-"],
    ]
    assert split.train.num_events == 3
    alone = read_path(put(tmp_path / "alone", NCF, x_test_negative=None), "mine")
    assert hold_out(alone, "file", validation="none").candidates is None


def test_disencdr_holds_out_what_test_txt_says(tmp_path: Path) -> None:
    events = read_path(put(tmp_path, DISENCDR), "mine")
    assert events.item_labels.tolist() == ["4", "30", "99"], "the catalogue has the cold item"
    split = hold_out(events, "file", validation="none")
    assert split.test.items.tolist() == [[3], [1]]
    alone = read_path(put(tmp_path / "alone", DISENCDR, test_original_txt=None), "mine")
    assert alone.num_items == 2


LINES = {
    "dat": ("ratings_dat", b"%s::%s::%s::%s\n", 4, "user id", "item id", "rating", "timestamp"),
    "csv": ("ratings_csv", b"%s,%s,%s,%s\n", 5, "user id", "item id", "rating", "timestamp"),
    "comma": ("ratings_dat", b"%s,%s,%s,%s\n", 4, "user id", "item id", "rating", "timestamp"),
    "ncf": ("x_train_rating", b"%s\t%s\t%s\t%s\n", 4, "user id", "item id", "rating", "timestamp"),
    "hetrec": ("user_artists_dat", b"%s\t%s\t%s\n", 4, "user id", "artist id", "listening count"),
    "disencdr": ("train_txt", b"%s\t%s\t%s\n", 4, "user id", "item id", "value"),
}


@pytest.mark.parametrize(
    ("form", "place"), [(form, place) for form in LINES for place in range(len(LINES[form]) - 3)]
)
def test_a_malformed_field_is_named_by_file_and_line(tmp_path: Path, form: str, place: int) -> None:
    key, pattern, number, *fields = LINES[form]
    values = [b"7", b"4", b"1", b"1"][: len(fields)]
    values[place] = b"\xff" if place < 2 else b"nan"
    name = next(iter(FORMATS[form]))
    path = put(tmp_path, FORMATS[form], **{key: FORMATS[form][name] + pattern % tuple(values)})
    message = refusal(path)
    assert message.startswith(f"{path}, line {number}: {fields[place]} ")
    is_text = "not UTF-8 text" in message
    assert message.endswith("save the file as UTF-8" if is_text else "mend or remove the line")


@pytest.mark.parametrize("form", LINES)
@pytest.mark.parametrize("line", [b"7", b"7\t4\t1\t1\t1", b"7,4,1,1,1", b"7::4::1::1::1", b""])
def test_a_line_with_other_columns_is_named(tmp_path: Path, form: str, line: bytes) -> None:
    key, pattern, number, *fields = LINES[form]
    name = next(iter(FORMATS[form]))
    last = pattern % tuple([b"7", b"4", b"1", b"1"][: len(fields)])
    path = put(tmp_path, FORMATS[form], **{key: FORMATS[form][name] + line + b"\n" + last})
    message = refusal(path)
    assert message.startswith(f"{path}, line {number}: ")
    assert f"-separated columns instead of {len(fields)} (user, " in message


@pytest.mark.parametrize("form", FORMATS)
def test_cut_gzips_and_empty_files_are_told(tmp_path: Path, form: str) -> None:
    name, content = next(iter(FORMATS[form].items()))
    packed = {f"{n}.gz": gzip.compress(text * 1000) for n, text in FORMATS[form].items()}
    whole = packed[f"{name}.gz"]
    packed[f"{name}.gz"] = whole[:-12]
    assert "cut short or damaged" in refusal(put(tmp_path / "cut", packed))
    packed[f"{name}.gz"] = whole[:12]
    assert "cut short or damaged" in refusal(put(tmp_path / "cut early", packed))
    header = content.partition(b"\n")[0] + b"\n" if form == "csv" else b""
    path = put(tmp_path / "empty", {**FORMATS[form], name: header})
    assert "no events: the data set is empty" in refusal(path)


@pytest.mark.parametrize(
    ("contents", "changes", "complaint"),
    [
        (NCF, {"x_test_rating": None}, "x.train.rating: no x.test.rating beside it; put it there"),
        (DISENCDR, {"test_txt": None}, "train.txt: no test.txt beside it; put it there"),
        (DISENCDR, {"test_txt": b"1\t2\t1\n1\n"}, "test.txt, line 2: 1 tab-separated columns"),
        (
            DISENCDR,
            {"test_original_txt": b"1\tx\t1\n"},
            "test_original.txt, line 1: item id 'x' is",
        ),
        (NCF, {"x_test_rating": b"1\t2\t3\n"}, "x.test.rating, line 1: 3 tab-separated columns"),
        (NCF, {"x_test_negative": b"7,5\t3\n"}, "line 1: '7,5' is not the (user,item) of a test"),
        (NCF, {"x_test_negative": b"(7,5)\t3\n(7,4)\t3\n"}, "line 2: '(7,4)' is not the (user,i"),
        (NCF, {"x_test_negative": b"(7,5)\t3\tx\n"}, "line 1: a candidate is not a whole number"),
    ],
)
def test_what_belongs_to_one_format_is_checked(
    tmp_path: Path, contents: Contents, changes: dict[str, bytes | None], complaint: str
) -> None:
    assert complaint in refusal(put(tmp_path, contents, **changes))


def test_a_ratings_csv_without_its_header_loses_no_line(tmp_path: Path) -> None:
    path = put(tmp_path, CSV, ratings_csv=CSV["ratings.csv"].partition(b"\n")[2])
    events = read_path(path, "mine")
    assert as_raw(events) == EXPECTED["csv"]
    assert "comma-separated table without a header" in events.notes[0]


# ------------------------------------------------------------ on the real files


@pytest.fixture
def folder(data_folder: Path, request: pytest.FixtureRequest) -> Path:
    found: Path = data_folder / request.param
    if not found.is_dir():
        pytest.skip(f"needs real data: no {request.param} in {data_folder}")
    return found


@pytest.mark.parametrize("folder", ["ml-1m"], indirect=True)
def test_ml_1m_has_the_published_ratings_and_its_unknown_times(folder: Path) -> None:
    events = read_path(folder, "ml-1m")
    assert (events.num_users, events.num_items, events.num_events) == (6040, 3706, 1_000_209)
    stars = np.bincount(events.values.astype(int))[1:].tolist()
    assert stars == [56174, 107557, 261197, 348971, 226310]
    assert int((events.times == 0).sum()) == 509_518
    assert events.item_titles is not None
    assert "Misérables, Les (1995)" in events.item_titles
    listed = gzip.decompress((folder / "movies.dat.gz").read_bytes())
    assert len(listed.splitlines()) == 3883, "more films are listed than rated"
    assert describe(events)["first_time"] > 0

    split = hold_out(events, validation="hash")
    assert (split.test.items < events.num_items).all()
    with pytest.raises(UserError, match="for 3041 clients the time of the validation event is un"):
        hold_out(events)
    with pytest.raises(UserError, match="509518 of 1000209 have none"):
        hold_out(events, "temporal", validation="none")


@pytest.mark.parametrize("folder", ["ml-1m"], indirect=True)
def test_the_first_half_of_ml_1m_has_all_its_times(folder: Path) -> None:
    events = read_path(folder / "ratings.users1-2999.dat.gz", "ml-1m-first-half")
    assert (events.num_users, events.num_items, events.num_events) == (2999, 3615, 487_650)
    assert events.item_titles is not None
    split = hold_out(events, "temporal", validation="temporal")
    assert abs((split.test.items < events.num_items).sum() / events.num_events - 0.1) < 0.1
    hold_out(events)


@pytest.mark.parametrize("folder", ["ncf-ml-1m"], indirect=True)
def test_ncf_ml_1m_has_the_test_item_among_156_users_own_candidates(folder: Path) -> None:
    events = read_path(folder, "ncf-ml-1m")
    assert events.file_split is not None
    assert events.file_split.candidates is not None
    assert events.file_split.candidates.shape == (6040, 99)
    test = np.flatnonzero(events.file_split.is_test)
    own = np.empty((6040, 1), np.int32)
    own[events.users[test], 0] = events.items[test]
    assert int((events.file_split.candidates == own).any(axis=1).sum()) == 156
    assert len(np.unique(events.items[~events.file_split.is_test])) == 3704, "two are never trained"

    split = hold_out(events, "file", validation="none")
    assert (split.train.num_events, split.candidates is not None) == (994_169, True)
    np.testing.assert_array_equal(split.test.items, own)
    assert split.candidates is not None
    listed = split.candidates["test"]
    np.testing.assert_array_equal(listed[:, :1], own)
    assert int((listed == 3706).sum()) == 156
    ordered = np.sort(listed, axis=1)
    assert ((ordered[:, 1:] != ordered[:, :-1]) | (ordered[:, 1:] == 3706)).all()
    seen = set((split.train.users.astype(np.int64) * 3706 + split.train.items).tolist())
    asked = np.arange(6040)[:, None] * 3706 + listed
    assert not seen & set(asked[listed < 3706].tolist())


@pytest.mark.parametrize("folder", ["ncf-ml-1m"], indirect=True)
def test_popularity_reads_on_ncf_ml_1m_what_was_measured_on_the_files(folder: Path) -> None:
    """HR@10 0.4535 and NDCG@10 0.2542 with ties as they came: between the two tie rules."""
    split = hold_out(read_path(folder, "ncf-ml-1m"), "file", validation="none")
    assert split.candidates is not None
    counts = np.append(np.bincount(split.train.items, minlength=3706), -1)
    scores = counts[split.candidates["test"]]
    own, others = scores[:, :1], scores[:, 1:]
    found = {}
    for rule, rank in (
        ("pessimistic", (others >= own).sum(1)),
        ("optimistic", (others > own).sum(1)),
    ):
        is_hit = rank < 10
        found[rule] = np.array([is_hit.mean(), (is_hit / np.log2(rank + 2)).mean()])
    assert (found["pessimistic"] <= [0.4535, 0.2542]).all()
    assert (found["optimistic"] >= [0.4535, 0.2542]).all()
    assert (found["optimistic"] - found["pessimistic"] < 0.002).all()


@pytest.mark.parametrize("folder", ["ml-latest-small"], indirect=True)
def test_ml_latest_small_has_half_stars_and_quoted_titles(folder: Path) -> None:
    events = read_path(folder, "ml-latest-small")
    assert (events.num_users, events.num_items, events.num_events) == (610, 9724, 100_836)
    assert set(np.unique(events.values)) == {i / 2 for i in range(1, 11)}
    facts = describe(events)
    assert (facts["first_time"], facts["last_time"]) == (828_124_615, 1_537_799_250)
    assert events.item_titles is not None
    assert "American President, The (1995)" in events.item_titles


@pytest.mark.parametrize("folder", ["pfedrec/ml-100k"], indirect=True)
def test_pfedrecs_ml_100k_is_the_same_data_in_another_order(
    folder: Path, ml_100k_folder: Path
) -> None:
    events, usual = read_path(folder, "a"), read_path(ml_100k_folder, "ml-100k")
    assert sorted(as_raw(events)) == sorted(as_raw(usual))
    tests = [hold_out(e, ties="file_order").test.items for e in (events, usual)]
    assert int((tests[0] != tests[1]).sum()) == 272
    by_hash = [hold_out(e).test.items for e in (events, usual)]
    np.testing.assert_array_equal(*by_hash)


@pytest.mark.parametrize("folder", ["pfedrec/amazon"], indirect=True)
def test_amazon_video_has_text_ids(folder: Path) -> None:
    events = read_path(folder, "amazon-video")
    assert (events.num_users, events.num_items, events.num_events) == (8072, 11830, 63_836)
    facts = describe(events)
    assert (facts["events_per_user_min"], facts["events_per_user_max"]) == (5, 277)
    assert (facts["first_time"], facts["last_time"]) == (967_248_000, 1_406_073_600)
    for labels in (events.user_labels, events.item_labels):
        assert {len(label) for label in labels.tolist()} & {10, 13, 14}
        assert not all(label.isdigit() for label in labels.tolist())


@pytest.mark.parametrize("folder", ["hetrec2011-lastfm-2k"], indirect=True)
def test_lastfm_loses_no_line_to_a_missing_header(folder: Path) -> None:
    events = read_path(folder, "lastfm-2k")
    assert (events.num_users, events.num_items, events.num_events) == (1892, 17632, 92_834)
    assert (events.values.min(), events.values.max()) == (1, 352_698)
    assert events.item_titles is not None
    titled = np.array(events.item_titles) != events.item_labels
    assert titled.mean() > 0.99
    assert all(label == label.strip() for label in events.item_labels.tolist())
    with pytest.raises(UserError, match="choose holdout leave_one_out_hash"):
        hold_out(events)
    split = hold_out(events, "leave_one_out_hash", validation="hash")
    assert (split.test.items < 17632).sum() == (split.valid.items < 17632).sum()


@pytest.mark.parametrize(
    ("folder", "users", "items", "train", "test"),
    [
        ("disencdr/phone_electronic", 3325, 18_462, 50_407, 2559),
        ("disencdr/electronic_phone", 3325, 39_463, 115_554, 2560),
        ("disencdr/sport_cloth", 9928, 32_310, 92_612, 8326),
        ("disencdr/cloth_sport", 9928, 41_303, 87_829, 7540),
    ],
    indirect=["folder"],
)
def test_disencdr_tests_no_item_that_is_not_trained(
    folder: Path, users: int, items: int, train: int, test: int
) -> None:
    events = read_path(folder, "disencdr")
    assert (events.num_users, events.num_items) == (users, items)
    assert events.item_labels[-1] == str(items - 1), "ids are dense, as in the paper's code"
    split = hold_out(events, "file", validation="hash")
    held = split.test.items[split.test.items < items]
    assert len(held) == test
    assert split.train.num_events == train - int((split.valid.items < items).sum())
    whole = hold_out(events, "file", validation="none")
    assert whole.train.num_events == train
    assert np.isin(held, whole.train.items).all()
