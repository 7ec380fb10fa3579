"""Many trials by one program: what 16 trials cost beside what they compute.

    python -m benchmarks.trials --json benchmarks/results/trials/ml-100k-fedmf.json

Runs the preset `ml-100k/fedmf` with four rates and four seeds by `simulate_many`, and then some
of the trials alone, from an empty cache, to compare them to the bit.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import fedjax_rec

fedjax_rec.configure_cpu()

import jax  # noqa: E402
import numpy as np  # noqa: E402

from fedjax_rec.algorithms import fedmf  # noqa: E402
from fedjax_rec.config import load_preset  # noqa: E402
from fedjax_rec.experiment import build, resolve  # noqa: E402
from fedjax_rec.experiment.assembly import aggregate_transform  # noqa: E402
from fedjax_rec.reporting import environment  # noqa: E402
from fedjax_rec.simulation.programs import clear_programs  # noqa: E402

RATES = (400.0, 800.0, 1600.0, 2400.0)
SEEDS = (0, 1, 2, 3)
COMPILED = "/jax/core/compile/backend_compile_duration"


def main() -> None:
    """Runs the trials and prints, or stores, what they took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--preset", default="ml-100k/fedmf")
    words = parser.parse_args()
    jax.config.update("jax_enable_compilation_cache", False)  # a first run, not a second
    begin = time.monotonic()
    seconds: list[float] = []

    def note(event: str, duration: float, **facts: Any) -> None:
        if event == COMPILED:
            seconds.append(duration)

    jax.monitoring.register_event_duration_secs_listener(note)
    experiment = build(resolve(load_preset(words.preset)), notice=print)
    config, data = experiment.config, experiment.data
    aggregate = aggregate_transform(
        config.aggregate, config.privacy, experiment.sampler.event, config.rounds
    )
    settings = dict(config.algorithm.settings)
    trials = [
        (settings | {"item_learning_rate": rate, "aggregate": aggregate}, seed)
        for rate in RATES
        for seed in SEEDS
    ]
    at_first_stretch: list[int] = []

    def count(report: Any) -> None:
        if report.round <= experiment.evaluation.every:
            at_first_stretch.append(len(seconds))

    options = {
        "report": count,
        "rounds": config.rounds,
        "sampler": experiment.sampler,
        "evaluation": experiment.evaluation,
        "stop": experiment.stop,
        "notice": lambda line: None,
    }
    start = time.monotonic() - begin
    results = fedjax_rec.simulate_many(fedmf, data, trials, **options)
    wall = time.monotonic() - begin
    num_compiled, compiled = len(seconds), sum(seconds)
    timing = [result.summary["timing"] for result in results]
    first, later = timing[0], timing[1:]
    work = sum(one["train_seconds"] for one in timing)
    work += len(timing) * float(np.median([one["evaluate_seconds"] for one in later]))
    compile_seconds = first["compile_seconds"]
    compile_seconds += first["evaluate_seconds"] - later[0]["evaluate_seconds"]
    clear_programs()
    alone = fedjax_rec.simulate_many(fedmf, data, trials[-1:], **options)
    found = {
        "trials": len(trials),
        "wall_seconds": wall,
        "start_seconds": start,
        "compile_seconds": compile_seconds,
        "train_and_evaluate_seconds": work,
        "ratio": wall / (start + compile_seconds + work),
        "programs_compiled": num_compiled,
        "programs_compiled_after_the_second_trial_began": num_compiled - at_first_stretch[1],
        "xla_seconds": compiled,
        "compile_seconds_of_later_trials": max(one["compile_seconds"] for one in later),
        "equal_to_a_single_run": _are_equal(alone[0], results[-1]),
        "test/ndcg@10": [result.summary["metrics"]["test/ndcg@10"] for result in results],
        "environment": environment(["python", "-m", "benchmarks.trials"], 0),
    }
    print(json.dumps({key: value for key, value in found.items() if key != "environment"}))
    if words.json:
        words.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _are_equal(one: Any, other: Any) -> bool:
    """Whether two runs left the same parameters and metrics, to the bit."""
    leaves = [jax.tree.leaves((run.state.shared, run.clients)) for run in (one, other)]
    pairs = zip(*leaves, strict=True)
    is_equal = all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in pairs)
    return is_equal and one.summary["metrics"] == other.summary["metrics"]


if __name__ == "__main__":
    main()
