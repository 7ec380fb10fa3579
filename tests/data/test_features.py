"""What files know of people and films: the same from both formats, and every malformed file."""

from pathlib import Path

import numpy as np
import pytest

from fedjax_rec.data.reading import features_of
from fedjax_rec.data.sources import read_features
from fedjax_rec.data.sources.features import GENRES
from fedjax_rec.errors import UserError


def film(number: int, *genres: str) -> str:
    flags = "|".join(str(int(genre in genres)) for genre in GENRES)
    return f"{number}|Misérables (1995)|01-Jan-1995||http://x|{flags}\n"


FILMS = film(30, "Drama", "War") + film(4, "Action") + film(9, "unknown", "Action")
MOVIELENS = {
    "u.data": b"7\t30\t4\t20\n12\t4\t5\t0\n",
    "u.user": b"7|24|M|technician|85711\n12|53|F|other|94043\n",
    "u.item": FILMS.encode("latin-1"),
}
RECBOLE = {
    "x.inter": b"user_id:token\titem_id:token\n7\t30\n12\t4\n",
    "x.user": b"user_id:token\tage:token\tgender:token\n12\t53\tF\n7\t24\tM\n",
    "x.item": b"item_id:token\tclass:token_seq\n30\tDrama War\n4\tAction\n9\tunknown Action\n",
}
FORMATS = {"movielens": MOVIELENS, "recbole": RECBOLE}
PEOPLE = {"7": [0.24, 1], "12": [0.53, 0]}
GENRES_OF = {"30": [0, 1, 1, 0], "4": [1, 0, 0, 0], "9": [1, 0, 0, 1]}


def put(folder: Path, contents: dict[str, bytes], **changes: bytes | None) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        changed = changes.get(name.replace(".", "_"), content)
        if changed is not None:
            (folder / name).write_bytes(changed)
    return folder


@pytest.mark.parametrize("form", FORMATS)
def test_people_have_age_and_gender_and_films_the_flags_of_their_genres(
    tmp_path: Path, form: str
) -> None:
    people, films = read_features(put(tmp_path, FORMATS[form]), "mine")
    assert people.names == ("age / 100", "is male")
    assert films.names == ("Action", "Drama", "War", "unknown")
    np.testing.assert_allclose(people.of(list(PEOPLE)), list(PEOPLE.values()))
    np.testing.assert_array_equal(films.of(list(GENRES_OF)), list(GENRES_OF.values()))
    assert people.of(["7"]).dtype == films.of(["4"]).dtype == np.float32


MOVIELENS_MISTAKES = {
    "u.user, line 2: age 'x' is not a finite float32 number": {"u_user": b"7|1|M|o|z\n8|x|F|o|z\n"},
    "u.user, line 1: gender 'X' is not M or F": {"u_user": b"7|1|X|o|z\n"},
    "u.user, line 1: 3 '|'-separated columns instead of 5": {"u_user": b"7|1|M\n"},
    "u.item, line 1: genre flag '2' is not 0 or 1": {
        "u_item": film(4, "War").replace("|1|", "|2|").encode()
    },
    "no u.user beside it; records need it for their features": {"u_user": None},
    "no u.item beside it": {"u_item": None},
}
RECBOLE_MISTAKES = {
    "no x.user beside it": {"x_user": None},
    "x.user, line 1: no column 'gender', which records need": {
        "x_user": b"user_id:token\tage:token\n7\t24\n"
    },
    "x.user, line 3: gender '?' is not M or F": {
        "x_user": b"user_id:token\tage:token\tgender:token\n7\t24\tM\n8\t24\t?\n"
    },
}


@pytest.mark.parametrize("mistake", [*MOVIELENS_MISTAKES, *RECBOLE_MISTAKES])
def test_a_malformed_listing_is_told_in_one_line(tmp_path: Path, mistake: str) -> None:
    contents = MOVIELENS if mistake in MOVIELENS_MISTAKES else RECBOLE
    changes: dict[str, bytes | None] = (MOVIELENS_MISTAKES | RECBOLE_MISTAKES)[mistake]  # type: ignore[assignment]
    with pytest.raises(UserError) as caught:
        read_features(put(tmp_path, contents, **changes), "mine")
    assert mistake in str(caught.value)
    assert "\n" not in str(caught.value)


def test_who_is_not_listed_is_named(tmp_path: Path) -> None:
    people, _ = read_features(put(tmp_path, MOVIELENS), "mine")
    with pytest.raises(UserError, match=r"u\.user: no line for '8'; add it"):
        people.of(["7", "8"])


def test_data_that_describe_nobody_are_refused(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_bytes(b"7::30::4::20\n")
    with pytest.raises(UserError, match="features of people and items are not read"):
        read_features(tmp_path, "mine")
    with pytest.raises(UserError, match="nothing is known of its people"):
        features_of("synthetic")
    with pytest.raises(UserError, match="nothing is known of its people"):
        features_of("no-such-data")


def test_two_copies_of_ml_100k_say_the_same(data_folder: Path) -> None:
    copies = [data_folder / name for name in ("ml-100k", "ml-100k-recbole")]
    if not all(copy.is_dir() for copy in copies):
        pytest.skip("needs both copies of ml-100k")
    (people, films), (other_people, other_films) = (
        features_of("ml-100k", path=str(copy)) for copy in copies
    )
    assert (len(people.rows), len(films.rows)) == (943, 1682)
    for one, other in ((people, other_people), (films, other_films)):
        assert one.names == other.names
        np.testing.assert_array_equal(one.of(list(one.rows)), other.of(list(one.rows)))
