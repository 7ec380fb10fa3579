"""`python -m tests.mutants`: lists the mutants, or tries them and says which survive."""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from tests.mutants.catalogue import MUTANTS
from tests.mutants.harness import (
    ROOT,
    Outcome,
    copy_tree,
    failing_unmutated,
    plain,
    try_mutant,
)
from tests.mutants.record import Mutant


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when every mutant is killed, 1 when one is not, 2 for a bad request."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutants to try; all by default")
    parser.add_argument("--list", action="store_true", help="print name, file and tests of each")
    parser.add_argument("--json", type=Path, metavar="FILE", help="store the result there")
    chosen = parser.parse_args(arguments)
    known = {mutant.name: mutant for mutant in MUTANTS}
    unknown = [name for name in chosen.names if name not in known]
    if unknown:
        print(f"no mutant is named {unknown[0]!r}; --list names them", file=sys.stderr)
        return 2
    mutants = [known[name] for name in chosen.names] or list(MUTANTS)
    if chosen.list:
        for mutant in mutants:
            print(f"{mutant.name}  {mutant.path}  {' '.join(mutant.node_ids)}")
        return 0
    return _try_all(mutants, chosen.json)


def _try_all(mutants: Sequence[Mutant], store: Path | None) -> int:
    begin, outcomes = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="fedjax-rec-mutants-") as name:
        folder = Path(name)
        copy_tree(folder)
        failing = failing_unmutated(folder, mutants)
        if failing:
            print(f"the tests fail without any fault:\n{failing}", file=sys.stderr)
            return 1
        print(f"unmutated: passed  ({time.monotonic() - begin:.0f} s)", flush=True)
        for mutant in mutants:
            outcome = try_mutant(folder, mutant)
            print(f"{outcome.verdict}: {mutant.name}  ({outcome.seconds:.0f} s)", flush=True)
            if outcome.detail:
                print(f"  {outcome.detail}".replace("\n", "\n  "), flush=True)
            outcomes.append(outcome)
    num_killed = sum(outcome.verdict == "killed" for outcome in outcomes)
    seconds = time.monotonic() - begin
    print(f"{num_killed} of {len(outcomes)} killed in {seconds:.0f} s")
    if store:
        store.write_text(json.dumps(_record(outcomes, seconds), indent=1) + "\n", encoding="utf-8")
    return int(num_killed < len(outcomes))


def _record(outcomes: Sequence[Outcome], seconds: float) -> dict[str, object]:
    def git(*command: str) -> str:
        done = subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True)
        return done.stdout.strip()

    versions = {name: version(name) for name in ("jax", "jaxlib", "numpy", "optax", "pytest")}
    return {
        "commit": git("rev-parse", "HEAD"),
        "is_changed": bool(git("status", "--porcelain")),
        "versions": {"python": platform.python_version(), **versions},
        "seconds": round(seconds),
        "num_killed": sum(outcome.verdict == "killed" for outcome in outcomes),
        "num_mutants": len(outcomes),
        "mutants": plain(outcomes),
    }


if __name__ == "__main__":
    sys.exit(main())
