"""All ranking methods under one clean protocol: eight trials on validation, then three seeds.

.venv/bin/python -m experiments.leaderboard.run [METHOD ...]
"""

import statistics
import sys
from pathlib import Path

from experiments.cells import Cells, machine, markdown
from experiments.leaderboard.methods import METHODS, TRANSFERRED
from experiments.trials import Comparison, spread

DATA = {"ML-100K": (), "ML-1M": ("--data.name", "ml-1m", "--split.validation", "hash")}
LEADERBOARD = Comparison(METHODS, DATA, TRANSFERRED, metric="ndcg@10")


def table(cells: dict) -> str:
    """Test HR@10 and NDCG@10 of the chosen settings, mean and standard deviation over seeds."""

    def figures(found: list[dict]) -> tuple[float, list[str]]:
        has_own = "test_global/ndcg@10" in found[0]["metrics"]
        common = spread(found, "test_global/ndcg@10") if has_own else "-"
        place = -statistics.mean(cell["metrics"]["test/ndcg@10"] for cell in found)
        scores = [spread(found, f"test/{name}@10") for name in ("hit_rate", "ndcg")]
        return place, [*scores, common]

    heads = ["HR@10", "NDCG@10", "global table"]
    parts = [*LEADERBOARD.tables(cells, heads, figures), unfinished(cells)]
    return "\n\n".join([*filter(None, parts), f"Ran on: {machine(cells)}"])


def unfinished(cells: dict) -> str:
    """Test metrics of the best setting so far, one seed, of methods whose row is not complete."""
    found = sorted(
        LEADERBOARD.unfinished(cells).items(),
        key=lambda item: -item[1][1]["metrics"]["test/ndcg@10"],
    )
    rows = [
        [method, f"{number} of {len(METHODS[method][1])}", *_percent(cell["metrics"])]
        for method, (number, cell) in found
    ]
    heads = ["ML-100K, not complete: one seed", "settings tried", "HR@10", "NDCG@10"]
    return markdown(heads, rows) if rows else ""


def _percent(metrics: dict) -> list[str]:
    return [f"{100 * metrics[f'test/{name}@10']:.1f}" for name in ("hit_rate", "ndcg")]


if __name__ == "__main__":
    cells = Cells(Path(__file__).parent)
    for method in sys.argv[1:] or METHODS:
        LEADERBOARD.run(cells, method)
    cells.write_readme(table(cells.found))
