"""Flower: its simulation on ray with two actors, `FedAvg` and a lean PyTorch client.

A stretch of rounds is one simulation, for the private vectors outlive none: they lie in a
file that all actors map. What counts is the time from the first round's begin to the last
one's end, as the server sees it, without the start of ray.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from numpy.typing import NDArray

from benchmarks.peers.flower_client import client_app
from benchmarks.peers.serve import CannotError, serve
from benchmarks.problem import Problem

MOST_CLIENTS = 256
ACTORS = 2


class FlowerSimulation:
    """One simulation a stretch."""

    def __init__(self, problem: Problem) -> None:
        """Writes the private vectors where actors find them."""
        settings = problem.settings
        if settings.workload not in ("W1", "W2"):
            raise CannotError("this form is written for matrix factorisation (W1, W2)")
        if settings.clients > MOST_CLIENTS:
            raise CannotError(
                f"small cohorts only, up to {MOST_CLIENTS}: a client costs some 40 ms of messages"
            )
        os.environ["RAY_DEDUP_LOGS"] = "0"
        self.problem, self.items = problem, problem.items_start
        self.path = str(Path(sys.argv[1]).resolve())
        with tempfile.NamedTemporaryFile(dir=Path(self.path).parent, delete=False) as file:
            file.write(problem.users_start.tobytes())
            self.users = file.name

    def compile(self, num_rounds: int) -> None:
        """Nothing to compile."""

    def run(self, first_round: int, num_rounds: int) -> float:
        """Rounds of federated averaging; returns the seconds between first and last."""
        ends: list[float] = []
        problem, clients = self.problem, self.problem.settings.clients
        server_app = ServerApp()

        def note(round: int, arrays: ArrayRecord) -> None:
            ends.append(time.perf_counter())

        @server_app.main()
        def main(grid: Grid, context: Context) -> None:
            while len(list(grid.get_node_ids())) < problem.num_clients:
                time.sleep(0.1)
            strategy = FedAvg(
                fraction_train=clients / problem.num_clients,
                fraction_evaluate=0.0,
                min_train_nodes=clients,
                min_available_nodes=problem.num_clients,
                weighted_by_key="weight",
            )
            config = {"problem": self.path, "users": self.users, "first-round": first_round}
            result = strategy.start(
                grid,
                ArrayRecord([self.items]),
                num_rounds,
                train_config=ConfigRecord(config),
                evaluate_fn=note,
            )
            self.items = result.arrays.to_numpy_ndarrays()[0]

        run_simulation(
            server_app,
            client_app,
            problem.num_clients,
            backend_config={
                "client_resources": {"num_cpus": 1},
                "init_args": {"num_cpus": ACTORS, "include_dashboard": False},
            },
        )
        if len(ends) != num_rounds + 1:
            raise RuntimeError(f"the simulation ended after {len(ends) - 1} of {num_rounds} rounds")
        return ends[-1] - ends[0]

    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """The two factors."""
        shape = self.problem.users_start.shape
        return {"users": np.fromfile(self.users, np.float32).reshape(shape), "items": self.items}


if __name__ == "__main__":
    serve(FlowerSimulation, "flwr", "ray", "torch", "numpy")
