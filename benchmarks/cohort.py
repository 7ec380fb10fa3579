"""One cohort of a large model: vmapped in chunks, and one client at a time, in one run.

    python -m benchmarks.cohort --json benchmarks/results/cohort/minilm-lora.json

Takes the round of a preset with several chunk sizes, in turn, from the same state. Stored are the
seconds of each, what the compiled program takes, and how far the results are apart: as a share of
what the round moved.
"""

import argparse
import json
import statistics
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import fedjax_rec

fedjax_rec.configure_cpu()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402

from fedjax_rec import Execution  # noqa: E402
from fedjax_rec.base import Fixed  # noqa: E402
from fedjax_rec.config import load_preset  # noqa: E402
from fedjax_rec.experiment import Experiment, resolve  # noqa: E402
from fedjax_rec.experiment import build as build_experiment  # noqa: E402
from fedjax_rec.reporting import environment  # noqa: E402
from fedjax_rec.simulation import build, pad_cohort  # noqa: E402
from fedjax_rec.simulation.footprint import at_rest, round_memory  # noqa: E402
from fedjax_rec.simulation.weights import with_weights  # noqa: E402


def main() -> None:
    """Times the round and prints, or stores, what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="ml-100k/minilm_lora")
    parser.add_argument("--chunks", default="1,8,32", help="clients trained at a time")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    words, overrides = parser.parse_known_args()
    experiment = build_experiment(resolve(load_preset(words.preset, overrides)), notice=print)
    chunks = [int(chunk) for chunk in words.chunks.split(",")]
    record = {
        "preset": words.preset,
        "overrides": overrides,
        "clients": len(experiment.sampler.draw(experiment.config.seed, 0)),
        "parameters": {
            " ".join(role): size.numbers
            for role, size in at_rest(experiment.algorithm, experiment.data).parameters.items()
        },
        "rows": rounds_of(experiment, chunks, words.repeats),
        "repeats": words.repeats,
        "environment": environment(["python", "-m", "benchmarks.cohort"], experiment.config.seed),
    }
    text = json.dumps(record, indent=1) + "\n"
    print(text)
    if words.json:
        words.json.parent.mkdir(parents=True, exist_ok=True)
        words.json.write_text(text)


def rounds_of(experiment: Experiment, chunks: list[int], repeats: int) -> list[dict[str, Any]]:
    """The first round with each chunk size: seconds, memory, and distance from the first one."""
    algorithm, data = experiment.algorithm, experiment.data
    init = jax.jit(build(algorithm).init, static_argnums=1)
    state, clients, drawn = init(experiment.key, data.num_clients)
    fixed = Fixed(with_weights(algorithm.model, drawn), data.clients)
    sampler = experiment.sampler
    cohort = pad_cohort(sampler.draw(experiment.config.seed, 0), sampler.event.capacity)
    executions = [Execution(num_devices=1, chunk_size=chunk) for chunk in chunks]
    steps = [jax.jit(build(algorithm, execution).step) for execution in executions]
    rounds = [partial(step, state, clients, cohort, fixed) for step in steps]
    after = [one()[0].shared for one in rounds]  # compiles
    seconds: list[list[float]] = [[] for _ in rounds]
    for _ in range(repeats):
        for one, found in zip(rounds, seconds, strict=True):
            begin = time.perf_counter()
            jax.block_until_ready(one())
            found.append(time.perf_counter() - begin)
    moved = _size(jax.tree.map(jnp.subtract, after[0], state.shared))
    rows = []
    for chunk, execution, found, shared in zip(chunks, executions, seconds, after, strict=True):
        memory = round_memory(algorithm, data, sampler, execution)
        apart = _size(jax.tree.map(jnp.subtract, shared, after[0]))
        rows.append(
            {
                "chunk_size": chunk,
                "seconds": found,
                "median_seconds": statistics.median(found),
                "memory_bytes": None if memory is None else asdict(memory),
                "total_bytes": None if memory is None else memory.total,
                "apart_from_first_over_moved": apart / moved,
            }
        )
    return rows


def _size(tree: Any) -> float:
    """The L2 norm."""
    return float(optax.tree.norm(tree))


if __name__ == "__main__":
    main()
