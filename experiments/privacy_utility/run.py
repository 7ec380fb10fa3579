"""What user-level privacy costs: epsilon against NDCG@10, where clients are many and where few.

.venv/bin/python -m experiments.privacy_utility.run
"""

import statistics
from collections.abc import Iterable
from pathlib import Path

from experiments.cells import Cells, machine, markdown

SEEDS = (0, 1, 2)
EPSILONS = (None, 8, 3, 1)
"""None: the same chain, cohorts and rounds with noise that is next to nothing."""

DELTA = ("--privacy.delta", "1e-5")
"""Of 943 people; of 100,000 it would be one over their number, and the default is used."""

LAST = ("--stop.patience", "0")

SYNTHETIC = (
    *("--data.name", "synthetic", "--data.num_users", "100000", "--data.num_items", "1000"),
    *("--data.mean_events", "30"),
)
MANY = (
    *SYNTHETIC,
    *("--algorithm.dim", "16", "--algorithm.item_learning_rate", "5000"),
    *("--algorithm.user_learning_rate", "10"),
    *("--cohort.sampler", "poisson", "--cohort.size", "20000"),
    *("--rounds", "100", "--evaluate.every", "50"),
)
UNCLIPPED = (
    *SYNTHETIC,
    *("--algorithm.dim", "16", "--algorithm.user_learning_rate", "10"),
    *("--cohort.sampler", "uniform", "--cohort.size", "20000"),
    *("--rounds", "100", "--evaluate.every", "50"),
)
FEW = (
    *("--algorithm.item_learning_rate", "5000", "--cohort.sampler", "poisson"),
    *("--cohort.size", "94", "--rounds", "100", "--evaluate.every", "50", *LAST),
)
REBUILT = (
    *("--algorithm.name", "fedrecon", "--algorithm.training", "kept", *FEW),
    *("--algorithm.recon_epochs", "5"),
)
"""As FEW, but clients rebuild their vector before they are asked: that costs no privacy, and
those who come seldom do not answer with an old one."""

TURNS = (
    *("--algorithm.item_learning_rate", "5000", "--privacy.mechanism", "correlated"),
    *("--cohort.size", "94", "--rounds", "100", "--evaluate.every", "50", *LAST),
)
LOCAL = (
    *("--algorithm.item_learning_rate", "5000", "--privacy.mechanism", "local"),
    *("--cohort.size", "94", "--rounds", "100", "--evaluate.every", "50", *LAST),
)
ML_1M = ("--data.name", "ml-1m", "--split.validation", "hash")
EVERYBODY = (
    *("--algorithm.item_learning_rate", "5000", "--cohort.sampler", "all"),
    *("--rounds", "100", "--evaluate.every", "50", *LAST),
)
FRONTIERS = {
    "synthetic": ("synthetic/fedmf", MANY, (30, 100, 300)),
    "ml-100k, all": ("ml-100k/fedmf_by_client", EVERYBODY, (1, 3, 10)),
    "ml-100k": ("ml-100k/fedmf_by_client", FEW, (3, 10, 30)),
    "ml-100k, rebuilt": ("ml-100k/fedmf_by_client", REBUILT, (3, 10, 30)),
    "ml-100k, correlated": ("ml-100k/fedmf_by_client", TURNS, (3, 10, 30, 100)),
    "ml-100k, local": ("ml-100k/fedmf_by_client", LOCAL, (3, 10, 30, 100)),
    "ml-1m, all": ("ml-100k/fedmf_by_client", (*ML_1M, *EVERYBODY), (3, 10, 30, 100, 300)),
}
POPULAR = {
    "synthetic": ("ml-100k/popularity", SYNTHETIC),
    "ml-100k": ("ml-100k/popularity", ()),
    "ml-1m": ("ml-100k/popularity", ML_1M),
}


SOME = dict.fromkeys(("ml-100k, rebuilt", "ml-100k, local", "ml-1m, all"), (None, 8))
"""Frontiers with fewer levels: where the larger epsilon shows enough."""


def levels(name: str) -> tuple[int | None, ...]:
    """The epsilons of a frontier."""
    return SOME.get(name, EPSILONS)


def noise(name: str, epsilon: float | None) -> tuple[str, ...]:
    """Options of a level of privacy, for the data of a frontier."""
    delta = DELTA if name.startswith("ml-") else ()
    if epsilon is None:
        return (*delta, "--privacy.noise_multiplier", "1e-5")
    return (*delta, "--privacy.epsilon", str(epsilon))


