"""All ranking methods under one clean protocol: eight trials on validation, then three seeds.

.venv/bin/python -m experiments.leaderboard.run [METHOD ...]
"""

import statistics
import sys
from pathlib import Path

from experiments.cells import Cells, machine, markdown, seconds
from experiments.leaderboard.methods import METHODS, TRANSFERRED

SEEDS = (0, 1, 2)
LIMIT = 900.0
ML_1M = ("--data.name", "ml-1m", "--split.validation", "hash")


def best_trial(cells: dict, method: str) -> tuple[str, ...]:
    """The settings with the best validation NDCG@10; of equals the first."""
    trials = METHODS[method][1]
    if len(trials) == 1:
        return trials[0]

    def score(number: int) -> float:
        metrics = cells[f"{method}/trial-{number}"].get("metrics", {})
        return metrics.get("valid/ndcg@10", -1.0)

    return trials[max(range(len(trials)), key=score)]


def run_method(cells: Cells, method: str) -> None:
    """Tries the settings with seed 0, then runs the best with every seed."""
    preset, trials = METHODS[method]
    if len(trials) > 1:
        for number, trial in enumerate(trials):
            cells.run(f"{method}/trial-{number}", preset, *trial, seconds=LIMIT)
    chosen = best_trial(cells.found, method)
    for data, options in (("ML-100K", ()), ("ML-1M", ML_1M)):
        if data == "ML-100K" or method in TRANSFERRED:
            for seed in SEEDS:
                words = (*options, *chosen, "--seed", str(seed))
                cells.run(f"{method}/{data}-{seed}", preset, *words, seconds=LIMIT)


def table(cells: dict) -> str:
    """Test HR@10 / NDCG@10 of the chosen settings, mean and standard deviation over seeds."""
    parts = []
    for data in ("ML-100K", "ML-1M"):
        rows = []
        for method in METHODS:
            found = [cells.get(f"{method}/{data}-{seed}") for seed in SEEDS]
            if all(found):
                rows.append([method, *_figures(found)])
        rows.sort(key=lambda row: row[2], reverse=True)
        if rows:
            heads = [data, "HR@10", "NDCG@10", "global table", "settings", "time"]
            parts.append(markdown(heads, rows))
    return "\n\n".join([*parts, f"Ran on: {machine(cells)}"])


def _figures(found: list) -> list[str]:
    stopped = [cell["stopped"] for cell in found if "stopped" in cell]
    if stopped:
        return [stopped[0], "-", "-", "-", "-"]

    def mean(key: str) -> str:
        values = [100 * cell["metrics"][key] for cell in found]
        return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"

    has_own = "test_global/ndcg@10" in found[0]["metrics"]
    words = found[0]["command"].split()[3:-2]
    settings = [
        f"{key.removeprefix('--algorithm.')} {value}"
        for key, value in zip(words[::2], words[1::2], strict=True)
        if not key.startswith(("--data", "--split", "--algorithm.name"))
    ]
    common = mean("test_global/ndcg@10") if has_own else "-"
    scores = [mean("test/hit_rate@10"), mean("test/ndcg@10"), common]
    return [*scores, ", ".join(settings) or "-", seconds(found[0])]


if __name__ == "__main__":
    cells = Cells(Path(__file__).parent)
    for method in sys.argv[1:] or METHODS:
        run_method(cells, method)
    cells.write_readme(table(cells.found))
