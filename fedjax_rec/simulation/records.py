"""The files of a run folder that a machine reads: metrics, line by line, and JSON."""

import json
import os
from pathlib import Path
from typing import Any


def write_atomically(path: Path, text: str) -> None:
    """Writes a file so that a reader, or a crash, never meets half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes indented JSON, atomically."""
    write_atomically(path, json.dumps(content, indent=2) + "\n")


class MetricsLog:
    """`metrics.jsonl`: one JSON object a line, a line a round; kept in memory as well."""

    def __init__(self, path: Path | None) -> None:
        """Opens the log; without a path it lives in memory only."""
        self.path = path
        self.lines: list[dict[str, Any]] = []

    def keep(self, num_lines: int) -> None:
        """Reads what is there and drops all but the first lines: those a checkpoint knows."""
        if self.path is None:
            return
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        kept = text.splitlines()[:num_lines]
        self.lines = [json.loads(line) for line in kept]
        write_atomically(self.path, "".join(line + "\n" for line in kept))

    def append(self, line: dict[str, Any]) -> None:
        """Adds one line; it is in the file when this returns."""
        self.lines.append(line)
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