def ndcg(cell: dict, split: str = "test") -> float:
    """NDCG@10 of a cell."""
    return float(cell["metrics"][f"{split}/ndcg@10"])


def chosen(cells: dict, name: str, epsilon: float | None, rates: Iterable[int]) -> int:
    """The server's rate that is best on validation, with seed 0."""
    return max(rates, key=lambda rate: ndcg(cells[f"{name}/{epsilon}/rate-{rate}"], "valid"))


def run_frontier(cells: Cells, name: str) -> None:
    """Tries the rates with seed 0, then runs the best with every seed."""
    preset, options, rates = FRONTIERS[name]
    for epsilon in levels(name):
        for rate in rates:
            words = (*options, *noise(name, epsilon), "--server.learning_rate", str(rate))
            cells.run(f"{name}/{epsilon}/rate-{rate}", preset, *words)
        rate = chosen(cells.found, name, epsilon, rates)
        for seed in SEEDS[1:]:
            words = (*options, *noise(name, epsilon), "--server.learning_rate", str(rate))
            cells.run(f"{name}/{epsilon}/seed-{seed}", preset, *words, "--seed", str(seed))


def seeds_of(cells: dict, name: str, epsilon: float | None) -> list[dict]:
    """The best rate's cells by seed, as far as they are there: that of seed 0 chose the rate."""
    rates = FRONTIERS[name][2]
    if any(f"{name}/{epsilon}/rate-{rate}" not in cells for rate in rates):
        return []
    first = cells[f"{name}/{epsilon}/rate-{chosen(cells, name, epsilon, rates)}"]
    others = [f"{name}/{epsilon}/seed-{seed}" for seed in SEEDS[1:]]
    return [first, *(cells[one] for one in others if one in cells)]


def run_popularity(cells: Cells) -> None:
    """Popularity, exact and with epsilon 1 on its one round."""
    for name, (preset, options) in POPULAR.items():
        for epsilon in (None, 1):
            words = options if epsilon is None else (*options, *noise(name, epsilon))
            cells.run(f"{name}/popularity-{epsilon}", preset, *words)


def run_unclipped(cells: Cells) -> None:
    """The best run without a clip that a few rates find: what the chain itself costs."""
    for rate in (50, 100, 200):
        words = (*UNCLIPPED, "--algorithm.item_learning_rate", str(rate))
        cells.run(f"unclipped/rate-{rate}", "synthetic/fedmf", *words)


def table(cells: dict) -> str:
    """NDCG@10 by epsilon, and the share of the gain over private popularity that is left."""
    rows = []
    for name in FRONTIERS:
        popular = cells.get(f"{name.partition(',')[0]}/popularity-1")
        found = {epsilon: seeds_of(cells, name, epsilon) for epsilon in levels(name)}
        for epsilon, runs in found.items():
            if len(runs) < len(SEEDS) or popular is None or len(found[None]) < len(SEEDS):
                continue
            values = [ndcg(one) for one in runs]
            mean, spread = statistics.mean(values), statistics.stdev(values)
            whole = statistics.mean(ndcg(one) for one in found[None]) - ndcg(popular)
            said = runs[0]["privacy"]
            rows.append(
                [
                    name,
                    "none, same chain" if epsilon is None else f"{said['epsilon']:.2f}",
                    "-" if epsilon is None else f"{said['noise_multiplier']:.3f}",
                    f"{mean:.4f} ± {spread:.4f}",
                    f"{ndcg(popular):.4f}",
                    f"{100 * (mean - ndcg(popular)) / whole:.0f} %" if whole > 0 else "-",
                ]
            )
    heads = [
        "data",
        "epsilon",
        "noise multiplier",
        "NDCG@10, three seeds",
        "private popularity",
        "gain left",
    ]
    unclipped = [ndcg(cell) for name, cell in cells.items() if name.startswith("unclipped/")]
    best = ""
    if unclipped:
        best = f"\n\nWithout a clip (best of {len(unclipped)} rates): {max(unclipped):.4f}."
    return f"{markdown(heads, rows)}{best}\n\nRan on: {machine(cells)}"


if __name__ == "__main__":
    cells = Cells(Path(__file__).parent)
    run_popularity(cells)
    run_unclipped(cells)
    for frontier in FRONTIERS:
        run_frontier(cells, frontier)
    cells.write_readme(table(cells.found))
