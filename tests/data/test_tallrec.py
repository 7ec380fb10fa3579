"""Prompts of TALLRec: who answered them, what is tested, and the records that silos hold."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedjax_rec.data import DATASETS, FederatedData, Silos, load_records, read
from fedjax_rec.data.obtain import is_there
from fedjax_rec.errors import UserError
from tests.text.prompts import INSTRUCTION, prompt, write_prompts


def records(path: Path, **rules: Any) -> FederatedData:
    rules = {"number": 3, "size": 5, "num_test": 7} | rules
    return load_records("mine", Silos(**rules), path=str(path), layout="tallrec", positive_from=1)


def test_a_window_that_goes_on_is_the_same_person_across_files_too(tmp_path: Path) -> None:
    events = read("mine", path=str(write_prompts(tmp_path)), layout="tallrec")
    assert np.bincount(events.users).tolist() == [10, 8, 12, 10]
    assert events.file_split is not None
    in_order = np.argsort([int(one.split("/")[1]) for one in events.item_labels[events.items]])
    assert events.file_split.is_test.sum() == 16
    assert events.file_split.is_valid is None
    person = events.users[events.file_split.is_test & (events.users == 2)]
    assert len(person) == 6, "one of them is in both files"
    assert len(in_order) == 40
    assert events.item_titles is not None
    for item, label, value in zip(events.items, events.item_labels, events.values, strict=False):
        assert events.item_titles[item].startswith(f"{INSTRUCTION}\nUser Preference: ")
        assert value in (0, 1)
        assert label.split("/")[0] in ("valid", "test")


def test_labels_and_texts_stay_together_as_records_of_silos(tmp_path: Path) -> None:
    path = write_prompts(tmp_path)
    told = {
        f"{INSTRUCTION}\n{one['input']}": (name, float(one["output"] == "Yes."))
        for name in ("valid", "test")
        for one in json.loads((tmp_path / f"{name}.json").read_text())
    }
    data = records(path, seed=3)
    train, test = data.split.train, data.split.test
    assert data.features is None
    assert train.item_titles is not None
    assert np.bincount(train.users).tolist() == [5, 5, 5]
    for item, value in zip(train.items, train.values, strict=True):
        assert told[train.item_titles[item]] == ("valid", value)
    is_real = test.items < data.num_items
    assert is_real.sum() == 7
    for item, value in zip(test.items[is_real], test.values[is_real], strict=True):
        assert told[train.item_titles[item]] == ("test", value)
    assert len(set(train.item_titles)) == 22
    other = records(path, seed=4).split.train.item_titles
    assert other is not None
    assert set(other) != set(train.item_titles)


def test_validation_is_drawn_from_what_no_silo_trains_on_and_never_tested(tmp_path: Path) -> None:
    plain = records(write_prompts(tmp_path / "a"), validation="records")
    train = json.loads((tmp_path / "a" / "valid.json").read_text())
    own = write_prompts(tmp_path / "b", train=train, valid=[prompt(["a"], ["b"], "c", True)] * 9)
    told = records(own, validation="records")
    for data, part in ((plain, "valid"), (told, "valid")):
        labels = data.split.train.item_labels
        valid, test = (
            labels[held.items[held.items < data.num_items]]
            for held in (data.split.valid, data.split.test)
        )
        assert (len(valid), len(test)) == (7, 7)
        assert {one.split("/")[1] for one in valid} == {part}
        assert {one.split("/")[1] for one in test} == {"test"}
        assert not set(valid) & set(labels[data.split.train.items])
    trained = told.split.train.item_labels[told.split.train.items]
    assert {one.split("/")[1] for one in trained} == {"train"}


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"size": 9}, "27 records to train on are more than the 24 that it has"),
        ({"num_test": 17}, "17 records to test are more than the 16 that it has"),
        ({"size": 6, "validation": "records"}, "7 records to validate are more than the 6"),
        ({"holdout": "own_records"}, "its files say what is tested, which no silo holds"),
    ],
)
def test_what_cannot_be_dealt_is_refused(tmp_path: Path, rules: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        records(write_prompts(tmp_path), **rules)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}", "valid.json: is no JSON of prompts .it is no list"),
        ("[", "valid.json: is no JSON of prompts"),
        ('[{"instruction": "a", "input": "b"}]', "prompt 0: lacks one of instruction, input"),
        (json.dumps([prompt([], [], "a", True) | {"output": "Maybe."}]), "'Maybe.' is neither"),
    ],
)
def test_a_malformed_file_is_told_with_its_prompt(tmp_path: Path, content: str, words: str) -> None:
    path = write_prompts(tmp_path)
    path.write_text(content)
    with pytest.raises(UserError, match=words):
        read("mine", path=str(path), layout="tallrec")


def test_no_positive_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no record has a value of 4 or more; lower silos.positiv"):
        load_records(
            "mine", Silos(size=5, num_test=7), path=str(write_prompts(tmp_path)), layout="tallrec"
        )


def test_the_published_prompts_are_of_29_people_one_of_them_in_both_files() -> None:
    if not is_there(DATASETS["tallrec-movie"]):
        pytest.skip("tallrec-movie is not there; name a folder with it as FEDJAX_REC_DATA")
    events = read("tallrec-movie", notice=lambda line: None)
    assert events.file_split is not None
    tested = events.file_split.is_test
    in_both = set(events.users[tested]) & set(events.users[~tested])
    assert len(in_both) == 1
    assert events.values[tested].mean() == pytest.approx(0.528)
    assert events.values[~tested].mean() == pytest.approx(0.658)
