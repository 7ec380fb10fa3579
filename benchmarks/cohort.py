"""One cohort of a large model: vmapped in chunks, and one client at a time, in one run.

    python -m benchmarks.cohort --json benchmarks/results/cohort/minilm-lora.json

Takes the round of a preset with several chunk sizes, in turn, from the same state. Stored are the
seconds of each, what the compiled program takes, and how far the results are apart: as a share of
what the round moved. With `--made-up minilm` encoder and titles are random numbers of the same
sizes, for a machine that can download nothing.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
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

from benchmarks.harness import KEYS, hardware  # noqa: E402
from benchmarks.made_up import SIZES, write  # noqa: E402
from fedjax_rec import Execution  # noqa: E402
from fedjax_rec.base import Fixed  # noqa: E402
from fedjax_rec.config import load_preset  # noqa: E402
from fedjax_rec.experiment import Experiment, resolve  # noqa: E402
from fedjax_rec.experiment import build as build_experiment  # noqa: E402
from fedjax_rec.reporting import environment  # noqa: E402
from fedjax_rec.simulation import build, pad_cohort  # noqa: E402
from fedjax_rec.simulation.footprint import at_rest, round_memory  # noqa: E402
from fedjax_rec.simulation.progress import peak_megabytes  # noqa: E402
from fedjax_rec.simulation.weights import with_weights  # noqa: E402


def main() -> None:
    """Times the round and prints, or stores, what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="ml-100k/minilm_lora")
    parser.add_argument("--chunks", default="1,8,32", help="clients trained at a time")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--made-up", choices=SIZES, help="random encoder and titles, of what size")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--as-row", action="store_true", help="store a row of `benchmarks.device`")
    words, overrides = parser.parse_known_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        made_up = write(SIZES[words.made_up], Path(folder)) if words.made_up else []
        config = resolve(load_preset(words.preset, [*made_up, *overrides]))
        record = measured(words, overrides, build_experiment(config, notice=_say))
    text = json.dumps([row_of(record, load)] if words.as_row else record, indent=1) + "\n"
    print(text)
    if words.json:
        words.json.parent.mkdir(parents=True, exist_ok=True)
        words.json.write_text(text)


def measured(
    words: argparse.Namespace, overrides: list[str], experiment: Experiment
) -> dict[str, Any]:
    """What is stored of a preset's round."""
    chunks = [int(chunk) for chunk in words.chunks.split(",")]
    return {
        "preset": words.preset,
        "overrides": overrides,
        "clients": len(experiment.sampler.draw(experiment.config.seed, 0)),
        "parameters": {
            " ".join(role): size.numbers
            for role, size in at_rest(experiment.algorithm, experiment.data).parameters.items()
        },
        "rows": rounds_of(experiment, chunks, words.repeats),
        "repeats": words.repeats,
        "made_up": words.made_up,
        "environment": environment(["python", "-m", "benchmarks.cohort"], experiment.config.seed),
    }


def row_of(record: dict[str, Any], load: float) -> dict[str, Any]:
    """A row in the form of the other benchmarks; its figures are those of the last chunk size."""
    last = record["rows"][-1]
    seconds, memory = last["median_seconds"], last["memory_bytes"]
    return dict.fromkeys(KEYS) | {
        "peer": "ours",
        "workload": "LoRA",
        "clients": record["clients"],
        "seconds_per_round": seconds,
        "seconds_min": min(last["seconds"]),
        "clients_per_second": record["clients"] / seconds,
        "examples_per_second": last["examples"] / seconds,
        "compile_seconds": memory["compile_seconds"] if memory else 0.0,
        "peak_mb": peak_megabytes(),
        "rounds": 1,
        "load": load,
        "versions": record["environment"]["versions"],
        "hardware": hardware(),
        "note": "",
        "options": {key: record[key] for key in ("preset", "overrides", "parameters", "made_up")}
        | {"chunks": record["rows"], "repeats": record["repeats"], "loss": last["loss"]},
    }


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
    ends = [one() for one in rounds]  # compiles
    after = [state.shared for state, _, _ in ends]
    seconds: list[list[float]] = [[] for _ in rounds]
    for _ in range(repeats):
        for one, found in zip(rounds, seconds, strict=True):
            begin = time.perf_counter()
            jax.block_until_ready(one())
            found.append(time.perf_counter() - begin)
    moved = _size(jax.tree.map(jnp.subtract, after[0], state.shared))
    rows = []
    infos = [info for _, _, info in ends]
    for chunk, execution, found, shared, info in zip(
        chunks, executions, seconds, after, infos, strict=True
    ):
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
                "examples": float(info["examples"].total),
                "loss": info["loss"].mean(),
            }
        )
    return rows


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _size(tree: Any) -> float:
    """The L2 norm."""
    return float(optax.tree.norm(tree))


if __name__ == "__main__":
    main()
