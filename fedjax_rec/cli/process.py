"""What a verb that computes sets in its process before jax is imported."""

import hashlib
import os
import platform
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedjax_rec.cpu import configure_cpu, print_line

CACHE_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
LEAST_SECONDS_VARIABLE = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
LEAST_SECONDS = "0.5"
"""Programs that compile faster than this are not kept."""

UNREADABLE = re.compile(r"Error reading persistent compilation cache entry for '([^']+)'")


def prepare_process() -> Callable[[], None]:
    """Chooses XLA's threads, devices and cache of compiled programs, where the user has not.

    Returns:
      Prints the line that says so. Call it once the request is known to be sound, so that
      a mistake is told in one line.
    """
    lines: list[str] = []
    configure_cpu(lines.append)
    if "jax" not in sys.modules and CACHE_VARIABLE not in os.environ:  # jax reads it on import
        keep_programs()
    return lambda: print_line(f"cpu: {lines.pop()}") if lines else None


def keep_programs() -> None:
    """Lets jax keep compiled programs for the next process, in the cache folder.

    They hold machine code, so each kind of processor has its own folder.
    """
    from fedjax_rec.data.obtain import cache_folder

    folder = cache_folder() / "xla" / processor_tag()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if not os.access(folder, os.W_OK):
        return
    os.environ[CACHE_VARIABLE] = str(folder)
    os.environ.setdefault(LEAST_SECONDS_VARIABLE, LEAST_SECONDS)
    show = warnings.showwarning

    def drop_or_show(message: Any, *where: Any, **options: Any) -> None:
        if not drop_unreadable(folder, str(message)):
            show(message, *where, **options)

    warnings.showwarning = drop_or_show


def drop_unreadable(folder: Path, warning: str) -> bool:
    """Removes a program that was cut off by a kill, so that jax writes it anew.

    jax never overwrites one, and would warn in every run.

    Args:
      folder: the cache.
      warning: of jax; others are left alone.

    Returns:
      Whether it was such a warning.
    """
    found = UNREADABLE.match(warning)
    if found:
        for path in folder.glob(f"{found[1]}-*"):
            path.unlink(missing_ok=True)
    return found is not None


def processor_tag() -> str:
    """A short name of the kind of processor: what its machine code depends on.

    >>> len(processor_tag())
    8
    """
    kind = [platform.machine()]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for name in ("model name", "flags", "Features"):
        kind += [line for line in lines if line.startswith(name)][:1]
    return hashlib.sha256("\n".join(kind).encode()).hexdigest()[:8]
