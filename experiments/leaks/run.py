"""FedRAP's score by what training negatives avoid: the fingerprint of a leak (R10).

.venv/bin/python -m experiments.leaks.run
"""

from pathlib import Path

from experiments.cells import Cells, machine, markdown, percent, seconds

PRESET = "pfedrec-ml-100k/fedrap"
USERS = (250, 943)
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
    for users in USERS:
        for pool in POOLS:
            cell = cells.get(f"{users}-{pool}")
            if cell:
                other = REFERENCE[pool] if users == 250 else "-"
                own, common = percent(cell), percent(cell, "test_global")
                rows.append([str(users), f"`{pool}`", own, common, other, seconds(cell)])
    heads = ["users", "negatives avoid", "own tables", "global table", "reference", "time"]
    return f"{markdown(heads, rows)}\n\nRan on: {machine(cells)}"


if __name__ == "__main__":
    cells = Cells(Path(__file__).parent)
    for users in USERS:
        for pool in POOLS:
            options = ("--data.num_users", str(users), "--negatives.exclude", pool)
            cells.run(f"{users}-{pool}", PRESET, *options)
    cells.write_readme(table(cells.found))
