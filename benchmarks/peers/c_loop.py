"""The yardstick: `c_loop.c`, compiled here by the system's compiler and called by ctypes."""

import ctypes
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.serve import CannotError, serve
from benchmarks.problem import Problem

FLAGS = ("-O3", "-march=native", "-ffast-math", "-shared", "-fPIC", "-pthread")
SOURCE = Path(__file__).with_name("c_loop.c")


class _CProblem(ctypes.Structure):
    """`Problem` of the C file."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("num_clients", "num_items", "clients_per_round")),
        *((name, ctypes.c_int64) for name in ("epochs", "negatives", "batch_size", "seed")),
        *((name, ctypes.c_void_p) for name in ("offsets", "items")),
        *((name, ctypes.c_float) for name in ("user_rate", "item_rate")),
        *((name, ctypes.c_void_p) for name in ("users", "table")),
    )


class CLoop:
    """Federated averaging in C."""

    def __init__(self, problem: Problem) -> None:
        """Copies what is trained; the rest is read in place."""
        settings = problem.settings
        if settings.workload not in ("W1", "W2"):
            raise CannotError("this form is written for matrix factorisation (W1, W2)")
        self.dim = settings.dim
        self.users, self.items = problem.users_start.copy(), problem.items_start.copy()
        self.cohort = problem.cohort
        self.data = (problem.offsets, problem.items)
        self.problem = _CProblem(
            problem.num_clients,
            problem.num_items,
            settings.clients,
            settings.epochs,
            settings.negatives,
            settings.batch_size,
            settings.seed,
            *(array.ctypes.data for array in self.data),
            settings.user_rate,
            settings.item_rate,
            self.users.ctypes.data,
            self.items.ctypes.data,
        )

    def compile(self, num_rounds: int) -> None:
        """Compiles the C file for this width."""
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "c_loop.so"
            compiler = os.environ.get("CC", "cc")
            command = [compiler, *FLAGS, f"-DDIM={self.dim}", str(SOURCE), "-o", str(library)]
            subprocess.run([*command, "-lm"], check=True)
            self.run_rounds = ctypes.CDLL(str(library)).run_rounds

    def run(self, first_round: int, num_rounds: int) -> None:
        """Rounds of federated averaging."""
        end = first_round + num_rounds
        cohorts = np.stack([self.cohort(round) for round in range(first_round, end)])
        cohorts = cohorts.astype(np.int32)
        self.run_rounds(
            ctypes.byref(self.problem),
            ctypes.c_void_p(cohorts.ctypes.data),
            ctypes.c_int64(first_round),
            ctypes.c_int64(num_rounds),
        )

    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """The two factors."""
        return {"users": self.users, "items": self.items}


if __name__ == "__main__":
    serve(CLoop, "numpy")
