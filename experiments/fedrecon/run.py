"""FedRecon on MovieLens-1M under its authors' protocol (R7), with ablations.

.venv/bin/python -m experiments.fedrecon.run [CELL ...]
"""

import statistics
import sys
from pathlib import Path

from experiments.cells import Cells, machine, markdown, seconds

SEEDS = (0, 1, 2)
STANDARD = ("--split.holdout", "ratio", "--split.validation", "ratio")
MEANS = ("ml-100k/rating_means", "--data.name", "ml-1m", "--split.max_events", "300")
CELLS = {
    "split": ("ml-1m/fedrecon",),
    "global": (
        *("ml-1m/fedrecon", "--algorithm.training", "global"),
        *("--algorithm.dense_learning_rate", "0.03"),  # of the vector: 0.1 diverges
    ),
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
    "split": ("new users", "FedRecon", (0.907, 43.3)),
    "global": ("new users", "FedAvg, one vector for everybody", (0.934, 40.0)),
    "joint": ("new users", "FedAvg, vector drawn afresh each round", None),
    "kept": ("new users", "FedAvg, vector kept by its client", None),
    "unsplit": ("new users", "FedRecon, support and query the same", None),
    "split-standard": ("known users", "FedRecon", None),
    "fedavg-standard": ("known users", "FedAvg, vector kept by its client", (0.939, 41.5)),
    "means": ("new users", "means with biases of items and users", None),
    "means-standard": ("known users", "means with biases of items and users", None),
}
"""Cell -> who is asked, what trained, and what was published."""


def table(cells: dict) -> str:
    """RMSE / accuracy in percent, means over the seeds; of RMSE the spread too."""
    rows = []
    for name, (asked, trained, published) in ROWS.items():
        found = [cells[key] for seed in SEEDS if (key := f"{name}-{seed}") in cells]
        if not found:
            continue
        errors = [cell["metrics"]["test/rmse"] for cell in found]
        error = statistics.mean(errors)
        hits = statistics.mean(100 * cell["metrics"]["test/accuracy"] for cell in found)
        ours = f"{error:.3f} / {hits:.1f}"
        spread = f"{min(errors):.3f} to {max(errors):.3f}, {len(found)}"
        theirs, difference = "-", "-"
        if published:
            theirs = f"{published[0]:.3f} / {published[1]:.1f}"
            difference = f"{error - published[0]:+.3f} / {hits - published[1]:+.1f}"
        longest = max(found, key=lambda cell: cell["timing"]["train_seconds"])
        rows.append([asked, trained, ours, spread, theirs, difference, seconds(longest)])
    heads = ["asked", "trained", "ours", "RMSE, seeds", "published", "difference", "longest"]
    return f"{markdown(heads, rows)}\n\nRan on: {machine(cells)}"


if __name__ == "__main__":
    cells = Cells(Path(__file__).parent)
    for seed in SEEDS:
        for name in sys.argv[1:] or CELLS:
            preset, *changes = CELLS[name]
            changes += ["--seed", str(seed), "--split.seed", str(seed)]
            changes += ["--evaluate.every", "500", "--execution.num_devices", "1"]
            cells.run(f"{name}-{seed}", preset, *changes)
    cells.write_readme(table(cells.found))
