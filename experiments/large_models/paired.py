"""Two rows told apart over people and seeds: people's own values stay in the runs' folders."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.cells import Cells
from fedjax_rec.reporting.significance import difference

GAIN = "test/ndcg@10"
RUNS = Path("runs/large_models")


def tell_difference(cells: Cells, name: str, first: Sequence[str], other: Sequence[str]) -> None:
    """Stores how far one row is from another, if the folders of all their cells are there.

    Args:
      cells: where to.
      name: of what is stored.
      first: names of a row's cells, a seed each.
      other: likewise.
    """
    folders = [[RUNS / cell for cell in row] for row in (first, other)]
    if all((folder / "per_client.npz").exists() for row in folders for folder in row):
        of_rows = [np.stack([of_people(folder) for folder in row]) for row in folders]
        cells.note(name, {"seeds": len(first), **apart(*of_rows)})


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
