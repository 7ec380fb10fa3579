"""Neural collaborative filtering on pooled MovieLens-1M, as released (R8).

.venv/bin/python -m experiments.ncf.run
"""

from pathlib import Path

from experiments.cells import Cells, machine, markdown, percent, seconds

PUBLISHED = {
    "GMF": (70.8, 42.9),
    "MLP, 8 factors": (69.1, 41.6),
    "MLP, 32 factors": (69.1, 41.6),
    "NeuMF": (70.1, 42.4),
}
"""HR@10 / NDCG@10 of a public PyTorch port with 32 factors; its README has the paper's too."""

CELLS = {
    "GMF": ("gmf", "gmf"),
    "MLP, 8 factors": ("mlp", "mlp"),
    "MLP, 32 factors": ("mlp-32", "mlp", "--algorithm.dim", "128"),
    "NeuMF": ("neumf", "neumf"),
}
"""Row -> cell, preset and what differs from it; a tower ends at a quarter of its width."""


HITS, GAIN = "test/hit_rate@10", "test/ndcg@10"


def table(cells: dict) -> str:
    """HR@10 / NDCG@10 by model, beside what is published."""
    rows = []
    for model, (hits, gain) in PUBLISHED.items():
        cell = cells.get(CELLS[model][0])
        if cell:
            best, ours = "-", cell["metrics"][HITS]
            if "by_round" in cell:
                curve = cell["by_round"]
                ours = max(curve[HITS])
                epoch = curve[HITS].index(ours)
                best = f"{100 * ours:.1f} / {100 * curve[GAIN][epoch]:.1f} ({epoch + 1})"
            difference = f"{100 * ours - hits:+.1f}"
            columns = [percent(cell), best, f"{hits} / {gain}", difference, seconds(cell)]
            rows.append([model, *columns])
    heads = ["model", "last epoch", "best on test (epoch)", "published", "difference", "time"]
    return f"{markdown(heads, rows)}\n\nRan on: {machine(cells)}"


if __name__ == "__main__":
    cells = Cells(Path(__file__).parent)
    for name, preset, *options in CELLS.values():
        cells.run(name, f"ncf-ml-1m/{preset}", *options, by_round=(HITS, GAIN))
    cells.write_readme(table(cells.found))
