"""What is committed, and what a wheel holds."""

import re
import subprocess
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fedjax_rec"

NEVER_COMMITTED = re.compile(
    r"(^|/)(uv\.lock|pylock\.toml|poetry\.lock|Pipfile\.lock)$"
    r"|\.(zip|gz|tar|whl|npz|npy|inter|parquet|safetensors|gguf|pt|ckpt|h5)$"
)
INDEX_ADDRESS = re.compile(r"https?://(\S+/simple/|[^\s/]*(pypi|pythonhosted|npmjs|anaconda))")


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """Paths of the files under version control."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone: what is tracked is unknown")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def lines_of(names: list[str]) -> list[tuple[str, str]]:
    """`(file:line, text)` of the lines of text files."""
    found = []
    for name in names:
        text = (ROOT / name).read_text(encoding="utf-8", errors="replace")
        found += [(f"{name}:{at}", line) for at, line in enumerate(text.splitlines(), 1)]
    return found


def test_only_ci_knows_a_folder_beside_the_project(tracked):
    beside = "../" + "shared"
    files = [name for name in tracked if not name.startswith(".ci/")]
    assert [where for where, line in lines_of(files) if beside in line] == []


def test_neither_lock_files_nor_data_nor_weights_are_committed(tracked):
    assert [name for name in tracked if NEVER_COMMITTED.search(name)] == []


def test_no_file_names_a_package_index(tracked):
    assert [where for where, line in lines_of(tracked) if INDEX_ADDRESS.search(line)] == []


def test_every_file_of_the_package_fits_one_idea():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in PACKAGE.rglob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_a_wheel_holds_the_package_its_types_and_its_presets_and_nothing_else(tmp_path):
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}

    presets = {f"fedjax_rec/{p.relative_to(ROOT)}" for p in (ROOT / "configs").rglob("*.toml")}
    code = {str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*.py")}
    kept = {"fedjax_rec/py.typed", "fedjax_rec/privacy/strategies.json"}
    assert held == code | presets | kept
