"""All workloads on the device at hand within a time limit; `device.sh` starts it.

Every step is a process of its own, which is ended when its time is up: one that fails or
hangs becomes a row with a note, and the next step follows.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.harness import KEYS, ROOT, hardware

RESERVE = 60.0
"""Seconds that are kept for each of the steps to come."""


@dataclass(frozen=True)
class Step:
    """One workload.

    Attributes:
      name: of its row in the report.
      workload: as its row names it.
      words: the module of the benchmarks that runs it, and its command line.
      small: further words that make it small; of an option given twice the last counts.
    """

    name: str
    workload: str
    words: tuple[str, ...]
    small: tuple[str, ...]


TRIAL = ("--rounds", "2", "--repeats", "1", "--seconds", "0")
OURS = ("benchmarks", "--peers", "ours", "--workload")

STEPS = (
    Step("W1", "W1", (*OURS, "W1"), ("--clients", "32", *TRIAL)),
    Step("W2", "W2", (*OURS, "W2"), ("--clients", "8", "--dim", "8", *TRIAL)),
    Step("W3", "W3", (*OURS, "W3"), ("--clients", "8", *TRIAL)),
    Step("W4", "W4", (*OURS, "W4"), ("--clients", "4", "--dim", "8", *TRIAL)),
    Step(
        "million items",
        "W2",
        (*OURS, "W2", "--items", "1000000"),
        ("--clients", "4", "--items", "20000", "--dim", "8", *TRIAL),
    ),
    Step(
        "LoRA cohort",
        "LoRA",
        ("benchmarks.cohort", "--made-up", "minilm", "--as-row"),
        ("--made-up", "small", "--chunks", "1,4", "--cohort.size", "4", "--repeats", "1"),
    ),
)


class StepFailedError(Exception):
    """A step gave no result; the message is its note."""


def run_process(words: list[str], limit: float) -> str:
    """Standard output of `python words`; the process and its children end with the limit.

    Raises:
      StepFailedError: it failed, or its time was up.
    """
    process = subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        # a process that takes the whole device would leave nothing to the one it starts
        env={"XLA_PYTHON_CLIENT_PREALLOCATE": "false"} | os.environ,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        raise StepFailedError(f"stopped after {limit:.0f} s, its share of the time") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        lines = errors.strip().splitlines() or ["no message"]
        raise StepFailedError(f"stopped with code {process.returncode}: {lines[-1]}")
    return output


Run = Callable[[list[str], float], str]


def report(
    seconds: float, out: Path, *, small: bool = False, run: Run = run_process
) -> list[dict[str, Any]]:
    """Runs the probe and all steps; writes `probe.json` and, after each step, `device.json`.

    Args:
      seconds: for everything.
      out: folder of the results.
      small: whether to use sizes for a trial on a CPU.
      run: runs Python with these words for at most so many seconds.

    Returns:
      A row for each step.
    """
    end = time.monotonic() + seconds
    out.mkdir(parents=True, exist_ok=True)
    probed: dict[str, Any]
    try:
        words = ["-m", "benchmarks.probe", *(["--small"] if small else [])]
        probed = json.loads(run(words, share(end - time.monotonic(), len(STEPS))))
    except (StepFailedError, ValueError) as reason:
        probed = {"note": str(reason)}
    _write(out / "probe.json", probed)
    _say(describe(probed))
    rows: list[dict[str, Any]] = []
    for number, step in enumerate(STEPS):
        limit = share(end - time.monotonic(), len(STEPS) - 1 - number)
        row = _row(step, limit, out / f"step-{number}.json", small, run)
        row["options"] |= {"step": step.name, "is_small": small, **traffic(row, probed)}
        row["hardware"] |= {k: probed[k] for k in ("platform", "device", "devices") if k in probed}
        rows.append(row)
        _write(out / "device.json", rows)
        _say(f"{step.name}: {summary(row)}")
    return rows


def share(left: float, steps_after: int) -> float:
    """Seconds that a step may take: what is left, without the reserve of those after it.

    Where the reserve does not fit, all get the same.

    >>> share(500.0, 5), share(120.0, 3), share(-1.0, 0)
    (200.0, 30.0, 0.0)
    """
    return max(0.0, left - RESERVE * steps_after, left / (steps_after + 1))


def _row(step: Step, limit: float, path: Path, small: bool, run: Run) -> dict[str, Any]:
    """The step's row as the harness wrote it, or one that says why there is none."""
    words = ["-m", *step.words, *(step.small if small else ())]
    try:
        if not limit:
            raise StepFailedError("not started: the time is up")
        run([*words, "--json", str(path.resolve())], limit)
        row: dict[str, Any] = json.loads(path.read_text())[0]
    except StepFailedError as reason:
        row = dict.fromkeys(KEYS) | {"peer": "ours", "workload": step.workload}
        row |= {"versions": {}, "hardware": hardware(), "note": str(reason), "options": {}}
    finally:
        path.unlink(missing_ok=True)
    return row


