"""Every mistake of a request: one line that says what, where and how; exit code 2."""

import os
import shutil
import zipfile

import pytest

from fedjax_rec.cli import main

TINY = [
    *("--data.num-users", "12", "--data.num-items", "20", "--data.mean-events", "6"),
    *("--algorithm.dim", "2", "--rounds", "2"),
]
GOOD = "".join(f"{user}\t{item}\t4\t{100 + item}\n" for user in range(1, 6) for item in range(1, 8))


def u_data(folder, line):
    """A file in the layout of u.data whose last line is given."""
    path = folder / "u.data"
    path.write_text(GOOD + line)
    return path


def truncated_zip(folder):
    whole = folder / "whole.zip"
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("ml/u.data", GOOD * 50)
    path = folder / "ml.zip"
    path.write_bytes(whole.read_bytes()[:-40])
    return path


FILES = {
    "a NaN rating": (lambda folder: u_data(folder, "1\t9\tnan\t5\n"), "line 36"),
    "a negative id": (lambda folder: u_data(folder, "-1\t9\t3\t5\n"), "line 36"),
    "an id that is no number": (lambda folder: u_data(folder, "one\t9\t3\t5\n"), "line 36"),
    "a missing column": (lambda folder: u_data(folder, "1\t9\n"), "line 36"),
    "a truncated zip": (truncated_zip, "ml.zip"),
    "a missing file": (lambda folder: folder / "absent.zip", "absent.zip"),
}


def assert_one_line(capsys, *parts):
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    for part in ("fedjax-rec: error: ", *parts):
        assert part in said


@pytest.mark.parametrize("mistake", FILES)
def test_a_bad_file_is_named(mistake, tmp_path, capsys):
    make, where = FILES[mistake]
    words = ["--data.name", "mine", "--data.path", str(make(tmp_path))]
    assert main(["run", "ml-100k/fedmf", "--output", str(tmp_path / "run"), *words]) == 2
    assert_one_line(capsys, where)
    assert not (tmp_path / "run").exists()


def test_an_empty_data_set_is_refused(tmp_path, capsys):
    path = tmp_path / "u.data"
    path.write_text("")
    words = ["--data.name", "mine", "--data.path", str(path)]
    assert main(["run", "ml-100k/fedmf", "--output", str(tmp_path / "run"), *words]) == 2
    assert_one_line(capsys, "u.data")


def test_a_wheel_with_a_wrong_checksum_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FEDJAX_REC_CACHE", str(tmp_path))
    monkeypatch.delenv("FEDJAX_REC_DATA", raising=False)
    wheel = tmp_path / "ml-100k" / "recbole-1.2.1-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.write_bytes(b"not a wheel")
    assert main(["run", "ml-100k/popularity", "--output", str(tmp_path / "run")]) == 2
    assert_one_line(capsys, "wrong checksum")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["ml-100k/fedmff"], ["ml-100k/fedmf"]),
        (["absent.toml"], ["absent.toml"]),
        (["synthetic/fedmf", "--algorithm.name", "fedfm"], ["fedfm", "did you mean 'fedmf'"]),
        (["ml-100k/fedmf", "--data.name", "ml-100"], ["ml-100", "did you mean 'ml-100k'"]),
        (["synthetic/fedmf", "--ruonds", "3"], ["ruonds", "rounds"]),
        (["synthetic/fedmf", "--split.tie", "hash"], ["split.tie", "split.ties"]),
        (["synthetic/fedmf", "--split.ties", "hush"], ["split.ties", "hash"]),
        (["synthetic/fedmf", "--algorithm.dimm", "3"], ["algorithm.dimm", "dim"]),
        (["synthetic/fedmf", "--rounds", "ten"], ["rounds", "ten"]),
        (["synthetic/fedmf", "--algorithm.dim", "2.5"], ["algorithm.dim", "2.5"]),
        (
            ["synthetic/fedmf", "--stop.patience", "2", "--stop.metric", "valid/ndgc@10"],
            ["valid/ndgc@10", "valid/ndcg@10"],
        ),
        (["synthetic/fedmf", "--server.optimizer", "adma"], ["adma", "adam"]),
        (["synthetic/fedmf", "--cohort.sampler", "uniform", "--cohort.size", "99999"], ["99999"]),
        (["synthetic/fedmf", "--aggregate.noise-multiplier", "1"], ["privacy.noise_multiplier"]),
    ],
    ids=lambda value: " ".join(value[-2:]),
)
def test_a_bad_word_is_named_with_the_right_one(words, parts, tmp_path, capsys):
    assert main(["run", *words, "--output", str(tmp_path / "run")]) == 2
    assert_one_line(capsys, *parts)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["run", "synthetic/fedmf", *TINY, "--output", str(folder)]) == 0
    return folder


@pytest.fixture
def copy(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "copy")


def damage(step):
    for path in step.rglob("*"):
        if path.is_file() and path.parent.name == "d":
            os.truncate(path, path.stat().st_size // 2)


def test_a_folder_of_another_configuration_is_refused(copy, capsys):
    words = [*TINY, "--algorithm.dim", "3", "--output", str(copy)]
    assert main(["run", "synthetic/fedmf", *words]) == 2
    assert_one_line(capsys, "algorithm.dim", "--output", "--no-resume")


def test_one_damaged_checkpoint_is_a_warning(copy, capsys):
    damage(copy / "checkpoints" / "2")
    words = [*TINY, "--rounds", "3", "--output", str(copy)]
    assert main(["run", "synthetic/fedmf", *words]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("warning: checkpoint")
    assert said[1] == "going on from round 1 of 3"
    assert all(line.startswith("warning: below Popularity") for line in said[2:])


def test_all_checkpoints_damaged_is_an_error_that_loses_nothing(copy, capsys):
    for step in (copy / "checkpoints").iterdir():
        damage(step)
    before = (copy / "metrics.jsonl").read_bytes()
    words = [*TINY, "--rounds", "3", "--output", str(copy)]
    assert main(["run", "synthetic/fedmf", *words]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("fedjax-rec: error: all checkpoints in")
    assert "--no-resume" in said[-1]
    assert (copy / "metrics.jsonl").read_bytes() == before
