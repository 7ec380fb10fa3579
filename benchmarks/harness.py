"""Runs peers in turn, repeat by repeat, each in a process that stays alive and idle."""

import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import quality
from benchmarks.environments import EnvironmentFailedError, python_of
from benchmarks.problem import Problem
from benchmarks.registry import PEERS, PeerEntry

ROOT = Path(__file__).resolve().parents[1]
KEYS = (
    "peer",
    "workload",
    "clients",
    "seconds_per_round",
    "seconds_min",
    "clients_per_second",
    "examples_per_second",
    "compile_seconds",
    "peak_mb",
    "hit_rate@10",
    "ndcg@10",
    "rounds",
    "load",
    "versions",
    "hardware",
    "note",
    "options",
)


class PeerFailedError(Exception):
    """A peer stopped, or cannot do the workload; the message is its note."""


@dataclass
class _Running:
    """A peer at work and what it has told."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    timeout: float
    versions: dict[str, str] = field(default_factory=dict)
    compile_seconds: float = 0.0
    seconds: list[float] = field(default_factory=list)
    elsewhere: list[float] = field(default_factory=list)
    peak_mb: float = 0.0
    judged: dict[str, float] = field(default_factory=dict)
    note: str = ""

    def ask(self, **command: Any) -> dict[str, Any]:
        """Sends a command and waits for the answer."""
        assert self.process.stdin
        try:
            self.process.stdin.write(json.dumps(command).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer says why
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Waits for one line from the peer."""
        assert self.process.stdout
        if not select.select([self.process.stdout], [], [], self.timeout)[0]:
            raise PeerFailedError(f"no answer in {self.timeout:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            tail = self.log.read_text(errors="replace").strip().splitlines()
            raise PeerFailedError(f"stopped with code {code}: {tail[-1] if tail else 'no message'}")
        told: dict[str, Any] = json.loads(line)
        if "cannot" in told:
            raise PeerFailedError(told["cannot"])
        return told

    def stop(self) -> None:
        """Ends the process."""
        if self.process.stdin:
            self.process.stdin.close()
        if self.process.stdout:
            self.process.stdout.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass(frozen=True)
class Plan:
    """How often and how long.

    Attributes:
      rounds: of a stretch.
      quality_rounds: rounds from the common start after which quality is taken, a multiple
        of a stretch.
      repeats: timed repeats.
      min_seconds: a repeat runs stretches until this much time has passed.
      timeout: seconds after which a silent peer has failed.
    """

    rounds: int
    quality_rounds: int
    repeats: int = 3
    min_seconds: float = 1.0
    timeout: float = 1800.0


def measure(problem: Problem, peers: list[str], plan: Plan) -> list[dict[str, Any]]:
    """One row for each peer, also for one that failed.

    The first rounds start from the common initial state, warm up and are judged by their
    quality; then repeats are timed, the peers in turn within each.
    """
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        problem.save(folder / "problem.npz")
        runs: list[_Running | _Failed] = []
        try:
            for name in peers:
                runs.append(run := _start(name, folder, plan))
                _attempt(run, lambda run: _first_stretch(run, problem, plan, folder))
            for _ in range(plan.repeats):
                for run in runs:
                    _attempt(run, lambda run: _repeat(run, plan))
        finally:
            for run in runs:
                if isinstance(run, _Running):
                    run.stop()
        return [_row(run, problem, plan, load) for run in runs]


@dataclass
class _Failed:
    """A peer that never started."""

    name: str
    note: str


def _start(name: str, folder: Path, plan: Plan) -> "_Running | _Failed":
    entry = PEERS[name]
    try:
        python = python_of(entry.environment)
    except EnvironmentFailedError as reason:
        return _Failed(name, str(reason))
    log = folder / f"{name}.log"
    variables = {"PYTHONPATH": str(ROOT), "JAX_TRACEBACK_FILTERING": "off"}
    variables |= dict(variable.split("=", 1) for variable in entry.variables)
    command = [str(python), "-P", module_of(entry)]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*command, str(folder / "problem.npz"), *entry.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
            cwd=ROOT,
            env=os.environ | variables,
        )
    return _Running(name, process, log, plan.timeout)


def module_of(entry: PeerEntry) -> str:
    """The file to run."""
    return str(ROOT / "benchmarks" / "peers" / f"{entry.module}.py")


def _attempt(run: "_Running | _Failed", work: Callable[[_Running], None]) -> None:
    """Does the work unless the peer has failed; notes why if it does now."""
    if isinstance(run, _Failed) or run.note:
        return
    try:
        work(run)
    except PeerFailedError as reason:
        run.note = str(reason)
        _say(f"{run.name}: {reason}")
        run.stop()


def _first_stretch(run: _Running, problem: Problem, plan: Plan, folder: Path) -> None:
    _say(f"{run.name}: starting")
    run.versions = run.answer()["versions"]
    run.compile_seconds = run.ask(do="compile", rounds=plan.rounds)["seconds"]
    for _ in range(plan.quality_rounds // plan.rounds):
        run.ask(do="run", rounds=plan.rounds)
    path = folder / f"{run.name}.npz"
    run.ask(do="dump", path=str(path))
    with np.load(path) as parameters:
        run.judged = quality.judge(problem, dict(parameters))
    _say(f"{run.name}: {quality.describe(run.judged)} after {plan.quality_rounds} rounds")


def _repeat(run: _Running, plan: Plan) -> None:
    seconds, rounds = 0.0, 0
    while seconds < plan.min_seconds or rounds == 0:
        told = run.ask(do="run", rounds=plan.rounds)
        seconds, rounds = seconds + told["seconds"], rounds + plan.rounds
        run.elsewhere.append(told["cores_elsewhere"])
        run.peak_mb = told["peak_mb"]
    run.seconds.append(seconds / rounds)
    _say(f"{run.name}: {1000 * run.seconds[-1]:.2f} ms a round")


def _row(run: "_Running | _Failed", problem: Problem, plan: Plan, load: float) -> dict[str, Any]:
    settings = problem.settings
    row: dict[str, Any] = dict.fromkeys(KEYS)
    row |= {
        "peer": run.name,
        "workload": settings.workload,
        "clients": settings.clients,
        "load": load,
        "versions": {},
        "hardware": hardware(),
        "note": run.note,
        "options": asdict(settings)
        | {"items": problem.num_items, "num_clients": problem.num_clients}
        | {"repeats": plan.repeats},
    }
    if isinstance(run, _Failed) or run.note or not run.seconds:
        return row
    seconds = statistics.median(run.seconds)
    return row | {
        "seconds_per_round": seconds,
        "seconds_min": min(run.seconds),
        "clients_per_second": settings.clients / seconds,
        "examples_per_second": problem.examples_per_round / seconds,
        "compile_seconds": run.compile_seconds,
        "peak_mb": run.peak_mb,
        "hit_rate@10": run.judged.get("hit_rate@10"),
        "ndcg@10": run.judged.get("ndcg@10"),
        "rounds": plan.quality_rounds,
        "versions": run.versions,
        "options": row["options"]
        | {"loss": run.judged.get("loss"), "stretch": plan.rounds, "seconds": run.seconds}
        | {"cores_elsewhere": statistics.mean(run.elsewhere)},
    }


def hardware() -> dict[str, Any]:
    """What the machine is."""
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":")[1].strip() for line in facts if line.startswith("model name")]
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    return {
        "cpu": models[0] if models else "unknown",
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
