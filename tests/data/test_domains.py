"""Two domains of the same people: what is split, what is trained on, how items are numbered."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedjax_rec.cli import main
from fedjax_rec.data import beside, client_data, from_events, hold_out, load, read
from fedjax_rec.data.interactions import FileSplit, Interactions
from fedjax_rec.data.splits import shuffle_items
from fedjax_rec.errors import UserError

PHONE = {
    "train.txt": b"7\t30\t1\n12\t4\t1\n7\t4\t1\n7\t5\t1\n12\t5\t1\n",
    "test.txt": b"12\t30\t1\n",
}
ELECTRONIC = {
    "train.txt": b"12\t30\t1\n7\t2\t1\n12\t6\t1\n",
    "test.txt": b"7\t6\t1\n",
}


def films() -> Interactions:
    return from_events([1, 1, 1, 2, 2, 2], [5, 6, 7, 7, 6, 8], times=[1, 2, 3, 3, 2, 1])


def books() -> Interactions:
    return from_events([2, 1, 2, 2], [6, 5, 9, 5], [1, 2, 3, 4], times=[9, 8, 7, 7], name="books")


def raw(data: Interactions) -> list[tuple[str, str]]:
    users, items = data.user_labels[data.users], data.item_labels[data.items]
    return list(zip(users.tolist(), items.tolist(), strict=True))


def test_the_other_domain_changes_neither_what_is_held_out_nor_its_numbers() -> None:
    alone = shuffle_items(hold_out(films()))
    both = shuffle_items(hold_out(beside(films(), books())))
    for split in ("valid", "test"):
        held, expected = getattr(both, split).items, getattr(alone, split).items
        np.testing.assert_array_equal(held, expected)
    assert raw(both.train) == raw(alone.train)
    np.testing.assert_array_equal(both.train.items, alone.train.items)
    assert both.train.other is not None
    assert sorted(raw(both.train.other)) == sorted(raw(books()))


def test_a_client_holds_the_target_and_then_the_other_domain_behind_it() -> None:
    both = shuffle_items(hold_out(beside(films(), books()), validation="none"))
    other, num_target = both.train.other, both.train.num_items
    assert other is not None
    data = client_data(both)
    assert (data.num_items, data.num_other, data.num_ranked) == (4 + 3, 3, 4)
    labels = [*both.train.item_labels, *(f"book {label}" for label in other.item_labels)]
    found = []
    for client in range(2):
        history = data.history(client, data.classes[0])
        items = np.asarray(history.items[: int(history.num_events)])
        found.append([labels[item] for item in items])
        excluded = np.asarray(history.excluded[: int(history.num_excluded)])
        assert excluded.tolist() == sorted(set(items.tolist()))
        assert (items[: (items < num_target).sum()] < num_target).all(), "the target's come first"
    # oldest first in each domain; events of one second as the file has them
    assert found == [["5", "6", "book 5"], ["8", "6", "book 9", "book 5", "book 6"]]
    assert data.history(1, data.classes[0]).values[2:5].tolist() == [3, 4, 1]


def test_held_out_items_of_the_target_are_excluded_under_their_own_numbers() -> None:
    split = shuffle_items(hold_out(beside(films(), books())))
    plain, leaking = (client_data(split, exclude=exclude) for exclude in ("train", "heldout"))  # type: ignore[arg-type]
    for client in range(2):
        seen, told = (
            set(np.asarray(h.excluded[: int(h.num_excluded)]).tolist())
            for h in (data.history(client, data.classes[0]) for data in (plain, leaking))
        )
        held = {int(split.valid.items[client, 0]), int(split.test.items[client, 0])}
        assert told == seen | held
        assert held.isdisjoint(seen)


def test_what_the_other_domains_files_hold_out_is_not_trained_on() -> None:
    held = replace(books(), file_split=FileSplit(np.array([True, False, False, True])))
    other = beside(films(), held).other
    assert other is not None
    assert raw(other) == [("1", "5"), ("2", "9")]
    assert other.file_split is None


def test_domains_of_different_people_are_refused() -> None:
    strangers = replace(books(), user_labels=np.array(["1", "3"]))
    with pytest.raises(UserError, match="books: its users are not those of custom") as caught:
        beside(films(), strangers)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------- data sets by name


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two small domains where the real ones are looked for, without their statistics."""
    from fedjax_rec.data import DATASETS

    monkeypatch.setenv("FEDJAX_REC_DATA", str(tmp_path))
    for name, contents in (("phone-electronic", PHONE), ("electronic-phone", ELECTRONIC)):
        dataset = DATASETS[f"disencdr-{name}"]
        monkeypatch.setitem(DATASETS, dataset.name, replace(dataset, statistics={}, files={}))
        (tmp_path / dataset.folder).mkdir(parents=True)
        for file, content in contents.items():
            (tmp_path / dataset.folder / file).write_bytes(content)
    return tmp_path


def test_a_pair_is_loaded_by_name_and_asks_for_the_first_of_its_names(pair: Path) -> None:
    facts = {}
    for name in ("phone+electronic", "electronic+phone", "phone-electronic"):
        data = load(f"disencdr-{name}", holdout="file", validation="none", notice=lambda line: None)
        facts[name] = (data.num_clients, data.num_items, data.clients.num_items)
        assert data.split.test.items.shape == (2, 1)
    assert facts == {
        "phone+electronic": (2, 3, 3 + 3),
        "electronic+phone": (2, 3, 3 + 3),
        "phone-electronic": (2, 3, 3),
    }


def test_a_pair_has_no_path_of_its_own(pair: Path) -> None:
    with pytest.raises(UserError, match=r"is read from the files of .* leave --data\.path out"):
        read("disencdr-phone+electronic", path=str(pair))


def test_the_command_line_says_where_both_domains_are(
    pair: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "get", "disencdr-phone+electronic"]) == 0
    folders = [pair / "disencdr" / name for name in ("phone_electronic", "electronic_phone")]
    assert capsys.readouterr().out.split() == [str(folder) for folder in folders]
