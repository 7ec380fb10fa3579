"""Checkpoints of a run: the only door to orbax.

Each step holds the whole state and a JSON record with a checksum of every array, so that
a damaged step is noticed and the one before is used.
"""

import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from orbax import checkpoint as ocp

from fedjax_rec.base import PyTree
from fedjax_rec.errors import UserError


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
        if step in self._manager.all_steps():
            self._manager.wait_until_finished()
            self._manager.delete(step)
        record = record | {"checksums": _checksums(tree)}
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(tree), record=ocp.args.JsonSave(record)
        )
        self._manager.save(step, args=items, force=True)

    def steps(self) -> list[int]:
        """The steps that are there, oldest first."""
        return sorted(self._manager.all_steps())

    def restore(self, step: int, like: PyTree) -> tuple[PyTree, dict[str, Any]]:
        """One step's tree, in the structure of `like`, and its record.

        Raises:
          UserError: the step is damaged, or holds another kind of run.
        """
        abstract = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), like
        )
        _ignore_late_reads()
        reason = ""
        tree, record = None, {}
        try:
            self._manager.wait_until_finished()
            items = ocp.args.Composite(record=ocp.args.JsonRestore())
            record = self._manager.restore(step, args=items).record
            if record["checksums"].keys() != _by_name(like).keys():
                reason = "it holds the state of another algorithm"
            else:
                items = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
                tree = self._manager.restore(step, args=items).state
                if _checksums(tree) != record["checksums"]:
                    reason = "checksums differ"
        except Exception as error:  # noqa: BLE001  orbax and tensorstore raise many kinds
            reason = (str(error) or type(error).__name__).splitlines()[0][:100]
        if reason:
            raise UserError(f"checkpoint {self.folder / str(step)} is damaged ({reason})")
        return tree, record

    def close(self) -> None:
        """Waits for what is being written."""
        self._manager.wait_until_finished()
        self._manager.close()


def _ignore_late_reads() -> None:
    """A failed restore leaves reads under way; they complain when they find their loop closed."""
    previous = sys.unraisablehook
    if getattr(previous, "ignores_late_reads", False):
        return

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            previous(unraisable)

    hook.ignores_late_reads = True  # type: ignore[attr-defined]
    sys.unraisablehook = hook


def _by_name(tree: PyTree) -> dict[str, Any]:
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _checksums(tree: PyTree) -> dict[str, str]:
    """Name -> dtype, shape and CRC-32 of every array."""

    def checksum(leaf: Any) -> str:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.asarray(jax.device_get(leaf))
        return f"{array.dtype}{list(array.shape)}:{zlib.crc32(array.tobytes()):08x}"

    return {name: checksum(leaf) for name, leaf in _by_name(tree).items()}
