"""What the files in a run's folder tell."""

import json
import tomllib
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedjax_rec.errors import UserError


@dataclass(frozen=True)
class RunRecord:
    """A finished run, as its folder tells it.

    Attributes:
      path: the folder.
      config: the table in `config.toml`.
      summary: the object in `summary.json`.
    """

    path: Path
    config: dict[str, Any]
    summary: dict[str, Any]

    @cached_property
    def per_client(self) -> dict[str, npt.NDArray[np.float64]]:
        """Every client's test metrics `[N]` by key, NaN where it holds no item out; or nothing.

        Raises:
          UserError: the file is not what a run writes.
        """
        return _per_client(self.path / "per_client.npz")


def _per_client(path: Path) -> dict[str, npt.NDArray[np.float64]]:
    try:
        with np.load(path) as stored:
            return {key: np.asarray(stored[key], np.float64) for key in stored.files}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read: {error}; run it again to write it") from None


def read_summary(folder: Path) -> dict[str, Any] | None:
    """The object in `summary.json`; `None` while the run is not finished.

    Raises:
      UserError: the file is not what a run writes.
    """
    path = folder / "summary.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}; run it again to write it") from None
    if not isinstance(summary, dict) or not isinstance(summary.get("metrics"), dict):
        raise UserError(f"{path}: has no metrics; run it again to write it")
    return summary


def last_round(folder: Path) -> int:
    """The last round in `metrics.jsonl`; 0 when there is none.

    >>> last_round(Path("no/such/folder"))
    0
    """
    try:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return 0
    for line in reversed(lines):
        try:
            return int(json.loads(line)["round"])
        except (ValueError, KeyError, TypeError):  # a line that was cut off by a kill
            continue
    return 0


def finished_run(folder: Path) -> RunRecord:
    """What a finished run left.

    Args:
      folder: what `run --output` named.

    Raises:
      UserError: no such folder, not a run's folder, or the run is not finished.
    """
    path = folder / "config.toml"
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name the folder of a run, such as runs/NAME")
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder}: not the folder of a run (it has no config.toml)") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    config.pop("recorded", None)  # found by the run, not asked for; it is in the summary too
    summary = read_summary(folder)
    if summary is None:
        raise UserError(
            f"{folder}: not finished (stopped after round {last_round(folder)}); "
            "start it again to go on"
        )
    return RunRecord(folder, config, summary)
