"""What a verb that computes sets in its process before jax is imported."""

import errno
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fedjax_rec.cpu import configure_cpu, print_line
from fedjax_rec.program_cache import keep_programs


def prepare_process() -> Callable[[], None]:
    """Chooses XLA's threads, devices and cache of compiled programs, where the user has not.

    Returns:
      Prints the line that says so. Call it once the request is known to be sound, so that
      a mistake is told in one line.
    """
    lines: list[str] = []
    configure_cpu(lines.append)
    keep_programs()
    return lambda: print_line(f"cpu: {lines.pop()}") if lines else None


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a file that does not take more."""


def not_written(error: BaseException) -> str:
    """What is to be said where a disk is full or a save took too long; "" for other failures.

    Libraries that write in the background wrap the system's error, or keep its text alone.

    >>> not_written(OSError(errno.ENOSPC, "No space left on device", "runs/x/metrics.jsonl"))
    'no space left on the disk (runs/x/metrics.jsonl): make room, and start it again to go on'
    >>> not_written(TimeoutError())
    'a checkpoint took too long to write (did the computer sleep?): start it again'
    >>> not_written(ValueError("not found"))
    ''
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        is_named = isinstance(one, OSError) and one.errno in FULL
        if is_named or any(os.strerror(code) in str(one) for code in FULL):
            name = one.filename if isinstance(one, OSError) else None
            where = f" ({name})" if name else ""
            return f"no space left on the disk{where}: make room, and start it again to go on"
        if isinstance(one, TimeoutError):
            return "a checkpoint took too long to write (did the computer sleep?): start it again"
        waiting += [one.__cause__, one.__context__]
        waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
    return ""


@contextmanager
def in_one_line() -> Iterator[None]:
    """What libraries warn of is a line each; what they raise in threads is told by who waits.

    What cannot be written fails in a thread that writes, with its traceback, and again where
    the run waits for it, which is the one that is told.
    """
    by_format, by_hook = warnings.formatwarning, threading.excepthook

    def formatted(message: Warning | str, *rest: object, **others: object) -> str:
        return f"warning: {' '.join(str(message).split())}\n"

    def hook(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is None or not not_written(args.exc_value):
            by_hook(args)

    warnings.formatwarning, threading.excepthook = formatted, hook
    try:
        yield
    finally:
        warnings.formatwarning, threading.excepthook = by_format, by_hook


def hush_libraries() -> None:
    """Leaves the log of orbax out: of what it waits for, and of what it raises as well.

    To be called once it is imported, for its logger is of a class of its own.
    """
    if "absl.logging" in sys.modules:
        logging.getLogger("absl").setLevel(logging.CRITICAL)
