"""Whether a private vector that serves two domains beats one that serves the target alone.

Runs every cell that has not been run, or those of the arms that are named, and once all are
there stores `results.json` and prints the tables. A run that was stopped goes on. What users
got one by one stays in `runs/`; only sums are stored.

    .venv/bin/python experiments/cross_domain/run.py ["shared vector" ...]
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from fedjax_rec import configure_cpu
from fedjax_rec.config import load_preset

if TYPE_CHECKING:
    from fedjax_rec.data import FederatedData

RESULTS = Path(__file__).with_name("results.json")
RUNS = Path("runs/cross_domain")
SEEDS = (0, 1, 2)
METRICS = ("hit_rate@10", "ndcg@10", "hit_rate@50", "ndcg@50")
ALONE, BOTH = "disencdr-phone-electronic/fedcmf", "disencdr-phone+electronic/fedcmf"
ARMS = {
    "target alone": [ALONE],
    "target alone for 120 rounds": [ALONE, "--rounds", "120"],
    "shared vector": [BOTH],
    "shared vector and bridge": [BOTH, "--algorithm.bridge", "linear"],
    "histories of strangers": [BOTH],
    "popularity": ["disencdr-phone-electronic/popularity"],
}
SHARED, STRANGERS = "shared vector", "histories of strangers"
CONTROL, LONGER = "target alone", "target alone for 120 rounds"


def of_strangers(data: "FederatedData") -> "FederatedData":
    """The same two domains, but everybody has somebody else's events in the other one."""
    from fedjax_rec.data import beside, client_data

    train = data.split.train
    other = train.other
    assert other is not None
    deal = np.random.default_rng(0).permutation(train.num_users).astype(np.int32)
    dealt = beside(train, replace(other, users=deal[other.users]))
    split = replace(data.split, train=dealt)
    return replace(data, split=split, clients=client_data(split, exclude=data.exclude))


def folder_of(arm: str, seed: int) -> Path:
    """Where a cell runs."""
    return RUNS / f"{arm.replace(' ', '_')}-{seed}"


def run_cell(arm: str, seed: int) -> dict:
    """The record of a cell; runs it, and keeps what each user got, where that was not done."""
    folder = folder_of(arm, seed)
    record = folder / "cell.json"
    if record.exists():
        return json.loads(record.read_text())
    configure_cpu()  # before jax is imported
    from fedjax_rec.experiment import build, resolve
    from fedjax_rec.reporting import environment

    preset, *words = ARMS[arm]
    words += ["--seed", str(seed)]
    experiment = build(resolve(load_preset(preset, words)))
    if arm == STRANGERS:
        experiment = replace(experiment, data=of_strangers(experiment.data))
    result = experiment.run(folder, resume=True, report=print, notice=print)
    if result.is_interrupted:
        sys.exit(f"{folder}: the run did not end; the next call goes on with it")
    np.savez(folder / "per_client.npz", **{name: result.per_client[name] for name in METRICS})
    kept = ("metrics", "protocol", "rounds", "reported_round", "timing")
    cell = {"arm": arm, "seed": seed, **{key: result.summary[key] for key in kept}}
    cell["environment"] = environment(["run", preset, *words], seed)
    record.write_text(json.dumps(cell, indent=1) + "\n")
    return cell


def per_user(arm: str, metric: str) -> np.ndarray:
    """`[N]` each user's metric, the mean over the seeds; only users with a test item."""
    found = [np.load(folder_of(arm, seed) / "per_client.npz")[metric] for seed in SEEDS]
    values = np.mean(found, axis=0)
    return values[~np.isnan(values)]


def compare(arm: str, control: str, metric: str) -> dict:
    """Paired t-test over users, two-sided: an arm less another one."""
    difference = per_user(arm, metric) - per_user(control, metric)
    test = stats.ttest_1samp(difference, 0.0)
    low, high = test.confidence_interval(0.95)
    return {
        "difference": float(difference.mean()),
        "interval": [float(low), float(high)],
        "t": float(test.statistic),
        "p": float(test.pvalue),
        "num_users": len(difference),
    }


def table(results: dict) -> str:
    """Test figures in percent, means over the seeds, with the difference to the control."""
    lines = ["| arm | HR@10 | NDCG@10 | HR@50 | NDCG@50 |", "| --- " * 5 + "|"]
    for arm in ARMS:
        cells = [cell for cell in results["cells"].values() if cell["arm"] == arm]
        row = [arm]
        for metric in METRICS:
            text = f"{100 * np.mean([cell['metrics'][f'test/{metric}'] for cell in cells]):.2f}"
            if arm in results["comparisons"]:
                found = results["comparisons"][arm][metric]
                low, high = (100 * value for value in found["interval"])
                text += f" ({100 * found['difference']:+.2f}; {low:+.2f} to {high:+.2f})"
            row.append(text)
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def run_all(chosen: list[str]) -> None:
    """Runs what is missing; once every arm is there, stores the results and prints the table."""
    cells = {f"{arm}-{seed}": run_cell(arm, seed) for arm in chosen or ARMS for seed in SEEDS}
    if not chosen:
        tests = {
            arm: {metric: compare(arm, CONTROL, metric) for metric in METRICS}
            for arm in ARMS
            if arm != CONTROL
        }
        longer = {metric: compare(SHARED, LONGER, metric) for metric in METRICS}
        results = {"cells": cells, "comparisons": tests, f"{SHARED} less {LONGER}": longer}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        print(table(results))


if __name__ == "__main__":
    run_all(sys.argv[1:])
