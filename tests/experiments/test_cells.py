"""Cells of experiments: run once, again when their command changes, and told when too long."""

import json
import re
from pathlib import Path

import pytest

from experiments.cells import END, START, Cells, machine, markdown, percent, seconds

QUICK = (
    "--rounds",
    "1",
    "--data.num_users",
    "12",
    "--data.num_items",
    "20",
    "--data.mean_events",
    "6",
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_a_cell_is_run_once_and_again_only_for_another_command(tmp_path: Path) -> None:
    Cells(tmp_path).run("one", "synthetic/fedmf", *QUICK)
    stored = json.loads((tmp_path / "results.json").read_text())
    cell = stored["one"]
    assert cell["command"] == f"fedjax-rec run synthetic/fedmf {' '.join(QUICK)}"
    assert percent(cell) == (
        f"{100 * cell['metrics']['test/hit_rate@10']:.1f} / "
        f"{100 * cell['metrics']['test/ndcg@10']:.1f}"
    )
    assert seconds(cell).endswith(" s")
    assert "jax" in machine(stored)

    stored["one"]["metrics"] = "as it was"
    (tmp_path / "results.json").write_text(json.dumps(stored))
    again = Cells(tmp_path)
    again.run("one", "synthetic/fedmf", *QUICK)
    assert again.found["one"]["metrics"] == "as it was"
    again.run("one", "synthetic/fedmf", *QUICK, seconds=0.01)
    assert again.found["one"]["metrics"] == "as it was", "a limit is no part of the command"
    again.run("one", "synthetic/fedmf", *QUICK, "--seed", "1", seconds=0.01)
    assert percent(again.found["one"]) == "over 0 minutes"


@pytest.mark.slow
def test_a_changed_command_starts_over_and_its_own_run_goes_on(tmp_path: Path) -> None:
    cells = Cells(tmp_path)
    cells.run("one", "synthetic/fedmf", *QUICK)
    cells.run("one", "synthetic/fedmf", *QUICK, "--seed", "1")
    assert cells.found["one"]["command"].endswith("--seed 1")
    log = Path("runs") / tmp_path.name / "one" / "metrics.jsonl"
    made = log.stat().st_mtime_ns
    (tmp_path / "results.json").unlink()  # halted before it was stored
    Cells(tmp_path).run("one", "synthetic/fedmf", *QUICK, "--seed", "1")
    assert log.stat().st_mtime_ns == made


def test_two_that_store_at_once_keep_both_cells(tmp_path: Path) -> None:
    one, other = Cells(tmp_path), Cells(tmp_path)
    one.run("one", "synthetic/fedmf", *QUICK, seconds=0.01)
    other.run("other", "synthetic/fedmf", *QUICK, seconds=0.01)
    assert set(Cells(tmp_path).found) == set(other.found) == {"one", "other"}


def test_a_run_that_is_refused_ends_the_script(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="the run did not end"):
        Cells(tmp_path).run("one", "synthetic/fedmf", "--rounds", "0")
    assert not (tmp_path / "results.json").exists()


def test_a_run_that_does_not_fit_says_what_it_needs(tmp_path: Path) -> None:
    Cells(tmp_path).run("huge", "synthetic/fedmf", *QUICK, "--algorithm.dim", "200000000000")
    assert re.fullmatch(r"needs [\d.,]+ [TP]B", percent(Cells(tmp_path).found["huge"]))


def test_the_readme_gets_the_table_and_keeps_the_rest(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"above\n{START}\nold\n{END}\nbelow\n")
    Cells(tmp_path).write_readme(markdown(["a"], [["1"]]))
    assert readme.read_text() == f"above\n{START}\n\n| a |\n| --- |\n| 1 |\n\n{END}\nbelow\n"
