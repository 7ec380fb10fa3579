"""This checkout beside an earlier commit: the same workloads in turn, and the ratio pair by pair.

    python -m benchmarks.paired --against COMMIT --json benchmarks/results/paired/COMMIT.json

Both run `benchmarks --peers ours` with this interpreter and its packages. Other work on the machine
slows both of a pair; of many pairs the median ratio is what the change costs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from fedjax_rec.reporting import environment

ROOT = Path(__file__).parents[1]
WORKLOADS = ("W1", "W2", "W3", "W4")


def main() -> None:
    """Runs the pairs and prints, or stores, the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", required=True, metavar="COMMIT")
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--json", type=Path)
    words = parser.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory(prefix="fedjax-rec-paired-") as name:
        earlier = Path(name) / "earlier"
        subprocess.run(
            ["git", "worktree", "add", "--detach", str(earlier), words.against],
            cwd=ROOT,
            check=True,
        )
        try:
            for workload in words.workloads.split(","):
                rows[workload] = pairs_of(workload, earlier, words.pairs)
                print(workload, json.dumps(rows[workload]), flush=True)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(earlier)], cwd=ROOT)
    record = {
        "against": words.against,
        "rows": rows,
        "environment": environment(["python", "-m", "benchmarks.paired", *sys.argv[1:]], 0),
    }
    if words.json:
        words.json.parent.mkdir(parents=True, exist_ok=True)
        words.json.write_text(json.dumps(record, indent=1) + "\n")


def pairs_of(workload: str, earlier: Path, num_pairs: int) -> dict[str, Any]:
    """Seconds a round of both, and now over then: more than 1 is slower than it was."""
    then, now = [], []
    for number in range(num_pairs):
        order = [(earlier, then), (ROOT, now)]
        for tree, found in order if number % 2 == 0 else reversed(order):
            found.append(seconds_a_round(workload, tree))
    ratios = [one / other for one, other in zip(now, then, strict=True)]
    return {"then": then, "now": now, "ratios": ratios, "median": statistics.median(ratios)}


def seconds_a_round(workload: str, tree: Path) -> float:
    """The median of three repeats, in a process of its own."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        subprocess.run(
            [
                sys.executable,
                "-m",
                "benchmarks",
                "--workload",
                workload,
                "--peers",
                "ours",
                "--repeats",
                "3",
                "--json",
                file.name,
            ],
            cwd=tree,
            env=os.environ | {"PYTHONPATH": str(tree)},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        (row,) = json.loads(Path(file.name).read_text())
    if row["seconds_per_round"] is None:
        raise SystemExit(f"{workload} in {tree}: {row['note']}")
    return float(row["seconds_per_round"])


if __name__ == "__main__":
    main()
