"""CoLR on MovieLens-1M: what a client may save of its upload (R4, R5).

.venv/bin/python -m experiments.low_rank.run
"""

from pathlib import Path

from experiments.cells import Cells, machine, markdown, percent, seconds

PRESET = "ncf-ml-1m/colr"
PUBLISHED = {64: 64.8, 32: 64.4, 16: 63.5, 8: 62.4, 4: 60.7, 2: 59.2, 1: 57.3}
"""HR@10 by rank, read off figures 3 and 4 of Nguyen et al. (2024), within 0.3."""


def table(cells: dict) -> str:
    """HR@10 / NDCG@10 by rank, the difference from what is published, and the time."""
    rows = []
    for rank, published in PUBLISHED.items():
        cell = cells.get(f"rank-{rank}")
        if cell is None:
            continue
        difference = 100 * cell["metrics"]["test/hit_rate@10"] - published
        name = f"{rank}" if rank < 64 else "64: FedMF"
        rows.append([name, percent(cell), f"{published}", f"{difference:+.1f}", seconds(cell)])
    heads = ["rank", "ours, HR@10 / NDCG@10", "published HR@10", "difference", "time"]
    return f"{markdown(heads, rows)}\n\nRan on: {machine(cells)}"


if __name__ == "__main__":
    cells = Cells(Path(__file__).parent)
    for rank in PUBLISHED:
        cells.run(f"rank-{rank}", PRESET, "--algorithm.rank", str(rank))
    cells.write_readme(table(cells.found))
