"""FedRecon on MovieLens-1M under its authors' protocol (R7), with ablations.

Runs every cell that is not in `results.json` beside this file, stores it there and prints the
table. A run that was stopped goes on.

    .venv/bin/python experiments/fedrecon/run.py [CELL ...]
"""

import json
import statistics
import sys
from pathlib import Path

from fedjax_rec.cli import main

RESULTS = Path(__file__).with_name("results.json")
RUNS = Path("runs/fedrecon")
SEEDS = (0, 1, 2)
STANDARD = ("--split.holdout", "ratio", "--split.validation", "ratio")
MEANS = ("ml-100k/rating_means", "--data.name", "ml-1m", "--split.max_events", "300")
CELLS = {
    "split": ("ml-1m/fedrecon",),
    "joint": ("ml-1m/fedrecon", "--algorithm.training", "joint"),
    "kept": ("ml-1m/fedrecon", "--algorithm.training", "kept"),
    "unsplit": ("ml-1m/fedrecon", "--algorithm.training", "unsplit"),
    "split-standard": ("ml-1m/fedrecon", *STANDARD),
    "fedavg-standard": ("ml-1m/fedavg",),
    "means": (*MEANS, "--split.holdout", "users", "--split.validation", "users"),
    "means-standard": MEANS,
}
"""What is run: a preset and what differs from it."""
ROWS = {
    "split": ("new users", "FedRecon", ".907 / 43.3"),
    "joint": ("new users", "FedAvg, vector drawn afresh each round", ".934 / 40.0 (FedAvg)"),
    "kept": ("new users", "FedAvg, vector kept by its client", "-"),
    "unsplit": ("new users", "FedRecon, support and query the same", "-"),
    "split-standard": ("known users", "FedRecon", "-"),
    "fedavg-standard": ("known users", "FedAvg, vector kept by its client", ".939 / 41.5 (FedAvg)"),
    "means": ("new users", "means with biases of items and users", "-"),
    "means-standard": ("known users", "means with biases of items and users", "-"),
}
"""Cell -> who is asked, what trained, and what was published."""


def run_cell(name: str, seed: int) -> dict:
    """Runs one cell and returns its record; the seed is that of the split too."""
    folder = RUNS / f"{name}-{seed}"
    preset, *changes = CELLS[name]
    words = ["run", preset, "--output", str(folder), *changes]
    words += ["--seed", str(seed), "--split.seed", str(seed), "--evaluate.every", "500"]
    words += ["--execution.num_devices", "1"]
    if main(words):
        sys.exit(f"{folder}: the run did not end; the next call goes on with it")
    summary = json.loads((folder / "summary.json").read_text())
    facts = json.loads((folder / "environment.json").read_text())
    kept = ("metrics", "protocol", "rounds", "timing")
    return {"cell": name, "seed": seed, **{k: summary[k] for k in kept}, "environment": facts}


def table(cells: dict[str, dict]) -> str:
    """Means over the seeds as Markdown, RMSE / accuracy in percent; of RMSE the spread too."""
    lines = ["| asked | trained | ours | published |", "| --- | --- | --- | --- |"]
    for name, (asked, trained, published) in ROWS.items():
        found = [cells[key]["metrics"] for seed in SEEDS if (key := f"{name}-{seed}") in cells]
        if not found:
            continue
        errors = [metrics["test/rmse"] for metrics in found]
        hits = statistics.mean(100 * metrics["test/accuracy"] for metrics in found)
        spread = f"{min(errors):.3f} to {max(errors):.3f}, {len(found)} seeds"
        ours = f"{statistics.mean(errors):.3f} / {hits:.1f} ({spread})"
        lines.append(f"| {asked} | {trained} | {ours} | {published} |")
    return "\n".join(lines)


def run_all(chosen: list[str]) -> None:
    """Runs what is missing, stores the results after each cell and prints the table."""
    cells = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for seed in SEEDS:
        for name in chosen or CELLS:
            if f"{name}-{seed}" in cells:
                continue
            cells[f"{name}-{seed}"] = run_cell(name, seed)
            RESULTS.write_text(json.dumps(cells, indent=1) + "\n")
    print(table(cells))


if __name__ == "__main__":
    run_all(sys.argv[1:])
