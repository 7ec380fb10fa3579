"""Neural collaborative filtering on pooled MovieLens-1M, as released (R8).

.venv/bin/python -m experiments.ncf.run
"""

from pathlib import Path

from experiments.cells import Cells, machine, markdown, percent, seconds

PUBLISHED = {"gmf": (70.8, 42.9), "mlp": (69.1, 41.6), "neumf": (70.1, 42.4)}
"""HR@10 / NDCG@10 of a public PyTorch port with 32 factors; its README has the paper's too."""

NAMES = {"gmf": "GMF", "mlp": "MLP", "neumf": "NeuMF"}


def table(cells: dict) -> str:
    """HR@10 / NDCG@10 by model, beside what is published."""
    rows = []
    for model, (hits, gain) in PUBLISHED.items():
        cell = cells.get(model)
        if cell:
            difference = 100 * cell["metrics"]["test/hit_rate@10"] - hits
            found = [NAMES[model], percent(cell), f"{hits} / {gain}", f"{difference:+.1f}"]
            rows.append([*found, str(cell["reported_round"]), seconds(cell)])
    heads = ["model", "ours", "published", "difference", "epoch", "time"]
    return f"{markdown(heads, rows)}\n\nRan on: {machine(cells)}"


if __name__ == "__main__":
    cells = Cells(Path(__file__).parent)
    for model in PUBLISHED:
        cells.run(model, f"ncf-ml-1m/{model}")
    cells.write_readme(table(cells.found))
