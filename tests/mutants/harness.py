"""Copies the repository, puts one fault into the copy and runs the tests named for it."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.mutants.record import Mutant

ROOT = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 300
PYTEST = ("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "slow or not slow")
PASSED, FAILED = 0, 1  # exit codes of pytest


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant.

    Attributes:
      name: of the mutant.
      verdict: `killed` by a failing test, `survived`, `timed out`, `does not apply`, or
        `broken`: pytest could not run the tests at all.
      seconds: how long it took.
      detail: the last lines that pytest printed, where no test failed as it should.
    """

    name: str
    verdict: str
    seconds: float
    detail: str = ""


def mutated(mutant: Mutant, text: str) -> str | None:
    """The text of the file with the fault in it; None unless it applies exactly once.

    >>> mutated(Mutant("m", "f.py", "a + b", "a - b", ""), "return a + b")
    'return a - b'
    >>> mutated(Mutant("m", "f.py", "a", "b", ""), "a, a") is None
    True
    """
    if text.count(mutant.old) != 1 or mutant.old == mutant.new:
        return None
    return text.replace(mutant.old, mutant.new)


def copy_tree(folder: Path) -> None:
    """The files of the working tree that are under version control, or new and not ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def run_tests(folder: Path, tests: Iterable[str], limit: float) -> tuple[int | None, str]:
    """Pytest's exit code, None when it ran out of time, and the end of what it printed."""
    environment = os.environ | {
        "PYTHONPATH": str(folder),  # an editable install would import what is not mutated
        "PYTHONDONTWRITEBYTECODE": "1",  # a file may change twice within a second
        "FEDJAX_REC_COMPILED_TESTS": str(folder / ".compiled"),
    }
    command = [sys.executable, *PYTEST, *tests]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return None, f"no end after {limit:.0f} s"
    return done.returncode, "\n".join((done.stdout + done.stderr).splitlines()[-5:])


def try_mutant(folder: Path, mutant: Mutant, limit: float = LIMIT_SECONDS) -> Outcome:
    """Puts the fault into the copy, runs its tests there and takes the fault out again."""
    begin = time.monotonic()
    path = folder / mutant.path
    original = path.read_text(encoding="utf-8") if path.is_file() else ""
    faulty = mutated(mutant, original)
    if faulty is None:
        detail = f"{mutant.path} has its text {original.count(mutant.old)} times"
        return Outcome(mutant.name, "does not apply", 0.0, detail)
    path.write_text(faulty, encoding="utf-8")
    try:
        code, said = run_tests(folder, mutant.node_ids, limit)
    finally:
        path.write_text(original, encoding="utf-8")
    verdict = {None: "timed out", PASSED: "survived", FAILED: "killed"}.get(code, "broken")
    seconds = round(time.monotonic() - begin, 1)
    return Outcome(mutant.name, verdict, seconds, "" if verdict == "killed" else said)


def failing_unmutated(folder: Path, mutants: Iterable[Mutant]) -> str:
    """What pytest says where the tests fail without any fault: then they prove nothing."""
    tests = sorted({test for mutant in mutants for test in mutant.node_ids})
    code, said = run_tests(folder, tests, LIMIT_SECONDS * len(tests))
    return "" if code == PASSED else said


def plain(outcomes: Iterable[Outcome]) -> list[dict[str, object]]:
    """The outcomes as JSON."""
    return [asdict(outcome) for outcome in outcomes]
