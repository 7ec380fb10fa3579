"""Figures in the documents are those that are stored."""

import json
import runpy
from importlib import import_module
from pathlib import Path

import pytest

from experiments.cells import END, START

ROOT = Path(__file__).parents[2]
EXPERIMENT = ROOT / "experiments" / "protocols"


def test_the_guide_to_protocols_shows_the_table_of_the_experiment():
    cells = json.loads((EXPERIMENT / "results.json").read_text())
    table = import_module("experiments.protocols.run").table(cells)
    assert table in (ROOT / "docs" / "protocols.md").read_text()
    assert table in (EXPERIMENT / "README.md").read_text()


def test_the_table_of_two_domains_is_made_from_the_stored_results():
    folder = ROOT / "experiments" / "cross_domain"
    results = json.loads((folder / "results.json").read_text())
    table = runpy.run_path(str(folder / "run.py"))["table"](results)
    assert table in (folder / "README.md").read_text()
    for cell in results["cells"].values():
        assert cell["environment"]["git"]["is_dirty"] is False
        assert (cell["protocol"]["candidates"], cell["protocol"]["holdout"]) == ("full", "file")


def test_every_cell_of_fedrecon_is_what_its_name_says():
    cells = json.loads((ROOT / "experiments" / "fedrecon" / "results.json").read_text())
    known = import_module("experiments.fedrecon.run").CELLS
    for name, cell in cells.items():
        kind, _, seed = name.rpartition("-")
        assert set(known[kind]) <= set(cell["command"].split())
        assert cell["environment"]["seed"] == cell["protocol"]["split_seed"] == int(seed)
        assert cell["protocol"]["task"] == "rating"


@pytest.mark.parametrize(
    "name",
    [
        "fedrecon",
        "large_models",
        "leaderboard",
        "leaks",
        "low_rank",
        "ncf",
        "personal_tables",
        "privacy_utility",
        "ratings",
        "sequences",
        "transfer",
    ],
)
def test_the_table_of_an_experiment_is_made_from_its_cells(name):
    folder = ROOT / "experiments" / name
    made = (folder / "README.md").read_text().split(START)[1].split(END)[0].strip()
    if not (folder / "results.json").exists():
        assert made == "", "a table without stored cells"
        return
    cells = json.loads((folder / "results.json").read_text())
    assert made == import_module(f"experiments.{name}.run").table(cells)
    of_runs = (cell for cell in cells.values() if cell["command"])  # not of what several told
    ran = [cell["environment"] for cell in of_runs if "stopped" not in cell]
    assert not any(facts["git"]["is_dirty"] for facts in ran)


@pytest.mark.parametrize(("name", "methods"), [("leaderboard", "methods"), ("ratings", "run")])
def test_a_trial_ran_with_the_settings_that_the_table_gives_it(name, methods):
    cells = json.loads((ROOT / "experiments" / name / "results.json").read_text())
    tried = import_module(f"experiments.{name}.{methods}").METHODS
    for key, cell in cells.items():
        method, _, number = key.rpartition("/trial-")
        if method:
            preset, trials = tried[method]
            assert f"run {preset} " in cell["command"]
            assert cell["command"].endswith(" ".join(trials[int(number)]))


def test_every_cell_ran_under_the_protocol_that_its_name_says():
    cells = json.loads((EXPERIMENT / "results.json").read_text())
    assert len(cells) == 18
    for name, cell in cells.items():
        protocol = cell["protocol"]
        fields = ("negatives_exclude", "candidates", "time_ties")
        preset = cell["command"].split()[2]
        method = preset.split("/")[1].removesuffix("_by_client")
        assert name == "-".join([method, *(protocol[field] for field in fields)])
        assert cell["environment"]["git"]["is_dirty"] is False


def test_the_tables_of_when_federation_helps_are_made_from_the_stored_results():
    folder = ROOT / "experiments" / "when_federation_helps"
    cells = json.loads((folder / "results.json").read_text())
    script = runpy.run_path(str(folder / "run.py"))
    text = (folder / "README.md").read_text()
    for study, table in script["TABLES"].items():
        assert table(cells) in text, study
    known = {name for study in script["STUDIES"].values() for name, *_ in study()}
    assert set(cells) <= known
    assert f"{len(cells)} of {len(known)} cells" in text
    assert not any(cell["environment"]["git"]["is_dirty"] for cell in cells.values())
