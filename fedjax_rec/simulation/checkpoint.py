"""Checkpoints of a run: the only door to orbax.

Each step holds the whole state, a JSON record with a checksum of every array, and once it
is written the checksums of its files, so that a damaged step is noticed.
"""

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax import checkpoint as ocp

from fedjax_rec.base import PyTree
from fedjax_rec.errors import UserError
from fedjax_rec.simulation.identity import checksum
from fedjax_rec.simulation.records import write_json
from fedjax_rec.tree import named_leaves, with_named

SEAL = "files.json"
"""Checksums of a step's files, in its folder."""


@dataclass
class _Preservation:
    """Keeps the latest steps and one that is asked for by name."""

    num_latest: int
    pinned: int | None = None

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        latest = {info.step for info in checkpoints[-self.num_latest :]}
        return [info.step in latest or info.step == self.pinned for info in checkpoints]


class Checkpointer:
    """Saves and restores the rounds of one run, without blocking it while it writes."""

    def __init__(self, folder: Path, keep: int = 3) -> None:
        """Opens `folder`, which is made when the first step is saved.

        Args:
          folder: where the steps lie, a subfolder each.
          keep: how many of the latest steps stay.
        """
        self.folder = folder.absolute()
        self._preservation = _Preservation(keep)
        self._unsealed: int | None = None
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=self._preservation,
                cleanup_tmp_directories=True,
                enable_async_checkpointing=True,
            ),
        )

    def pin(self, step: int | None) -> None:
        """Keeps this step however old it grows."""
        self._preservation.pinned = step

    def save(self, step: int, tree: PyTree, record: dict[str, Any]) -> None:
        """Writes a step in the background, in place of what is there under its number.

        Args:
          step: rounds done.
          tree: any pytree of arrays; it may be donated once this returns.
          record: JSON beside it.
        """
        self._seal()
        if step in self._manager.all_steps():
            self._manager.delete(step)
        record = record | {"checksums": _checksums(tree)}
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(tree), record=ocp.args.JsonSave(record)
        )
        self._manager.save(step, args=items, force=True)
        self._unsealed = step

    def steps(self) -> list[int]:
        """The steps that are there, oldest first."""
        return sorted(self._manager.all_steps())

    def record(self, step: int) -> dict[str, Any] | None:
        """The record of a step, without its arrays; `None` where it cannot be read."""
        self._seal()
        if _broken_seal(self.folder / str(step)):
            return None
        items = ocp.args.Composite(record=ocp.args.JsonRestore())
        try:
            record: dict[str, Any] = self._manager.restore(step, args=items).record
        except Exception:  # noqa: BLE001  orbax and tensorstore raise many kinds
            return None
        return record

    def restore(self, step: int, like: PyTree) -> tuple[PyTree, dict[str, Any]]:
        """One step's tree, in the structure of `like`, and its record.

        Raises:
          UserError: the step is damaged, or holds another kind of run.
        """
        abstract = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), like
        )
        self._seal()
        reason = _broken_seal(self.folder / str(step))
        if reason:
            raise self._damaged(step, reason)
        try:
            items = ocp.args.Composite(record=ocp.args.JsonRestore())
            record = self._manager.restore(step, args=items).record
            if record["checksums"].keys() != named_leaves(like).keys():
                reason = "it holds the state of another algorithm"
            else:
                items = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
                tree = self._manager.restore(step, args=items).state
                if _checksums(tree) != record["checksums"]:
                    reason = "checksums differ"
        except Exception as error:  # noqa: BLE001  orbax and tensorstore raise many kinds
            reason = (str(error) or type(error).__name__).splitlines()[0][:100]
        if reason:
            raise self._damaged(step, reason)
        return tree, record

    def arrays(self, step: int, is_wanted: Callable[[str], bool]) -> dict[str, Any]:
        """Some arrays of a step by name, whatever else it holds; no others are read.

        Args:
          step: one that is there.
          is_wanted: of an array's name, such as `0/shared/dense/head/kernel`.

        Raises:
          UserError: the step is missing or damaged.
        """
        record = self.record(step)
        if record is None:
            raise self._damaged(step, _broken_seal(self.folder / str(step)) or "no record")
        handler, place = ocp.PyTreeCheckpointHandler(), self.folder / str(step) / "state"
        try:
            stored = handler.metadata(place).tree
            chosen = {name: is_wanted(name) for name in named_leaves(stored)}
            like = with_named(stored, {n: ocp.PLACEHOLDER for n in chosen if not chosen[n]})
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like)
            args = ocp.args.PyTreeRestore(item=like, restore_args=as_numpy)
            leaves = named_leaves(handler.restore(place, args=args))
        except Exception as error:  # noqa: BLE001  orbax and tensorstore raise many kinds
            reason = (str(error) or type(error).__name__).splitlines()[0][:100]
            raise self._damaged(step, reason) from None
        found = {name: leaf for name, leaf in leaves.items() if is_wanted(name)}
        if any(checksum(leaf) != record["checksums"][name] for name, leaf in found.items()):
            raise self._damaged(step, "checksums differ")
        return found

    def _damaged(self, step: int, reason: str) -> UserError:
        return UserError(f"checkpoint {self.folder / str(step)} is damaged ({reason})")

    def _seal(self) -> None:
        """Once the last step is written, puts the checksums of its files beside them.

        Files are checked before orbax reads them, for it complains at length about broken
        ones, some of it when the process ends.
        """
        self._manager.wait_until_finished()
        step = self.folder / str(self._unsealed)
        if self._unsealed is not None and step.is_dir():
            write_json(step / SEAL, _file_checksums(step))
        self._unsealed = None

    def close(self) -> None:
        """Waits for what is being written."""
        self._seal()
        self._manager.close()


def _file_checksums(step: Path) -> dict[str, str]:
    """Path -> size and CRC-32 of every file of a step but the seal itself."""
    files = (path for path in sorted(step.rglob("*")) if path.is_file() and path.name != SEAL)
    contents = {path.relative_to(step).as_posix(): path.read_bytes() for path in files}
    return {name: f"{len(data)}:{zlib.crc32(data):08x}" for name, data in contents.items()}


def _broken_seal(step: Path) -> str:
    """Why the files of a step are not what was written; empty where they are, or unsealed."""
    try:
        sealed = json.loads((step / SEAL).read_text(encoding="utf-8"))
    except FileNotFoundError:  # killed before it was sealed: the arrays' checksums remain
        return ""
    except ValueError:
        return f"{SEAL} is not JSON"
    found = _file_checksums(step)
    changed = [name for name in sorted(sealed | found) if sealed.get(name) != found.get(name)]
    return f"{changed[0]} is not as it was written" if changed else ""


def _checksums(tree: PyTree) -> dict[str, str]:
    """Name -> dtype, shape and CRC-32 of every array."""
    return {name: checksum(leaf) for name, leaf in named_leaves(tree).items()}
