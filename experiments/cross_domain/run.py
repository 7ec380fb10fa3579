"""Whether a private vector that serves two domains beats one that serves the target alone.

Runs every cell that `results.json` lacks, stores it there and prints the tables. A run that
was stopped goes on. What users got one by one stays in `runs/`; only sums are stored.

    .venv/bin/python experiments/cross_domain/run.py
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

from fedjax_rec import configure_cpu

configure_cpu()

import numpy as np  # noqa: E402
from scipy import stats  # noqa: E402

from fedjax_rec.config import load_preset  # noqa: E402
from fedjax_rec.data import FederatedData, beside, client_data  # noqa: E402
from fedjax_rec.experiment import build, resolve  # noqa: E402
from fedjax_rec.reporting import environment  # noqa: E402

RESULTS = Path(__file__).with_name("results.json")
RUNS = Path("runs/cross_domain")
SEEDS = (0, 1, 2)
METRICS = ("hit_rate@10", "ndcg@10", "hit_rate@50", "ndcg@50")
ALONE, BOTH = "disencdr-phone-electronic/fedmf", "disencdr-phone+electronic/fedcmf"
ARMS = {
    "popularity": [ALONE, "--algorithm.name", "popularity"],
    "target alone": [ALONE],
    "shared vector": [BOTH],
    "shared vector, bridge": [BOTH, "--algorithm.bridge", "linear"],
    "shared vector, histories of strangers": [BOTH],
}
CONTROL, STRANGERS = "target alone", "shared vector, histories of strangers"


def of_strangers(data: FederatedData) -> FederatedData:
    """The same two domains, but everybody has somebody else's events in the other one."""
    train = data.split.train
    other = train.other
    assert other is not None
    deal = np.random.default_rng(0).permutation(train.num_users).astype(np.int32)
    dealt = beside(train, replace(other, users=deal[other.users]))
    split = replace(data.split, train=dealt)
    return replace(data, split=split, clients=client_data(split, exclude=data.exclude))


def run_cell(arm: str, seed: int) -> dict:
    """Runs one cell, keeps what each user got beside the run and returns its record."""
    folder = RUNS / f"{arm.replace(', ', '-').replace(' ', '_')}-{seed}"
    preset, *words = ARMS[arm]
    config = resolve(load_preset(preset, [*words, "--seed", str(seed)]))
    experiment = build(config)
    if arm == STRANGERS:
        experiment = replace(experiment, data=of_strangers(experiment.data))
    result = experiment.run(folder, resume=True, report=print, notice=print)
    if result.is_interrupted:
        sys.exit(f"{folder}: the run did not end; the next call goes on with it")
    np.savez(folder / "per_client.npz", **{name: result.per_client[name] for name in METRICS})
    kept = ("metrics", "protocol", "rounds", "reported_round", "timing")
    facts = environment(["experiments/cross_domain/run.py"], seed)
    return {
        "arm": arm,
        "seed": seed,
        **{key: result.summary[key] for key in kept},
        "environment": facts,
    }


def per_user(arm: str, metric: str) -> np.ndarray:
    """`[N]` each user's metric, the mean over the seeds; only users with a test item."""
    folders = [RUNS / f"{arm.replace(', ', '-').replace(' ', '_')}-{seed}" for seed in SEEDS]
    values = np.mean([np.load(folder / "per_client.npz")[metric] for folder in folders], axis=0)
    return values[~np.isnan(values)]


def compare(arm: str, metric: str) -> dict:
    """Paired t-test over users: the arm less the target alone, two-sided."""
    difference = per_user(arm, metric) - per_user(CONTROL, metric)
    test = stats.ttest_1samp(difference, 0.0)
    low, high = test.confidence_interval(0.95)
    return {
        "difference": float(difference.mean()),
        "interval": [float(low), float(high)],
        "t": float(test.statistic),
        "p": float(test.pvalue),
        "num_users": len(difference),
    }
