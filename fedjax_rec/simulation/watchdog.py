"""Says what a run is waiting for, when it has waited long."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

PATIENCE = 60.0
"""Seconds before the first line; each further line takes twice as long as the one before."""


class Watchdog:
    """A thread that speaks up when one step of a run takes long.

    No step that is known to hang is started; this is for those that are not known.
    """

    def __init__(
        self,
        notice: Callable[[str], None],
        devices: Sequence[Any],
        patience: float = PATIENCE,
    ) -> None:
        """Watches nothing yet.

        Args:
          notice: gets the lines.
          devices: on which the steps run.
          patience: seconds before the first line.
        """
        self._notice, self._patience = notice, patience
        self._devices = ", ".join(map(str, devices))
        self._advice = (
            "; if nothing computes any more, stop it and set execution.num_devices to 1"
            if len(devices) > 1
            else ""
        )

    @contextmanager
    def waiting_for(self, what: str) -> Iterator[None]:
        """Tells what its block waits for, should it take long.

        Args:
          what: the step, such as `training rounds 1 to 5`.
        """
        is_done = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(what, is_done), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            is_done.set()
            watcher.join()

    def _watch(self, what: str, is_done: threading.Event) -> None:
        begin, wait = time.monotonic(), self._patience
        while not is_done.wait(wait):
            waited = time.monotonic() - begin
            self._notice(
                f"still waiting for {what} on {self._devices} after {waited:.0f} s{self._advice}"
            )
            wait = waited
