"""Large models: a language model as ranker, and a text tower on items that nobody has met.

.venv/bin/python -m experiments.large_models.run [TABLE ...]
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from experiments.cells import Cells, machine, markdown, seconds
from experiments.large_models.ranker import auc, auc_within, interval, told
from fedjax_rec.reporting.significance import difference

SEEDS = (0, 1, 2)
GAIN = "test/ndcg@10"

SHORT = ("--rounds", "50", "--evaluate.every", "25")
UNTRAINED = ("--algorithm.user_learning_rate", "1e-12", "--algorithm.dense_learning_rate", "1e-12")

COLD = {
    "federated LoRA, upper two layers": SHORT,
    "frozen tower, projection trained": ("--algorithm.paths=", *SHORT),
    "random order": ("--algorithm.paths=", *UNTRAINED, "--rounds", "1"),
}
"""Row -> what differs from `ml-100k/minilm_cold`."""

METHODS = {
    "liked minus disliked titles": "counts",
    "how often the title is liked": "mean",
    "SmolLM2-135M, frozen": "before",
    "SmolLM2-135M, federated LoRA": "after",
}
"""Row -> where its scores are stored."""

PUBLISHED = "LLaMA-7B, TALLRec, 64 / 256 shots, as published"


def kept_by_person(folder: Path) -> dict[str, Any]:
    """NDCG@10 of every person, `None` where nothing is held out."""
    with np.load(folder / "per_client.npz") as values:
        own = values["ndcg@10"]
    return {"by_person": [None if np.isnan(one) else round(float(one), 4) for one in own]}


def run(cells: Cells, tables: list[str]) -> None:
    """Runs what is not stored."""
    if "ranker" in tables:
        cells.run("ranker/smollm2", "tallrec-movie/smollm2_lora", "--rounds", "2", more=told)
    if "cold" in tables:
        for seed in SEEDS:
            for row, options in COLD.items():
                words = (*options, "--seed", str(seed)) if seed else options
                name = f"cold/{row}/{seed}"
                cells.run(name, "ml-100k/minilm_cold", *words, more=kept_by_person)


def ranker(cells: dict[str, Any]) -> str:
    """AUC of each method on the same prompts, over all and within equal counts."""
    cell = cells.get("ranker/smollm2")
    if cell is None:
        return ""
    known = {name: np.array(values) for name, values in cell["prompts"].items()}
    label, counts = known["label"], known["counts"]
    alone = np.arange(len(label))
    rows = []
    for row, name in METHODS.items():
        scores = known[name].astype(float)
        whole, within = (
            f"{statistic(scores, label, counts):.3f} "
            f"({words(interval(statistic, scores, label, counts, alone))})"
            for statistic in (auc, auc_within)
        )
        by_person = words(interval(auc_within, scores, label, counts, known["person"]))
        rows.append([row, whole, within, by_person])
    rows.append([PUBLISHED, "0.675 / 0.720", "-", "-"])
    heads = ["method", "AUC", "AUC within equal counts", "of that, over people"]
    note = (
        f"{len(label)} prompts of {len(np.unique(known['person']))} people, base rate "
        f"{label.mean():.3f}; intervals of 95 % over prompts. On all tested prompts the counts "
        f"alone have {cell['counts_on_all']:.3f}. Run: {seconds(cell)}."
    )
    return f"{markdown(heads, rows)}\n\n{note}"


def words(interval: tuple[float, float]) -> str:
    """An interval in words.

    >>> words((0.25, 0.5))
    '0.250 to 0.500'
    """
    return f"{interval[0]:.3f} to {interval[1]:.3f}"


def cold(cells: dict[str, Any]) -> str:
    """NDCG@10 among held-out items, and the difference from the first row."""
    by_row = {}
    for row in COLD:
        names = [f"cold/{row}/{seed}" for seed in SEEDS if f"cold/{row}/{seed}" in cells]
        found = [cells[name] for name in names if "metrics" in cells[name]]
        if found:
            by_row[row] = found
    rows = []
    for row, found in by_row.items():
        gains = [cell["metrics"][GAIN] for cell in found]
        spread = f" ± {np.std(gains, ddof=1):.4f}" if len(gains) > 1 else ""
        rows.append(
            [
                row,
                f"{np.mean(gains):.4f}{spread}",
                against(found, by_row[next(iter(COLD))]) if rows else "-",
                str(found[0]["reported_round"]),
                str(len(found)),
                seconds(found[0]),
            ]
        )
    heads = ["items by", "NDCG@10", "first row less this one", "round", "seeds", "time"]
    return markdown(heads, rows) if rows else ""


def against(found: list[dict[str, Any]], first: list[dict[str, Any]]) -> str:
    """The mean difference with the middle 95 % over draws of people and of seeds, paired."""
    both = [np.array([cell["by_person"] for cell in one], float) for one in (first, found)]
    num = min(map(len, both))
    gaps = (both[0][:num] - both[1][:num])[:, ~np.isnan(both[0][0])]
    draw = np.random.default_rng(0)
    means = [
        gaps[draw.integers(0, num, num)][:, draw.integers(0, gaps.shape[1], gaps.shape[1])].mean()
        for _ in range(2000)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    test = difference(*both)
    p = f", p {test.p:.3f}" if test is not None else ""
    return f"{gaps.mean():.4f} ({low:.4f} to {high:.4f}{p})"


def tables(cells: dict[str, Any]) -> str:
    """All tables."""
    return "\n\n".join(filter(None, [ranker(cells), cold(cells), f"Ran on: {machine(cells)}"]))


if __name__ == "__main__":
    cells = Cells(Path(__file__).parent)
    run(cells, sys.argv[1:] or ["ranker", "cold"])
    cells.write_readme(tables(cells.found))
