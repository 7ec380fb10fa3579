"""PFedRec as published, on the data and under the protocol of its authors (R1, R2, R3, R11).

Runs every cell, stores it beside this file as `results.json` and prints the table. A run
that was stopped goes on; one that is finished is kept.

    .venv/bin/python experiments/personal_tables/run.py [ML-100K] [ML-1M]
"""

import json
import statistics
import sys
from pathlib import Path

from fedjax_rec.cli import main

RESULTS = Path(__file__).with_name("results.json")
RUNS = Path("runs/personal_tables")
SEEDS = (0, 1, 2)
PRESETS = {"ML-100K": "pfedrec-ml-100k/pfedrec", "ML-1M": "ml-1m/pfedrec"}
ROWS = {
    "own table, 99 candidates": ("uni99", "test"),
    "global table, 99 candidates": ("uni99", "test_global"),
    "own table, full catalogue": ("full", "test"),
}
PUBLISHED = {
    ("ML-100K", "own table, 99 candidates"): "71.6 / 43.4 (Zhang et al. 2023)",
    ("ML-1M", "own table, 99 candidates"): "73.26 / 44.36 (Zhang et al. 2023)",
    ("ML-1M", "global table, 99 candidates"): "FedMF 67.72 / 40.90 (Zhang et al. 2023)",
    ("ML-1M", "own table, full catalogue"): "11.02 / 5.04 (He et al. 2024)",
}


def run_cell(data: str, candidates: str, seed: int) -> dict:
    """Runs one cell and returns its record."""
    folder = RUNS / f"{data}-{candidates}-{seed}"
    words = ["run", PRESETS[data], "--output", str(folder), "--seed", str(seed)]
    words += ["--evaluate.candidates", candidates]
    if main(words):
        sys.exit(f"{folder}: the run did not end; the next call goes on with it")
    summary = json.loads((folder / "summary.json").read_text())
    facts = json.loads((folder / "environment.json").read_text())
    kept = ("metrics", "protocol", "rounds", "reported_round", "timing")
    return {"data": data, "seed": seed, **{k: summary[k] for k in kept}, "environment": facts}


def table(cells: dict[str, dict]) -> str:
    """Means over the seeds as Markdown, HR@10 / NDCG@10 in percent; of HR the spread too."""
    lines = ["| data | scores of | ours | published |", "| --- | --- | --- | --- |"]
    for data in PRESETS:
        for row, (candidates, split) in ROWS.items():
            found = [cells.get(f"{data}-{candidates}-{seed}") for seed in SEEDS]
            metrics = [cell["metrics"] for cell in found if cell]
            if not metrics:
                continue
            hits, gains = (
                [100 * values[f"{split}/{name}@10"] for values in metrics]
                for name in ("hit_rate", "ndcg")
            )
            spread = f" ({min(hits):.1f} to {max(hits):.1f})" if len(hits) > 1 else ""
            ours = f"{statistics.mean(hits):.1f} / {statistics.mean(gains):.1f}{spread}"
            published = PUBLISHED.get((data, row), "-")
            lines.append(f"| {data}, {len(hits)} seeds | {row} | {ours} | {published} |")
    return "\n".join(lines)


def run_all(chosen: list[str]) -> None:
    """Runs what is missing, stores the results after each cell and prints the table."""
    cells = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for data in chosen or PRESETS:
        for seed in SEEDS:
            for candidates in ("uni99", "full"):
                cells[f"{data}-{candidates}-{seed}"] = run_cell(data, candidates, seed)
                RESULTS.write_text(json.dumps(cells, indent=1) + "\n")
    print(table(cells))


if __name__ == "__main__":
    run_all(sys.argv[1:])