def row_bytes(row: dict[str, Any]) -> float:
    """Bytes of item rows that a round of local training reads and writes at the least.

    Each visit of a row reads it for a score, and reads and writes it for its update. A visit is
    an example; in W4, whose softmax is over the catalogue, every item once a client and epoch.
    """
    options = row["options"]
    if row["workload"] == "W4":
        visits = options["clients"] * options["epochs"] * options["items"]
    else:
        visits = row["examples_per_second"] * row["seconds_per_round"]
    return float(3 * 4 * options["dim"] * visits)


def traffic(row: dict[str, Any], probed: dict[str, Any]) -> dict[str, Any]:
    """Row bytes a second against the device's copies, and its hazard, as far as they are known."""
    copied = probed.get("copy_bytes_per_second")
    known: dict[str, Any] = {}
    if copied:
        known["copy_bytes_per_second"] = copied
        known["scatter_add_ratio"] = probed["scatter_add"]["ratio"]
        known["scatter_add_is_hazardous"] = probed["scatter_add"]["is_hazardous"]
    if row["seconds_per_round"] and row["workload"] != "LoRA":  # whose rows are the least of it
        known["row_bytes_per_round"] = row_bytes(row)
        known["row_bytes_per_second"] = known["row_bytes_per_round"] / row["seconds_per_round"]
        if copied:
            known["share_of_copy"] = known["row_bytes_per_second"] / copied
    return known


def describe(probed: dict[str, Any]) -> str:
    """The probe in one line."""
    if "note" in probed:
        return f"probe: {probed['note']}"
    added = probed["scatter_add"]
    danger = "HAZARD (jax issue 38806)" if added["is_hazardous"] else "no hazard"
    return (
        f"probe: {probed['device']} ({probed['platform']}), "
        f"copies {probed['copy_bytes_per_second'] / 1e9:.1f} GB/s; scatter-add of float32 takes "
        f"{added['ratio']:.2f} of its expected time: {danger}"
    )


def summary(row: dict[str, Any]) -> str:
    """A row in one line."""
    if not row["seconds_per_round"]:
        return f"no figures: {row['note']}"
    options = row["options"]
    line = f"{row['seconds_per_round']:.6f} s a round, compiled in {row['compile_seconds']:.1f} s, "
    if row["workload"] == "LoRA":
        return line + ", ".join(map(_chunk_in_words, options["chunks"]))
    line += f"rows {options['row_bytes_per_second'] / 1e9:.2f} GB/s"
    copied = options.get("share_of_copy")
    return f"{line}, {copied:.1%} of the copy bandwidth" if copied else line


def _chunk_in_words(chunk: dict[str, Any]) -> str:
    """What one chunk size took.

    >>> _chunk_in_words({"chunk_size": 8, "median_seconds": 0.25, "total_bytes": 2e8})
    'chunks of 8: 0.250 s, 200 MB'
    """
    size = "unknown" if chunk["total_bytes"] is None else f"{chunk['total_bytes'] / 1e6:.0f} MB"
    return f"chunks of {chunk['chunk_size']}: {chunk['median_seconds']:.3f} s, {size}"


def main(words: list[str] | None = None) -> int:
    """Runs all; returns 1 where a step gave no figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device", description=__doc__)
    parser.add_argument("--seconds", type=float, default=500.0, help="for everything")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "device")
    parser.add_argument("--small", action="store_true", help="sizes for a trial on a CPU")
    asked = parser.parse_args(words)
    rows = report(asked.seconds, asked.out, small=asked.small)
    print(tables.table([row | {"peer": row["options"]["step"]} for row in rows]))
    return int(any(not row["seconds_per_round"] for row in rows))


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
