"""What the choices of a protocol do to the figures of one model on one data set.

Runs every cell of the table in `docs/protocols.md`, then writes `results.json` beside this
file and prints the table. A run that was stopped goes on; one that is finished is kept.

    .venv/bin/python experiments/protocols/run.py
"""

import itertools
import json
import sys
from pathlib import Path

from fedjax_rec.cli import main

RESULTS = Path(__file__).with_name("results.json")
RUNS = Path("runs/protocols")
TIES = ("hash", "file_order", "item_id")
CANDIDATES = ("full", "uni99")
MODELS = {"popularity": ["train"], "fedmf": ["train", "heldout"]}


def run_cell(model: str, exclude: str, candidates: str, ties: str) -> dict:
    """Runs one cell and returns its record."""
    folder = RUNS / f"{model}-{exclude}-{candidates}-{ties}"
    words = ["run", f"ml-100k/{model}", "--output", str(folder), "--split.ties", ties]
    words += ["--negatives.exclude", exclude, "--evaluate.candidates", candidates]
    if main(words):
        sys.exit(f"{folder}: the run did not end; the next call goes on with it")
    summary = json.loads((folder / "summary.json").read_text())
    facts = json.loads((folder / "environment.json").read_text())
    return {
        "model": model,
        "protocol": summary["protocol"],
        "hit_rate@10": summary["metrics"]["test/hit_rate@10"],
        "ndcg@10": summary["metrics"]["test/ndcg@10"],
        "rounds": summary["rounds"],
        "reported_round": summary["reported_round"],
        "timing": summary["timing"],
        "environment": facts,
    }


def table(cells: dict[str, dict]) -> str:
    """The figures as Markdown, HR@10 / NDCG@10."""
    columns = list(itertools.product(CANDIDATES, TIES))
    heads = ["model", "negatives exclude", *(f"{each}, `{ties}`" for each, ties in columns)]
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    names = {"popularity": "Popularity", "fedmf": "FedMF"}
    for model, excludes in MODELS.items():
        for exclude in excludes:
            row = [names[model], "(draws none)" if model == "popularity" else f"`{exclude}`"]
            for candidates, ties in columns:
                cell = cells[f"{model}-{exclude}-{candidates}-{ties}"]
                row.append(f"{cell['hit_rate@10']:.3f} / {cell['ndcg@10']:.3f}")
            lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def run_all() -> None:
    """Runs what is missing, stores the results and prints the table."""
    cells = {
        "-".join((model, *choices)): run_cell(model, *choices)
        for model, excludes in MODELS.items()
        for choices in itertools.product(excludes, CANDIDATES, TIES)
    }
    RESULTS.write_text(json.dumps(cells, indent=1) + "\n")
    print(table(cells))


if __name__ == "__main__":
    run_all()
