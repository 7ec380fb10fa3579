"""The environments of the peers: made by name, with pinned versions, and kept."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


class EnvironmentFailedError(Exception):
    """An environment could not be made; one line says why."""


@dataclass(frozen=True)
class Environment:
    """Packages of a peer; without any, it is the environment that runs the harness."""

    name: str
    packages: tuple[str, ...] = ()


OURS = Environment("ours")
TORCH = Environment("torch", ("torch==2.13.0", "numpy==2.4.6"))
FEDJAX = Environment(
    "fedjax",
    # FedJAX 0.0.17 asks for any jax, and breaks on today's: these are of its time.
    (
        "fedjax==0.0.17",
        "jax==0.4.30",
        "jaxlib==0.4.30",
        "numpy==1.26.4",
        "dm-haiku==0.0.12",
        "optax==0.2.5",
        "chex==0.1.90",
        "scipy==1.17.1",
    ),
)
PFL = Environment("pfl", ("pfl==0.6.0", "torch==2.13.0", "numpy==2.4.6"))
FLOWER = Environment("flower", ("flwr==1.41.0", "ray==2.55.1", "torch==2.13.0", "numpy==2.4.6"))


def folder() -> Path:
    """Where environments are kept."""
    cache = os.environ.get("FEDJAX_REC_CACHE") or Path.home() / ".cache" / "fedjax_rec"
    return Path(cache) / "benchmarks"


def python_of(environment: Environment) -> Path:
    """The interpreter of an environment, which is made first if it is not there.

    Raises:
      EnvironmentFailedError: it could not be made.
    """
    if not environment.packages:
        return Path(sys.executable)
    place = folder() / environment.name
    python = place / "bin" / "python"
    wanted = f"python {sys.version_info[0]}.{sys.version_info[1]}\n"
    wanted += "\n".join(environment.packages) + "\n"
    installed = place / "installed.txt"  # written last, so an interrupted one is made anew
    if installed.exists() and installed.read_text() == wanted:
        return python
    print(f"making the environment {place}: {' '.join(environment.packages)}", file=sys.stderr)
    _run(environment, [sys.executable, "-m", "venv", "--clear", str(place)])
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    _run(environment, [*pip, "install", *environment.packages])
    installed.write_text(wanted)
    return python


def _run(environment: Environment, command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "ERROR" in line] or [
            f"exit code {done.returncode}"
        ]
        raise EnvironmentFailedError(
            f"the environment {environment.name} could not be made: {lines[-1].strip()}"
        )
