"""One run at a time in a folder."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedjax_rec.errors import UserError

NAME = ".lock"

_owners: dict[Path, int] = {}
"""Folders that this process holds, and the thread that does."""


@contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Keeps every other run out of a folder, which is made where it is not there.

    The system lets go of the lock when the process ends, however it ends. Within its block,
    the same thread may ask again.

    Raises:
      UserError: another run is at work there, or the folder cannot be written.
    """
    folder = folder.absolute()
    if _owners.get(folder) == threading.get_ident():
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _take(folder / NAME)
    except BlockingIOError:
        raise UserError(
            f"{folder}: another run is at work there; wait for it, or choose another --output"
        ) from None
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror}); choose another --output"
        ) from error
    _owners[folder] = threading.get_ident()
    try:
        yield
    finally:
        del _owners[folder]
        (folder / NAME).unlink(missing_ok=True)
        os.close(lock)


def _take(path: Path) -> int:
    """The locked file. It is removed by its owner, so what was locked may be a removed one."""
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same(lock, path):
                return lock
        except OSError:
            os.close(lock)
            raise
        os.close(lock)


def _is_same(lock: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), path.stat())
    except FileNotFoundError:
        return False
