"""README.md: its script runs, and what it names is there."""

import ast
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


SCRIPTS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)

STAND_IN = """
import csv

class DataFrame(dict):
    @property
    def columns(self):
        return list(self)

def read_csv(path):
    with open(path, newline="") as stream:
        rows = list(csv.DictReader(stream))
    frame = DataFrame({name: [row[name] for row in rows] for name in rows[0]})
    frame["t"] = [int(text) for text in frame["t"]]
    return frame
"""
"""What the script asks of pandas, where it is not installed."""


@pytest.fixture(scope="module")
def script() -> str:
    return SCRIPTS[0]


def test_from_a_data_frame_to_recommendations_in_eight_lines(tmp_path):
    (script,) = SCRIPTS[1:]
    assert len([line for line in script.splitlines() if line.strip()]) <= 8
    rows = [f"user {u},item {(3 * u + n * n) % 17},{10**9 + n}" for u in range(9) for n in range(6)]
    (tmp_path / "my.csv").write_text("\n".join(["u,i,t", *rows]))
    if find_spec("pandas") is None:
        (tmp_path / "pandas.py").write_text(STAND_IN)
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in ("user", "item", "rank", "score", "user 8"))


def test_the_script_is_short_and_imports_public_names_only(script):
    lines = [line for line in script.splitlines() if line.strip()]
    assert len(lines) <= 20
    imported = [node for node in ast.walk(ast.parse(script)) if isinstance(node, ast.ImportFrom)]
    assert {node.module for node in imported} == {"fedjax_rec", "fedjax_rec.data"}


def test_the_script_prints_a_model_that_beats_popularity_and_on_what_terms(script, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = {}
    for line in done.stdout.splitlines():
        name, brace, rest = line.partition(" {")
        printed[name] = ast.literal_eval(brace.strip() + rest) if brace else None
    popularity, fedmf = printed["popularity"], printed["fedmf"]
    metrics = [f"test/{metric}" for metric in ("hit_rate@10", "ndcg@10", "auc", "coverage@10")]
    assert list(fedmf) == list(popularity) == metrics
    assert fedmf["test/ndcg@10"] > 1.2 * popularity["test/ndcg@10"] > 0
    assert fedmf["test/coverage@10"] > popularity["test/coverage@10"]
    assert printed["fedmf, 99 candidates"]["hit_rate@10"] > fedmf["test/hit_rate@10"]
    assert printed["protocol"]["negatives_exclude"] == "train"
    assert re.search(r"^bytes up, per client and round 217600\.0$", done.stdout, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []


def test_the_make_targets_that_are_named_exist():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = set(re.findall(r"make (run|test|check|slow|clean)\b", README))
    assert {"run", "test"} <= named <= set(targets)
