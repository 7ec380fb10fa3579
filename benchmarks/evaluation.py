"""How many rounds of training one evaluation costs.

Training and evaluation take turns in one process, as in `simulate`. With `--before`, a folder that
holds another version of the package, both versions take turns too, each in its own process.

    python -m benchmarks.evaluation --clients 35598 --items 18357 --json out.json
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROUNDS = 10


def main(words: list[str] | None = None) -> int:
    """Measures and prints; returns the exit code."""
    arguments = _parser().parse_args(words)
    if arguments.child:
        print(json.dumps(_measured(arguments)))
        return 0
    rows = []
    for _ in range(arguments.repeats):
        for version, folder in (("before", arguments.before), ("now", Path.cwd())):
            if folder:
                rows.append({"version": version} | _in_child(arguments, folder))
                print(_line(rows[-1]), flush=True)
    summary = {
        version: statistics.median(row["ratio"] for row in rows if row["version"] == version)
        for version in dict.fromkeys(row["version"] for row in rows)
    }
    print("rounds that one evaluation costs, medians:", summary)
    if arguments.json:
        arguments.json.write_text(json.dumps({"medians": summary, "rows": rows}, indent=1) + "\n")
    return 0


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['version']:<7} round {row['round_seconds']:.3f} s, evaluation "
        f"{row['evaluation_seconds']:.3f} s: {row['ratio']:.1f} rounds"
    )


def _in_child(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    words = [sys.executable, str(Path(__file__).resolve()), "--child"]
    for name in ("clients", "items", "devices", "turns"):
        words += [f"--{name}", str(getattr(arguments, name))]
    environment = os.environ | {"PYTHONPATH": str(folder.resolve())}
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def _measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a round and of an evaluation, by turns."""
    from fedjax_rec.cpu import configure_cpu

    configure_cpu(lambda line: None)
    import jax
    import numpy as np

    from fedjax_rec.algorithms import fedmf
    from fedjax_rec.base import Fixed
    from fedjax_rec.data import load
    from fedjax_rec.sampling import AllClients
    from fedjax_rec.simulation import EvaluationPlan, Execution, build
    from fedjax_rec.simulation.devices import Placement
    from fedjax_rec.simulation.rounds import draw_cohorts, host_seed
    from fedjax_rec.simulation.scoring import Scorer

    facts = {"num_users": arguments.clients, "num_items": arguments.items, "mean_events": 8}
    data = load("synthetic", **facts)
    algorithm, key = fedmf(data.num_items), jax.random.key(0)
    placement = Placement.of(Execution(num_devices=arguments.devices), data.num_clients)
    engine = build(algorithm, Execution(num_devices=placement.num_devices))
    init = jax.jit(build(algorithm).init, static_argnums=1)
    state, clients, frozen = init(key, data.num_clients)
    state, clients = placement.everywhere(state), placement.spread(clients)
    fixed = placement.spread_fixed(Fixed(frozen, data.clients))
    everyone = AllClients(data.num_clients)
    cohorts = draw_cohorts(everyone, host_seed(key), 0, ROUNDS, data.training_clients)
    cohorts = placement.everywhere(cohorts)
    rounds = jax.jit(engine.rounds, donate_argnums=(0, 1))
    scorer = Scorer(_programs(algorithm), data, EvaluationPlan(), print, placement)
    in_training = _options(scorer)
    times: dict[str, list[float]] = {"round": [], "evaluation": [], "final": []}
    for turn in range(arguments.turns + 1):
        begin = time.perf_counter()
        state, clients, info = rounds(state, clients, cohorts, fixed)
        jax.device_get(info)
        trained = time.perf_counter()
        scorer(state, clients, fixed, **in_training)
        evaluated = time.perf_counter()
        metrics, _ = scorer(state, clients, fixed)
        if turn:  # the first compiles
            times["round"].append((trained - begin) / ROUNDS)
            times["evaluation"].append(evaluated - trained)
            times["final"].append(time.perf_counter() - evaluated)
    seconds = {name: statistics.median(of_turns) for name, of_turns in times.items()}
    return {
        "clients": data.num_clients,
        "items": data.num_items,
        "events": int(data.split.train.users.size),
        "devices": placement.num_devices,
        "round_seconds": seconds["round"],
        "evaluation_seconds": seconds["evaluation"],
        "final_seconds": seconds["final"],
        "ratio": seconds["evaluation"] / seconds["round"],
        "final_ratio": seconds["final"] / seconds["round"],
        "ndcg@10": float(np.float64(metrics["test/ndcg@10"])),
        "jax": jax.__version__,
    }


def _programs(algorithm: Any) -> Any:
    """What a scorer of this version asks for: older ones take the algorithm itself."""
    try:
        from fedjax_rec.simulation.programs import Shared
    except ImportError:
        return algorithm
    return Shared(algorithm)


def _options(scorer: Any) -> dict[str, bool]:
    """How this version is told that a run goes on."""
    return {"is_final": False} if hasattr(scorer, "num_people") else {}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation")
    add = parser.add_argument
    add("--clients", type=int, default=35_598, help="people; 8 events each")
    add("--items", type=int, default=18_357, help="size of the catalogue")
    add("--devices", type=int, default=0, help="0: all there are")
    add("--turns", type=int, default=3, help="timed turns of rounds and an evaluation")
    add("--repeats", type=int, default=1, help="processes of each version, by turns")
    add("--before", type=Path, help="a folder with another version of the package")
    add("--json", type=Path, help="where to write the rows")
    add("--child", action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
