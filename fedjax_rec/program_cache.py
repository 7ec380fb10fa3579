"""The cache of compiled programs that outlives a process.

It is on in every run, from Python as on the command line, where the user has not chosen.
"""

import hashlib
import os
import platform
import re
import sys
import warnings
from pathlib import Path
from typing import Any

from fedjax_rec.cache import cache_folder

CACHE_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
LEAST_SECONDS_VARIABLE = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
LEAST_SECONDS = "0.5"
"""Programs that compile faster than this are not kept."""

UNREADABLE = re.compile(r"Error reading persistent compilation cache entry for '([^']+)'")


def keep_programs() -> None:
    """Lets jax keep compiled programs for the next process, in the cache folder.

    They hold machine code, so each kind of processor has its own folder. What the user has
    chosen (`JAX_COMPILATION_CACHE_DIR`, or jax's own settings) is left alone.
    """
    if CACHE_VARIABLE in os.environ:
        return
    jax = sys.modules.get("jax")
    if jax is not None and jax.config.jax_compilation_cache_dir is not None:
        return
    folder = cache_folder() / "xla" / processor_tag()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if not os.access(folder, os.W_OK):
        return
    if jax is None:  # it reads them when it is imported
        os.environ[CACHE_VARIABLE] = str(folder)
        os.environ.setdefault(LEAST_SECONDS_VARIABLE, LEAST_SECONDS)
    else:
        _switch_on(jax, folder)
    show = warnings.showwarning

    def drop_or_show(message: Any, *where: Any, **options: Any) -> None:
        if not drop_unreadable(folder, str(message)):
            show(message, *where, **options)

    warnings.showwarning = drop_or_show


def _switch_on(jax: Any, folder: Path) -> None:
    """Sets the cache of a jax that is running; it may have compiled without one."""
    from jax.experimental.compilation_cache import compilation_cache

    jax.config.update("jax_compilation_cache_dir", str(folder))
    if LEAST_SECONDS_VARIABLE not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", float(LEAST_SECONDS))
    compilation_cache.reset_cache()


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
