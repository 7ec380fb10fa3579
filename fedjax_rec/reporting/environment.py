"""What a run ran on: versions, devices, source, command."""

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = ("fedjax-rec", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "chex")


def environment(command: Sequence[str], seed: int) -> dict[str, Any]:
    """The object of `environment.json`.

    Args:
      command: the words of the command line.
      seed: of the run.
    """
    import jax  # starts the devices; only a run needs them

    devices = jax.devices()
    return {
        "versions": {"python": platform.python_version(), **library_versions()},
        "platform": platform.platform(),
        "processor": processor(),
        "backend": jax.default_backend(),
        "devices": [device.device_kind for device in devices],
        "num_devices": len(devices),
        "num_processes": jax.process_count(),
        "num_cpus": os.cpu_count(),
        "git": git_state(Path(__file__).parent),
        "seed": seed,
        "command": list(command),
    }


def processor() -> str:
    """The name of the CPU, or of its architecture where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def library_versions() -> dict[str, str | None]:
    """Version of each library, from its metadata; `None` where it is not installed."""
    found: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of the source, and whether package or presets differ; `None` outside a checkout.

    A package that is merely installed below some checkout is not part of it.
    """
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    source = (".", "../configs", "../pyproject.toml")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", *source)
    return {"commit": commit, "is_dirty": bool(changes)} if commit else None


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
