"""The command line of the benchmarks."""

import argparse
import json
import sys
from pathlib import Path

from benchmarks import tables
from benchmarks.harness import Plan, measure
from benchmarks.registry import PEERS
from benchmarks.workloads import WORKLOADS, make
from fedjax_rec.errors import UserError


def main(words: list[str] | None = None) -> int:
    """Runs a workload, lists what there is, or writes the tables; returns the exit code."""
    arguments = _parser().parse_args(words)
    if arguments.list:
        for title, entries in (("workloads", WORKLOADS), ("peers", PEERS)):
            print(f"{title}:")
            for name, entry in entries.items():
                print(f"  {name:<15} {entry.about}")
        return 0
    if arguments.tables:
        tables.update()
        return 0
    try:
        rows = _measure(arguments)
    except UserError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    print(tables.table(rows))
    return 0


def _measure(arguments: argparse.Namespace) -> list[dict]:
    peers = arguments.peers.split(",")
    for peer in peers:
        if peer not in PEERS:
            raise UserError(f"--peers: {peer!r} is not known; choose from {', '.join(PEERS)}")
    if arguments.workload not in WORKLOADS:
        raise UserError(
            f"--workload {arguments.workload!r} is not known; choose from {', '.join(WORKLOADS)}"
        )
    problem = make(
        arguments.workload,
        clients=arguments.clients,
        items=arguments.items,
        epochs=arguments.epochs,
        dim=arguments.dim,
        seed=arguments.seed,
    )
    workload = WORKLOADS[arguments.workload]
    rounds = arguments.rounds or workload.rounds
    wanted = arguments.quality_rounds or (0 if arguments.rounds else workload.quality_rounds)
    quality_rounds = max(1, -(-wanted // rounds)) * rounds
    plan = Plan(rounds, quality_rounds, arguments.repeats, arguments.seconds, arguments.timeout)
    rows = measure(problem, peers, plan)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    return rows


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--list", action="store_true", help="name workloads and peers")
    add("--tables", action="store_true", help="write the tables of README.md from results/")
    add("--workload", default="W1", help="see --list")
    add("--clients", type=int, default=0, help="cohort size; the workload's own by default")
    add("--peers", default="ours,torch-lean", help="names from --list, with commas")
    add("--items", type=int, default=0, help="pad the catalogue to this many items")
    add("--epochs", type=int, default=1, help="local epochs")
    add("--dim", type=int, default=0, help="width of a vector; the workload's own by default")
    add("--seed", type=int, default=0, help="of initial parameters, cohorts and negatives")
    add("--repeats", type=int, default=3, help="timed repeats, the peers in turn in each")
    add("--rounds", type=int, default=0, help="rounds of a stretch; by default the workload's")
    add("--quality-rounds", type=int, default=0, help="rounds before quality is taken")
    add("--seconds", type=float, default=1.0, help="least time of a repeat")
    add("--timeout", type=float, default=1800.0, help="seconds a peer may be silent")
    add("--json", type=Path, help="where to write the rows")
    return parser


if __name__ == "__main__":
    sys.exit(main())
