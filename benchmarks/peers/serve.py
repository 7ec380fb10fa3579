"""The loop of a peer's process: reads commands from the harness, answers in JSON lines.

A peer waits in a blocking read between commands, so that it takes no time from the others.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.problem import Problem, load


class CannotError(Exception):
    """Why a peer does not do a workload; becomes the note of its row."""


class Peer(Protocol):
    """What a peer file provides."""

    def compile(self, num_rounds: int) -> None:
        """Compiles what `run(num_rounds)` needs; trains nothing."""

    def run(self, first_round: int, num_rounds: int) -> float | None:
        """Trains these rounds and waits for the result.

        Returns:
          The seconds that count, if not all of the call's.
        """

    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """`users [N, D]` and `items [I, D]`, and whatever else the model has."""


def serve(make: Callable[[Problem], Peer], *packages: str) -> None:
    """Serves the problem named on the command line until told to quit.

    Args:
      make: builds the peer.
      *packages: whose versions go into the row.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print goes to the log, not into the answers

    def answer(**values: Any) -> None:
        answers.write(json.dumps(values) + "\n")

    try:
        peer = make(load(Path(sys.argv[1])))
    except CannotError as reason:
        answer(cannot=str(reason))
        return
    answer(versions=_versions(packages))
    next_round = 0
    for line in sys.stdin:
        command = json.loads(line)
        begin, busy = time.perf_counter(), _busy_elsewhere()
        if command["do"] == "compile":
            peer.compile(command["rounds"])
            answer(seconds=time.perf_counter() - begin)
        elif command["do"] == "run":
            counted = peer.run(next_round, command["rounds"])
            seconds = time.perf_counter() - begin
            next_round += command["rounds"]
            elsewhere = (_busy_elsewhere() - busy) / seconds
            answer(
                seconds=seconds if counted is None else counted,
                cores_elsewhere=max(0.0, elsewhere),
                peak_mb=_peak_mb(),
            )
        elif command["do"] == "dump":
            np.savez(command["path"], **peer.parameters())
            answer(rounds=next_round)


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    python = ".".join(map(str, sys.version_info[:3]))
    return {"python": python} | {name: metadata.version(name) for name in packages}


def _peak_mb() -> float:
    """Peak resident memory of this process since its program started."""
    status = Path("/proc/self/status").read_text()  # ru_maxrss would remember the parent's
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _busy_elsewhere() -> float:
    """Core-seconds that all other processes have used since the machine started."""
    user, nice, system, _, _, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    total = (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
    own = [resource.getrusage(who) for who in _WHO]
    return total - sum(usage.ru_utime + usage.ru_stime for usage in own)


_WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
