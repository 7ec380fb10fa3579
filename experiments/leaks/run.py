"""FedRAP's score by what training negatives avoid: the fingerprint of a leak (R10).

.venv/bin/python -m experiments.leaks.run
"""

import statistics
from pathlib import Path

from experiments.cells import Cells, machine, markdown, percent, seconds

PRESET = "pfedrec-ml-100k/fedrap"
DRAWS = {250: (0, 1, 2), 943: (0,)}
"""How many users, and the seeds that choose them and train."""

WHOLE = "943-train-full-0"
"""Fair negatives, and all items are ranked."""

POOLS = ("heldout", "heldout_and_candidates", "train")
REFERENCE = {
    "heldout": "95.6 / 82.6",
    "heldout_and_candidates": "37.2 / 21.6",
    "train": "23.2 / 12.9",
}
"""A NumPy re-implementation of the released code, 250 users, 30 rounds, one seed."""


def table(cells: dict) -> str:
    """HR@10 / NDCG@10 in percent by users and pool of negatives."""
    rows = []
    for users, seeds in DRAWS.items():
        for pool in POOLS:
            for seed in seeds:
                cell = cells.get(f"{users}-{pool}-{seed}")
                if cell:
                    own, common = percent(cell), percent(cell, "test_global")
                    rows.append([f"{users}, {seed}", f"`{pool}`", own, common, seconds(cell)])
            if users == 250 and all(cells.get(f"250-{pool}-{seed}") for seed in seeds):
                rows.append(_mean(pool, [cells[f"250-{pool}-{seed}"] for seed in seeds]))
    cell = cells.get(WHOLE)
    if cell:
        own, common = percent(cell), percent(cell, "test_global")
        rows.append(["943, 0, whole catalogue", "`train`", own, common, seconds(cell)])
    heads = ["users, seed", "negatives avoid", "own tables", "global table", "time"]
    return f"{markdown(heads, rows)}\n\nRan on: {machine(cells)}"


def _mean(pool: str, cells: list[dict]) -> list[str]:
    hits = statistics.mean(100 * cell["metrics"]["test/hit_rate@10"] for cell in cells)
    gain = statistics.mean(100 * cell["metrics"]["test/ndcg@10"] for cell in cells)
    ours, other = f"**{hits:.1f} / {gain:.1f}**", f"reference: {REFERENCE[pool]}"
    return ["250, mean", f"`{pool}`", ours, other, ""]


if __name__ == "__main__":
    cells = Cells(Path(__file__).parent)
    for users, seeds in DRAWS.items():
        for pool in POOLS:
            for seed in seeds:
                options = ["--negatives.exclude", pool, "--seed", str(seed)]
                if users < 943:
                    options += ["--data.num_users", str(users), "--data.seed", str(seed)]
                cells.run(f"{users}-{pool}-{seed}", PRESET, *options)
    fair = ("--negatives.exclude", "train", "--seed", "0", "--evaluate.candidates", "full")
    cells.run(WHOLE, PRESET, *fair)
    cells.write_readme(table(cells.found))
