"""The processor: what of it this process may use, and how XLA is to use it.

XLA splits even a small operation over all its threads, which costs more than it gains.
Faster is one thread inside an operation and one host device for each core. XLA reads
both from the environment when jax is first used, so they have to be set before; hence
the standard library only. Importing this module changes nothing.
"""

import os
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SWITCH = "FEDJAX_REC_CPU"
"""The variable that turns all of this off, by the value `off`."""

THREADS = ("NPROC", "PJRT_NPROC")
"""Variables that set the size of XLA's thread pool; the second is stronger."""

DEVICES_FLAG = "--xla_force_host_platform_device_count"
DEVICES_VARIABLE = "JAX_NUM_CPU_DEVICES"
WORKER = "tf_XLAEigen"
"""The name of the threads that execute programs."""

PROC, CGROUP = Path("/proc"), Path("/sys/fs/cgroup")

_is_applied = False


@dataclass(frozen=True)
class CpuSettings:
    """What `configure_cpu` did.

    Attributes:
      variables: the environment variables that it set.
      reason: why it left the process as it was; empty where it did not.
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""

    def __str__(self) -> str:
        words = " ".join(f"{name}={value}" for name, value in self.variables.items())
        return f"set {words} ({SWITCH}=off leaves XLA alone)" if words else self.reason


def print_line(line: str) -> None:
    """Prints a line on standard error."""
    sys.stderr.write(f"{line}\n")


def configure_cpu(notice: Callable[[str], None] = print_line) -> CpuSettings:
    """Makes XLA use one thread an operation and one host device for each core.

    Call it before anything is computed with jax; the command line does so itself. It sets
    environment variables of this process, `NPROC` and `XLA_FLAGS`, and leaves what the
    user has chosen. It does nothing once jax has started its backend, where an
    accelerator is asked for or its jax plugin is installed, and under
    `FEDJAX_REC_CPU=off`.

    Args:
      notice: gets the one line that says what was set; standard error by default.

    Returns:
      What was set, or why nothing was.

    >>> from unittest import mock
    >>> with mock.patch.dict("os.environ", {"FEDJAX_REC_CPU": "off"}):
    ...     configure_cpu().reason
    'FEDJAX_REC_CPU=off'
    """
    global _is_applied
    if reason := _reason_against():
        return CpuSettings(reason=reason)
    _is_applied = True
    variables = _unchosen(usable_cores())
    os.environ.update(variables)
    settings = CpuSettings(variables, "" if variables else "nothing is left to choose")
    if variables:
        notice(str(settings))
    return settings


def pin_threads() -> int:
    """Gives each of XLA's worker threads a core of its own; call it after a program ran.

    The kernel may otherwise leave two of them on one core for seconds. A pinned thread in
    turn cannot evade another process, so where others are busy the threads are let go; call
    it again from time to time. Nothing happens but on Linux, after `configure_cpu`, and
    with as many devices as the process has cores.

    Returns:
      How many threads have a core of their own.
    """
    if not (_is_applied and is_started() and hasattr(os, "sched_setaffinity")):
        return 0
    cores = sorted(os.sched_getaffinity(0))
    if _num_devices() != len(cores):
        return 0
    threads = _workers()
    is_quiet = _num_busy_others() + len(cores) <= (os.cpu_count() or 1)
    try:
        for place, thread in enumerate(threads):
            home = {cores[place % len(cores)]} if is_quiet else set(cores)
            os.sched_setaffinity(thread, home)
    except OSError:  # the thread has ended, or the system forbids it: it is only slower
        return 0
    return len(threads) if is_quiet else 0


def missing_settings() -> dict[str, str]:
    """The settings this process computes without, as environment variables; empty if none.

    What the user has chosen is not missing.
    """
    cores = usable_cores()
    if is_started():
        on_cpu = sys.modules["jax"].default_backend() == "cpu"
        is_lacking = _switch() != "off" and on_cpu and _num_devices() < cores
        return _unchosen(cores) if is_lacking else {}
    return {} if _reason_against() else _unchosen(cores)


def missing_settings_line() -> str:
    """The line that tells a user of `missing_settings`; empty where none is missing."""
    missing = missing_settings()
    if not missing:
        return ""
    words = " ".join(f"{name}='{value}'" for name, value in missing.items())
    return (
        "note: rounds can be up to twice as fast on this CPU: call fedjax_rec.configure_cpu() "
        f"before jax is used, or set {words} ({SWITCH}=off hides this line)"
    )


def is_started() -> bool:
    """Whether jax has started its devices, after which the settings come too late."""
    bridge: Any = sys.modules.get("jax._src.xla_bridge")
    if bridge is None:
        return False
    # Where jax has no such function any more, what is imported counts as started.
    return bool(getattr(bridge, "backends_are_initialized", lambda: True)())


def usable_cores() -> int:
    """Cores that this process may use: by its affinity, and by its control group's quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min([cores, *(int(quota) for quota in _cpu_quotas())]))


