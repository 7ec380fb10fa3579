"""Where a run keeps what it has done: in its folder, or for as long as it lives."""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from fedjax_rec.base import PyTree
from fedjax_rec.errors import UserError
from fedjax_rec.simulation.checkpoint import Checkpointer
from fedjax_rec.simulation.identity import Facts, difference_in_words
from fedjax_rec.simulation.loggers import Logger, OpenLogger
from fedjax_rec.simulation.plans import CheckpointPlan
from fedjax_rec.simulation.progress import Progress
from fedjax_rec.simulation.records import PER_CLIENT, MetricsLog, write_atomically
from fedjax_rec.simulation.settings import MADE_HERE


class Storage(Protocol):
    """Metrics, line by line, and the state after some rounds."""

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The metrics log."""

    def restore(self, like: PyTree) -> tuple[PyTree, Progress] | None:
        """The newest state and how far it is; `None` to start from the beginning."""

    def append(self, lines: list[dict[str, Any]]) -> None:
        """Adds lines to the metrics log."""

    def save(
        self, whole: Callable[[], PyTree], progress: Progress, *, is_best: bool, is_last: bool
    ) -> None:
        """Saves the state, which `whole` brings to one device, where it is due."""

    def load_best(self, like: PyTree, progress: Progress) -> PyTree:
        """The state of the best round."""

    def close(self) -> None:
        """Finishes what is being written."""


class MemoryStorage:
    """Keeps the lines and a copy of the best state; nothing outlives the process."""

    def __init__(self) -> None:
        """Starts empty."""
        self.lines: list[dict[str, Any]] = []
        self._best: PyTree = None

    def restore(self, like: PyTree) -> None:
        """There is nothing to restore."""

    def append(self, lines: list[dict[str, Any]]) -> None:
        """Keeps the lines."""
        self.lines += lines

    def save(
        self, whole: Callable[[], PyTree], progress: Progress, *, is_best: bool, is_last: bool
    ) -> None:
        """Copies the best state: the next round overwrites its buffers."""
        if is_best:
            self._best = jax.tree.map(jnp.copy, whole())

    def load_best(self, like: PyTree, progress: Progress) -> PyTree:
        """The copy of the best state."""
        return self._best

    def close(self) -> None:
        """There is nothing to finish."""


class FolderStorage:
    """`metrics.jsonl` and `checkpoints/` in a run's folder."""

    def __init__(
        self,
        folder: Path,
        plan: CheckpointPlan,
        *,
        resume: bool,
        notice: Callable[[str], None],
        identity: Facts,
        config: str = "",
        loggers: Sequence[OpenLogger] = (),
    ) -> None:
        """Opens the folder, of which the caller is the only run; see `locking.only_run_in`.

        Args:
          folder: of the run.
          plan: when to save.
          resume: go on from what is there; False removes what an earlier run left.
          notice: gets lines for the user.
          identity: what the run is; its checkpoints carry it.
          config: the text of `config.toml`; "" keeps what is there.
          loggers: open what gets each line too.
        """
        checkpoints = folder / "checkpoints"
        if not resume:
            shutil.rmtree(checkpoints, ignore_errors=True)
            for name in ("metrics.jsonl", "summary.json", PER_CLIENT, "config.toml"):
                (folder / name).unlink(missing_ok=True)
        self._plan, self._notice = plan, notice
        self._folder, self._identity, self._config = folder, identity, config
        self._log = MetricsLog(folder / "metrics.jsonl")
        self._openers, self._loggers = loggers, list[Logger]()
        self._checkpointer = Checkpointer(checkpoints, plan.keep)
        self._saved_at = time.monotonic()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The metrics log."""
        return self._log.lines

    def restore(self, like: PyTree) -> tuple[PyTree, Progress] | None:
        """The newest whole checkpoint; lines past it leave the log.

        Raises:
          UserError: the folder holds another run, or there are checkpoints and all are damaged.
        """
        refuse_another(self._checkpointer, self._folder, self._identity, self._notice)
        restored = restore_latest(self._checkpointer, like, self._notice)
        num_rounds = restored[1].round if restored else 0
        self._log.keep(num_rounds, self._notice)
        for name in ("summary.json", PER_CLIENT):
            (self._folder / name).unlink(missing_ok=True)
        self._write_config(is_going_on=restored is not None)
        self._loggers = [opener(self._folder, num_rounds) for opener in self._openers]
        if restored:
            self._checkpointer.pin(restored[1].best_round)
        return restored

    def _write_config(self, *, is_going_on: bool) -> None:
        path = self._folder / "config.toml"
        is_own = is_going_on and path.exists() and self._config.startswith(MADE_HERE)
        if self._config and not is_own:
            write_atomically(path, self._config)

    def append(self, lines: list[dict[str, Any]]) -> None:
        """Adds lines to the file: before the checkpoint that knows them."""
        for line in lines:
            self._log.append(line)
            for logger in self._loggers:
                logger.log(line)

    def save(
        self, whole: Callable[[], PyTree], progress: Progress, *, is_best: bool, is_last: bool
    ) -> None:
        """Saves at the planned rounds, at a new best and at the end."""
        if is_best:
            self._checkpointer.pin(progress.round)
        is_due = progress.round % self._plan.every == 0
        is_due &= time.monotonic() - self._saved_at >= self._plan.seconds
        if is_due or is_best or is_last:
            self._checkpointer.save(
                progress.round, whole(), progress.record() | {"identity": self._identity}
            )
            self._saved_at = time.monotonic()

    def load_best(self, like: PyTree, progress: Progress) -> PyTree:
        """The checkpoint of the best round.

        Raises:
          UserError: it is damaged.
        """
        return self._checkpointer.restore(progress.best_round, like)[0]

    def close(self) -> None:
        """Waits for the last checkpoint, and closes the loggers."""
        self._checkpointer.close()
        for logger in self._loggers:
            logger.close()


def refuse_another(
    checkpointer: Checkpointer,
    folder: Path,
    identity: Facts,
    notice: Callable[[str], None] = lambda line: None,
) -> None:
    """Refuses a folder whose newest readable checkpoint is of another run.

    Args:
      checkpointer: of the folder's checkpoints.
      folder: for the message.
      identity: of the run that is to be; parts that only one of the two has are not compared.
      notice: is told where a checkpoint does not say what it is.

    Raises:
      UserError: what is there was made of something else.
    """
    records = (checkpointer.record(step) for step in reversed(checkpointer.steps()))
    record = next(filter(None, records), None)
    if record is None:
        return
    if "identity" not in record:
        notice(f"warning: {folder}: an older version made it, and it does not say of what")
    elif words := difference_in_words({"start": {}} | record["identity"], identity):
        raise UserError(
            f"{folder}: holds another run: {words}; choose another folder (--output), or start "
            "over with resume=False (--no-resume)"
        )


def restore_latest(
    checkpointer: Checkpointer, like: PyTree, notice: Callable[[str], None]
) -> tuple[PyTree, Progress] | None:
    """The newest checkpoint that is whole, and how far it is; `None` without any.

    Raises:
      UserError: there are checkpoints and all are damaged.
    """
    steps = checkpointer.steps()
    for step in reversed(steps):
        try:
            tree, record = checkpointer.restore(step, like)
        except UserError as error:
            notice(f"warning: {error}; trying the one before")
        else:
            return tree, Progress.from_record(record)
    if steps:
        raise UserError(
            f"all checkpoints in {checkpointer.folder} are damaged: start over with "
            "--no-resume, or choose another --output"
        )
    return None
