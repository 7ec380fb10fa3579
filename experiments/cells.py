"""Cells of a table: each a run of a preset, stored once with what it ran on.

A script names its cells and makes a table of what is stored. One that was stopped goes on:
a cell is run again only if its command has changed. Several may work on one table at once.
"""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

START, END = "<!-- made by run.py from results.json -->", "<!-- end -->"
KEPT = (
    "metrics",
    "protocol",
    "privacy",
    "rounds",
    "reported_round",
    "num_clients",
    "timing",
    "memory",
)


class Cells:
    """The stored cells of one table.

    Attributes:
      home: the folder of the experiment; its `results.json` holds the cells.
      found: name -> record.
    """

    def __init__(self, home: Path) -> None:
        """Reads what is stored."""
        self.home = home
        self.path = home / "results.json"
        self.found: dict[str, dict[str, Any]] = self._stored()

    def _stored(self) -> dict[str, dict[str, Any]]:
        return dict(json.loads(self.path.read_text())) if self.path.exists() else {}

    def run(
        self,
        name: str,
        preset: str,
        *options: str,
        seconds: float | None = None,
        by_round: Sequence[str] = (),
        more: Callable[[Path], dict[str, Any]] = lambda folder: {},
    ) -> None:
        """Runs a cell unless it is stored.

        Args:
          name: of the cell; its run's folder is `runs/<experiment>/<name>`.
          preset: of `fedjax-rec run`.
          *options: that follow it.
          seconds: the longest it may take; over that, the cell says so.
          by_round: metrics of every evaluation that are kept too.
          more: what else is kept, from the run's folder.
        """
        command = ["fedjax-rec", "run", preset, *options]
        if self.found.get(name, {}).get("command") == " ".join(command):
            return
        folder = Path("runs") / self.home.name / name
        self._clear_of_others(folder, name, " ".join(command))
        print(f"{name}: {' '.join(command)}", flush=True)
        words = [sys.executable, "-m", "fedjax_rec", *command[1:], "--output", str(folder)]
        try:
            done = subprocess.run(words, timeout=seconds, check=False, stdout=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            assert seconds is not None
            self._store(name, command, {"stopped": f"over {seconds / 60:.0f} minutes"})
            return
        if done.returncode == -9:
            self._store(name, command, {"stopped": "killed: over the memory"})
            return
        if done.returncode == 2 and (needed := _memory_needed(words)):
            self._store(name, command, {"stopped": f"needs {needed}"})
            return
        if done.returncode:
            sys.exit(f"{folder}: the run did not end; the next call goes on with it")
        summary = json.loads((folder / "summary.json").read_text())
        facts = json.loads((folder / "environment.json").read_text())
        record = {key: summary[key] for key in KEPT} | {"environment": facts}
        if by_round:
            lines = (folder / "metrics.jsonl").read_text().splitlines()
            evaluations = [line for line in map(json.loads, lines) if by_round[0] in line]
            record["by_round"] = {key: [line[key] for line in evaluations] for key in by_round}
        self._store(name, command, record | more(folder))

    def _clear_of_others(self, folder: Path, name: str, command: str) -> None:
        """Deletes what the cell's command has left there while it was another one."""
        told = folder.with_name(f"{folder.name}.command")
        before = told.read_text() if told.exists() else self.found.get(name, {}).get("command")
        if before not in (None, command):
            shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        told.write_text(command)

    def note(self, name: str, record: dict[str, Any]) -> None:
        """Stores what was found in several cells' folders together."""
        self._store(name, [], record)

    def _store(self, name: str, command: Sequence[str], record: dict[str, Any]) -> None:
        # several calls may make cells of a table at once: keep what the others stored
        home = os.open(self.home, os.O_RDONLY)
        try:
            fcntl.flock(home, fcntl.LOCK_EX)
            self.found = self._stored() | {name: {"command": " ".join(command)} | record}
            temporary = self.path.with_suffix(".tmp")
            temporary.write_text(json.dumps(self.found, indent=1) + "\n")
            temporary.replace(self.path)
        finally:
            os.close(home)

    def write_readme(self, table: str) -> None:
        """Puts the table between the marks in the experiment's README, and prints it."""
        path = self.home / "README.md"
        before, rest = path.read_text().split(START)
        path.write_text(f"{before}{START}\n\n{table}\n\n{END}{rest.split(END)[1]}")
        print(table)


def _memory_needed(words: Sequence[str]) -> str:
    """What a command that was refused for its memory would need; empty if it was not."""
    refused = subprocess.run(words, check=False, capture_output=True, text=True)
    found = re.search(r"does not fit: .*?needs? ([\d.,]+ \w*B) of memory", refused.stderr)
    return found[1] if found else ""


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown.

    >>> print(markdown(["a", "b"], [["1", "2"]]))
    | a | b |
    | --- | --- |
    | 1 | 2 |
    """
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percent(record: dict[str, Any], split: str = "test", k: int = 10) -> str:
    """HR@k / NDCG@k of a cell in percent, or why there are none."""
    if "stopped" in record:
        return str(record["stopped"])
    hits, gain = (record["metrics"][f"{split}/{name}@{k}"] for name in ("hit_rate", "ndcg"))
    return f"{100 * hits:.1f} / {100 * gain:.1f}"


def seconds(record: dict[str, Any]) -> str:
    """How long a cell took, compilation and evaluation included."""
    parts = ("compile_seconds", "train_seconds", "evaluate_seconds")
    return f"{sum(record['timing'][part] for part in parts):.0f} s"


def machine(cells: dict[str, dict[str, Any]]) -> str:
    """Where the cells ran, in a line: processor, cores, Python, jax, commits."""
    facts = [cell["environment"] for cell in cells.values() if "environment" in cell]
    places = {
        f"{one['processor']}, {one['num_cpus']} cores, Python {one['versions']['python']}, "
        f"jax {one['versions']['jax']}"
        for one in facts
    }
    return "; ".join(sorted(places))
