"""The files of a run folder that a machine reads: metrics, line by line, and JSON."""

import io
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

PER_CLIENT = "per_client.npz"
"""The file of every client's test metrics."""


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file so that a reader, or a crash, never meets half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as stream:
        stream.write(content.encode() if isinstance(content, str) else content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def to_json(content: Any, indent: int | None = None) -> str:
    """The one writer of JSON: a number that is not finite, which JSON has no word for, is null.

    >>> to_json({"auc": float("nan"), "ndcg@10": 0.5})
    '{"auc": null, "ndcg@10": 0.5}'
    """
    return json.dumps(_finite(content), indent=indent, allow_nan=False)


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes indented JSON, atomically."""
    write_atomically(path, to_json(content, indent=2) + "\n")


def write_per_client(folder: Path, values: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Writes every client's test metrics, atomically: `[N]` float32 arrays by metric key.

    Args:
      folder: of the run.
      values: by key without a split, such as `ndcg@10`; NaN where a client holds no item out.
    """
    stream = io.BytesIO()
    arrays = {f"test/{key}": np.asarray(value, np.float32) for key, value in values.items()}
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    write_atomically(folder / PER_CLIENT, stream.getvalue())


class MetricsLog:
    """`metrics.jsonl`: one JSON object a line, a line a round; kept in memory as well."""

    def __init__(self, path: Path | None) -> None:
        """Opens the log; without a path it lives in memory only."""
        self.path = path
        self.lines: list[dict[str, Any]] = []

    def keep(self, num_rounds: int, notice: Callable[[str], None] = lambda line: None) -> None:
        """Reads what is there and drops all but the lines of the rounds that a checkpoint knows.

        Args:
          num_rounds: how many rounds it knows.
          notice: is told of lines that are broken, which a crash may leave; they are dropped.
        """
        if self.path is None:
            return
        data = self.path.read_bytes() if self.path.exists() else b""
        found = [_line(text) for text in data.decode(errors="replace").splitlines()]
        if broken := [str(number) for number, line in enumerate(found, 1) if line is None]:
            some = ", ".join(broken[:5]) + (", ..." if len(broken) > 5 else "")
            notice(f"warning: {self.path}: {len(broken)} broken (line {some}); dropped")
        self.lines = [line for line in found if line and line["round"] <= num_rounds]
        write_atomically(self.path, "".join(to_json(line) + "\n" for line in self.lines))

    def append(self, line: dict[str, Any]) -> None:
        """Adds one line; it is in the file when this returns."""
        self.lines.append(line)
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(to_json(line) + "\n")


def _line(text: str) -> dict[str, Any] | None:
    """The line of a round; `None` where it is none."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    is_round = isinstance(line, dict) and isinstance(line.get("round"), int)
    return line if is_round else None
