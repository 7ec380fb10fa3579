"""Large models: a language model as ranker, and a text tower on items that nobody has met.

.venv/bin/python -m experiments.large_models.run [TABLE ...]
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.cells import Cells, machine, markdown, seconds
from experiments.large_models.ranker import told
from fedjax_rec.reporting.significance import difference

SEEDS = (0, 1, 2)
GAIN = "test/ndcg@10"

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
    """Stores how the first row differs from each other one, over the seeds up to the last.

    People's own values stay in the runs' folders.
    """
    first, *others = COLD
    for row in others:
        names = [[f"cold/{one}/{seed}" for seed in range(last + 1)] for one in (first, row)]
        folders = [[Path("runs/large_models") / name for name in each] for each in names]
        if all((folder / "per_client.npz").exists() for each in folders for folder in each):
            of_rows = [np.stack([of_people(folder) for folder in each]) for each in folders]
            cells.note(f"cold/first less {row}", {"seeds": last + 1, **apart(*of_rows)})


def of_people(folder: Path) -> NDArray[np.float64]:
    """NDCG@10 of every person of a run, NaN where nothing is held out."""
    with np.load(folder / "per_client.npz") as values:
        return np.asarray(values[GAIN], np.float64)


def apart(first: NDArray[np.float64], other: NDArray[np.float64]) -> dict[str, Any]:
    """The mean difference with the middle 95 % over draws of people and of seeds, paired.

    Args:
      first: `[seeds, people]`.
      other: likewise.
    """
    gaps = (first - other)[:, ~np.isnan(first[0])]
    draw = np.random.default_rng(0)
    num, people = gaps.shape
    means = [
        gaps[draw.integers(0, num, num)][:, draw.integers(0, people, people)].mean()
        for _ in range(2000)
    ]
    test = difference(first, other)
    return {
        "mean": float(gaps.mean()),
        "interval": np.percentile(means, [2.5, 97.5]).tolist(),
        "p": None if test is None else test.p,
    }


def against(said: dict[str, Any] | None) -> str:
    """A difference in words."""
    if said is None:
        return "-"
    low, high = said["interval"]
    p = "" if said["p"] is None else f", p {said['p']:.3f}"
    return f"{said['mean']:.4f} ({low:.4f} to {high:.4f}{p})"


def table(cells: dict[str, Any]) -> str:
    """All tables."""
    return "\n\n".join(filter(None, [ranker(cells), cold(cells), f"Ran on: {machine(cells)}"]))


if __name__ == "__main__":
    cells = Cells(Path(__file__).parent)
    run(cells, sys.argv[1:] or ["ranker", "cold"])
    cells.write_readme(table(cells.found))
