"""Methods that predict ratings under one protocol: eight trials on validation, three seeds.

.venv/bin/python -m experiments.ratings.run [METHOD ...]
"""

import statistics
import sys
from pathlib import Path

from experiments.cells import Cells, machine
from experiments.trials import Comparison, Trials, grid, spread

SPLIT = ("--split.holdout", "ratio", "--split.validation", "ratio", "--split.share", "0.1")
DATA = {
    "ML-100K": ("--data.name", "ml-100k", *SPLIT),
    "ML-1M": ("--data.name", "ml-1m", *SPLIT),
}
EARLY_STOP = ("--evaluate.every", "20", "--stop.metric", "valid/rmse", "--stop.patience", "3")


def stopped_early(trials: Trials) -> Trials:
    """For presets that report their last round."""
    return [(*trial, *EARLY_STOP) for trial in trials]


OWN_RATES = stopped_early(
    grid(user_learning_rate=(0.05, 0.1), item_learning_rate=(0.25, 0.5, 1.0, 2.0))
)
METHODS: dict[str, tuple[str, Trials]] = {
    "means with biases": (
        "ml-100k/rating_means",
        grid(item_damping=(3.0, 10.0, 25.0, 50.0), user_damping=(5.0, 10.0)),
    ),
    "MF, pooled": (
        "ml-100k/mf_explicit",
        grid(learning_rate=(1e-3, 3e-3), regularization=(1e-5, 3e-5, 1e-4, 3e-4)),
    ),
    "FedMF by gradients": (
        "ml-100k/fedmf_explicit",
        grid(learning_rate=(2.5e-4, 5e-4), regularization=(0.03, 0.1, 0.3, 1.0)),
    ),
    "FedAvg of MF": ("ml-1m/fedavg", OWN_RATES),
    "FedRecon of MF": ("ml-1m/fedrecon", OWN_RATES),
}
RATINGS = Comparison(METHODS, DATA, METHODS, metric="rmse")


def table(cells: dict) -> str:
    """Test RMSE, MAE and accuracy of the chosen settings, mean and standard deviation."""

    def figures(found: list[dict]) -> tuple[float, list[str]]:
        place = statistics.mean(cell["metrics"]["test/rmse"] for cell in found)
        errors = [spread(found, f"test/{name}", scale=1, digits=3) for name in ("rmse", "mae")]
        return place, [*errors, spread(found, "test/accuracy")]

    heads = ["RMSE", "MAE", "accuracy, %"]
    return "\n\n".join([*RATINGS.tables(cells, heads, figures), f"Ran on: {machine(cells)}"])


if __name__ == "__main__":
    cells = Cells(Path(__file__).parent)
    for method in sys.argv[1:] or METHODS:
        RATINGS.run(cells, method)
    cells.write_readme(table(cells.found))