def available_memory() -> int | None:
    """Bytes that this process may still get, as far as the system tells.

    That is what the system has left, or the limit of the control group where it is
    smaller; `None` where neither is known.
    """
    known = [
        int(line.split()[1]) * 1024
        for line in _text(PROC / "meminfo").splitlines()
        if line.startswith("MemAvailable:")
    ]
    for folder in _groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = _text(folder / name).strip()
            known += [int(limit)] if limit.isdigit() else []
    return min(known, default=None)


# ------------------------------------------------------------------ what is chosen


def _reason_against() -> str:
    """Why the settings are not to be touched; empty where they may be."""
    if _switch() == "off":
        return f"{SWITCH}=off"
    if is_started():
        return "jax has started its devices already"
    if platforms := _platforms():
        is_cpu = set(platforms.replace(" ", "").split(",")) == {"cpu"}
        return "" if is_cpu else f"jax is to use {platforms}"
    plugins = ", ".join(sorted(_plugins()))
    return f"an accelerator may be there ({plugins}); JAX_PLATFORMS=cpu says no" if plugins else ""


def _unchosen(cores: int) -> dict[str, str]:
    """The variables to set, where the user has not chosen; none for a single core."""
    if cores == 1:
        return {}
    variables: dict[str, str] = {}
    if not any(os.environ.get(name) for name in THREADS):
        variables[THREADS[0]] = "1"
    flags = os.environ.get("XLA_FLAGS", "")
    is_chosen = DEVICES_FLAG in flags or os.environ.get(DEVICES_VARIABLE)
    if not is_chosen and _config("jax_num_cpu_devices", -1) < 0:
        variables["XLA_FLAGS"] = f"{flags} {DEVICES_FLAG}={cores}".strip()
    return variables


def _switch() -> str:
    return os.environ.get(SWITCH, "").lower()


def _platforms() -> str:
    """The platforms that jax was told to use; once it is imported, its configuration counts."""
    told = os.environ.get("JAX_PLATFORMS") or os.environ.get("JAX_PLATFORM_NAME") or ""
    return str(_config("jax_platforms", told) or "") if "jax" in sys.modules else told


def _config(name: str, default: Any) -> Any:
    """A value of jax's configuration; the default where jax is not imported."""
    config = getattr(sys.modules.get("jax"), "config", None)
    return getattr(config, name, default)


def _plugins() -> set[str]:
    """Accelerators' plugins that jax would load: it looks in the same places."""
    found = {entry.name for entry in entry_points(group="jax_plugins")}
    if (package := find_spec("jax_plugins")) is not None:
        folders = list(package.submodule_search_locations or ())
        found |= {module.name for module in pkgutil.iter_modules(folders)}
    return found | ({"libtpu"} if find_spec("libtpu") else set())


@cache
def _workers() -> list[int]:
    """The threads that execute programs; XLA starts them all with its devices."""
    tasks = (PROC / "self/task").iterdir()
    return sorted(int(task.name) for task in tasks if _text(task / "comm").strip() == WORKER)


def _num_busy_others() -> int:
    """Threads of the whole machine that run or wait for a core, but the one that asks."""
    words = _text(PROC / "loadavg").split()
    return max(0, int(words[3].partition("/")[0]) - 1) if len(words) > 3 else 0


def _num_devices() -> int:
    return int(sys.modules["jax"].local_device_count())


# ------------------------------------------------------------------- control groups


def _groups(controller: str) -> Iterator[Path]:
    """Folders of the process's control groups and those around them, of both versions."""
    for line in _text(PROC / "self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = CGROUP / controller if controllers else CGROUP
        group = root / path.strip("/")
        yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(root))


def _cpu_quotas() -> Iterator[float]:
    """Cores that each control group allows, where it has a quota."""
    for folder in _groups("cpu"):
        words = _text(folder / "cpu.max").split() or [
            *_text(folder / "cpu.cfs_quota_us").split(),
            *_text(folder / "cpu.cfs_period_us").split(),
        ]
        if len(words) == 2 and words[0].isdigit():
            yield int(words[0]) / int(words[1])


def _text(path: Path) -> str:
    """What a file of the system says; nothing where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
