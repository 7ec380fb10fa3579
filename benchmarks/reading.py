"""How long it takes to read and split ratings in MovieLens' csv layout, and how much memory.

The ratings are generated, as many people and films as MovieLens 20M has. The reader needs NumPy
alone, so there is one figure, with the extra `data` or without.

    python -m benchmarks.reading --ratings 20000000 --json out.json
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

USERS, ITEMS = 138_493, 26_744
FIRST, LAST = 789_652_004, 1_427_784_002
BLOCK = 500_000


def main(words: list[str] | None = None) -> int:
    """Generates, measures in a process of its own, and prints; returns the exit code."""
    arguments = _parser().parse_args(words)
    if arguments.child:
        print(json.dumps(_measured(arguments.child)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ratings.csv"
        _generate(path, arguments.ratings)
        facts = {"ratings": arguments.ratings, "megabytes": round(path.stat().st_size / 1e6)}
        words = [sys.executable, "-m", "benchmarks.reading", "--child", str(path)]
        done = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True)
    facts |= json.loads(done.stdout.splitlines()[-1])
    facts |= {
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    print(json.dumps(facts))
    if arguments.json:
        arguments.json.write_text(json.dumps(facts, indent=1) + "\n")
    return 0


def _generate(path: Path, num_ratings: int) -> None:
    """Ratings by user, as published; popularity of films falls as in a power law."""
    rng = np.random.default_rng(0)
    share = num_ratings / 20_000_263
    users = np.sort(rng.integers(1, max(int(USERS * share), 2), num_ratings))
    items = rng.zipf(1.3, num_ratings) % ITEMS + 1
    stars = rng.integers(1, 11, num_ratings)
    times = rng.integers(FIRST, LAST, num_ratings)
    with path.open("w") as file:
        file.write("userId,movieId,rating,timestamp\n")
        for start in range(0, num_ratings, BLOCK):
            block = slice(start, start + BLOCK)
            columns = (column[block].tolist() for column in (users, items, stars, times))
            lines = (f"{u},{i},{s / 2},{t}\n" for u, i, s, t in zip(*columns, strict=True))
            file.writelines(lines)


def _measured(path: str) -> dict[str, Any]:
    from fedjax_rec.data import hold_out, read

    start, cpu = time.perf_counter(), time.process_time()
    events = read("mine", path=path)
    read_seconds = time.perf_counter() - start
    split = hold_out(events)
    seconds = time.perf_counter() - start
    assert int((split.test.items < events.num_items).sum()) > 0
    return {
        "users": events.num_users,
        "items": events.num_items,
        "read_seconds": round(read_seconds, 1),
        "split_seconds": round(seconds - read_seconds, 1),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_gigabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ratings", type=int, default=20_000_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
