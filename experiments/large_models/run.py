"""Large models: a language model as ranker, and a text tower on items that nobody has met.

.venv/bin/python -m experiments.large_models.run [TABLE ...]
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.cells import Cells, machine, markdown, seconds
from experiments.large_models import warm
from experiments.large_models.paired import GAIN, against, tell_difference
from experiments.large_models.ranker import told

SEEDS = (0, 1, 2)

SHORT = ("--rounds", "50", "--evaluate.every", "25")
UNTRAINED = ("--algorithm.user_learning_rate", "1e-12", "--algorithm.dense_learning_rate", "1e-12")

COLD = {
    "federated LoRA, upper two layers": SHORT,
    "random order": ("--algorithm.paths=", *UNTRAINED, "--rounds", "1"),
    "frozen tower, projection trained": ("--algorithm.paths=", *SHORT),
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


def run(cells: Cells, tables: list[str]) -> None:
    """Runs what is not stored."""
    if "ranker" in tables:
        cells.run("ranker/smollm2", "tallrec-movie/smollm2_lora", "--rounds", "2", more=told)
    if "cold" in tables:
        for seed in SEEDS:
            for row, options in COLD.items():
                words = (*options, "--seed", str(seed)) if seed else options
                name = f"cold/{row}/{seed}"
                cells.run(name, "ml-100k/minilm_cold", *words)
            tell_differences(cells, seed)
    if "warm" in tables:
        warm.run(cells)


def ranker(cells: dict[str, Any]) -> str:
    """AUC of each method on the same prompts, over all and within equal counts."""
    cell = cells.get("ranker/smollm2")
    if cell is None:
        return ""
    rows = []
    for row, name in METHODS.items():
        said = cell["methods"][name]
        whole, within = (with_interval(said[key]) for key in ("auc", "within"))
        rows.append([row, whole, within, words(said["within_over_people"][1:])])
    rows.append([PUBLISHED, "0.675 / 0.720", "-", "-"])
    heads = ["method", "AUC", "AUC within equal counts", "of that, over people"]
    note = (
        f"{cell['num_prompts']} prompts of {cell['num_people']} people, base rate "
        f"{cell['base_rate']:.3f}; intervals of 95 % over prompts. On all tested prompts "
        f"the counts alone have {cell['counts_on_all']:.3f}. Run: {seconds(cell)}."
    )
    return f"{markdown(heads, rows)}\n\n{note}"


def with_interval(said: Sequence[float]) -> str:
    """A number and its interval in words.

    >>> with_interval([0.3, 0.25, 0.5])
    '0.300 (0.250 to 0.500)'
    """
    return f"{said[0]:.3f} ({words(said[1:])})"


def words(interval: Sequence[float]) -> str:
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
                against(cells.get(f"cold/first less {row}")),
                str(found[0]["reported_round"]),
                str(len(found)),
                seconds(found[0]),
            ]
        )
    heads = ["items by", "NDCG@10", "first row less this one", "round", "seeds", "time"]
    return markdown(heads, rows) if rows else ""


def tell_differences(cells: Cells, last: int) -> None:
    """Stores how the first row differs from each other one, over the seeds up to the last."""
    first, *others = COLD
    for row in others:
        names = [[f"cold/{one}/{seed}" for seed in range(last + 1)] for one in (first, row)]
        tell_difference(cells, f"cold/first less {row}", *names)


def table(cells: dict[str, Any]) -> str:
    """All tables."""
    return "\n\n".join(
        filter(None, [ranker(cells), cold(cells), warm.table(cells), f"Ran on: {machine(cells)}"])
    )


if __name__ == "__main__":
    cells = Cells(Path(__file__).parent)
    run(cells, sys.argv[1:] or ["ranker", "cold", "warm"])
    cells.write_readme(table(cells.found))
