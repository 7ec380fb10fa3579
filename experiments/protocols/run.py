"""What the choices of a protocol do to the figures of one model on one data set.

.venv/bin/python -m experiments.protocols.run
"""

import itertools
from pathlib import Path

from experiments.cells import Cells, machine, markdown

TIES = ("hash", "file_order", "item_id")
CANDIDATES = ("full", "uni99")
ROWS = {
    ("popularity", "train"): ("Popularity", "(draws none)"),
    ("fedmf", "train"): ("FedMF", "`train`"),
    ("fedmf", "heldout"): ("FedMF", "`heldout`"),
}
"""Model and what its negatives avoid -> how the row begins."""

PRESETS = {"popularity": "ml-100k/popularity", "fedmf": "ml-100k/fedmf_by_client"}

COLUMNS = list(itertools.product(CANDIDATES, TIES))


def table(cells: dict) -> str:
    """Test HR@10 / NDCG@10 by model, pool of negatives, candidates and tie rule."""
    heads = ["model", "negatives exclude", *(f"{each}, `{ties}`" for each, ties in COLUMNS)]
    rows = []
    for of_row, begins in ROWS.items():
        found = [cells["-".join(of_row + of_column)]["metrics"] for of_column in COLUMNS]
        figures = [f"{m['test/hit_rate@10']:.3f} / {m['test/ndcg@10']:.3f}" for m in found]
        rows.append([*begins, *figures])
    return markdown(heads, rows)


if __name__ == "__main__":
    cells = Cells(Path(__file__).parent)
    for model, exclude in ROWS:
        for candidates, ties in COLUMNS:
            options = ("--split.ties", ties, "--negatives.exclude", exclude)
            name = "-".join((model, exclude, candidates, ties))
            cells.run(name, PRESETS[model], *options, "--evaluate.candidates", candidates)
    cells.write_readme(f"{table(cells.found)}\n\nRan on: {machine(cells.found)}")
