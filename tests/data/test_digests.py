"""The fingerprint of data: equal where everything is, and telling what differs."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedjax_rec.data import FederatedData, client_data, fingerprint, from_events, load
from fedjax_rec.data.splits import hold_out

LINES = [
    f"{user}\t{item}\t{1 + (user + item) % 5}\t{1000 + 10 * user + item}"
    for user in range(1, 6)
    for item in range(user, user + 6)
]


def written(folder: Path, lines: list[str] = LINES, titles: str = "Film") -> Path:
    folder.mkdir()
    (folder / "u.data").write_text("\n".join(lines) + "\n")
    (folder / "u.item").write_bytes(b"".join(f"{i}|{titles} {i}\n".encode() for i in range(1, 12)))
    return folder


def facts_of(folder: Path, **options: Any) -> dict[str, str | int]:
    return fingerprint(load("mine", path=str(folder), **options))


def differing(one: dict[str, str | int], other: dict[str, str | int]) -> set[str]:
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def test_the_same_data_have_the_same_fingerprint_wherever_they_lie(tmp_path: Path) -> None:
    one, other = (facts_of(written(tmp_path / name)) for name in "ab")
    assert one == other
    assert [one[name] for name in ("num_users", "num_items", "num_events", "num_held_out")] == [
        5,
        10,
        20,
        10,
    ]


def test_another_process_finds_the_same(tmp_path: Path) -> None:
    folder = written(tmp_path / "a")
    script = (
        "import sys\nfrom fedjax_rec.data import fingerprint, load\n"
        "print(fingerprint(load('mine', path=sys.argv[1]))['sha256'])\n"
    )
    for seed in "12":
        found = subprocess.run(
            [sys.executable, "-c", script, str(folder)],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        assert found.stdout.strip() == facts_of(folder)["sha256"]


@pytest.mark.parametrize("column", range(4))
def test_every_column_of_what_is_trained_on_or_asked_counts(tmp_path: Path, column: int) -> None:
    """Of a held-out event, the last line, the time only orders."""
    before = facts_of(written(tmp_path / "a"))
    for place in (0, len(LINES) - 1) if column < 3 else (0,):
        fields = LINES[place].split("\t")
        fields[column] = str(int(fields[column]) + (20 if column < 2 else 1))
        lines = [*LINES]
        lines[place] = "\t".join(fields)
        after = facts_of(written(tmp_path / f"b{place}", lines))
        assert "sha256" in differing(before, after)


@pytest.mark.parametrize(
    "options",
    [
        {"validation": "none"},
        {"holdout": "ratio", "validation": "ratio"},
        {"holdout": "users", "validation": "none", "share": 0.2},
        {"exclude": "heldout"},
        {"max_events": 4},
    ],
)
def test_another_split_of_the_same_events_differs(tmp_path: Path, options: dict[str, Any]) -> None:
    folder = written(tmp_path / "a")
    assert "sha256" in differing(facts_of(folder), facts_of(folder, **options))


def test_other_titles_differ_in_nothing_else(tmp_path: Path) -> None:
    one, other = facts_of(written(tmp_path / "a")), facts_of(written(tmp_path / "b", titles="Cine"))
    assert differing(one, other) == {"titles_sha256"}
    (tmp_path / "b" / "u.item").unlink()
    assert differing(one, facts_of(tmp_path / "b")) == {"titles_sha256"}


def test_titles_are_told_apart_by_where_one_ends() -> None:
    def of(titles: dict[str, str]) -> dict[str, str | int]:
        split = hold_out(from_events([1] * 4, [1, 2, 3, 4], times=[1, 2, 3, 4], titles=titles))
        return fingerprint(FederatedData("mine", client_data(split), split, "train"))

    assert differing(of({"1": "ab", "2": "c"}), of({"1": "a", "2": "bc"})) == {"titles_sha256"}


def test_features_of_records_differ_in_nothing_else() -> None:
    data = load("synthetic", num_users=9, num_items=20, mean_events=6)
    features = np.ones((20, 3), np.float32)
    one = fingerprint(replace(data, features=features))
    other = fingerprint(replace(data, features=2 * features))
    assert differing(one, other) == {"features_sha256"}
    assert "features_sha256" not in fingerprint(data)


def test_a_fingerprint_is_computed_once_and_cannot_be_changed() -> None:
    data = load("synthetic", num_users=2000, num_items=500, mean_events=60)
    first = fingerprint(data)
    expected = dict(first)
    first["sha256"] = "another"
    begin = time.perf_counter()
    assert [fingerprint(data) for _ in range(100)] == [expected] * 100
    assert time.perf_counter() - begin < 0.1
