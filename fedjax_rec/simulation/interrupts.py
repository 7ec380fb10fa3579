"""Ctrl-C during a run: the first ends it in order."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

HEARD = "interrupted: ends after the rounds under way and saves; Ctrl-C again ends at once\n"


@contextmanager
def interruptible(*, is_on: bool) -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second interrupts at once."""
    event = threading.Event()
    if not is_on or threading.current_thread() is not threading.main_thread():
        yield event
        return
    previous = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, previous)
        event.set()
        with suppress(OSError, ValueError, AttributeError):
            # Not by the stream, which may be at work under this very signal.
            os.write(sys.stderr.fileno(), HEARD.encode())

    signal.signal(signal.SIGINT, note)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, previous)
