"""torch.func.vmap over clients: chunks sorted by size, whole local tables, two threads.

Clients of a chunk take as many steps as its largest; the steps of the others are masked.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import grad, vmap

from benchmarks.peers import torch_sasrec
from benchmarks.peers.serve import CannotError, Peer, serve
from benchmarks.problem import Problem

# Fewer clients of a chunk where they are few in all, or every one would wait for the largest.
CHUNKS = ((64, 16), (512, 32), (10**9, 64))


class TorchVmap:
    """Matrix factorisation with a chunk of clients in each step."""

    def __init__(self, problem: Problem) -> None:
        """Copies the initial state."""
        if problem.settings.workload not in ("W1", "W2"):
            raise CannotError("this form is written for W1, W2 and W4")
        torch.set_num_threads(2)
        self.problem = problem
        self.chunk = next(chunk for most, chunk in CHUNKS if problem.settings.clients <= most)
        if problem.items_start.nbytes * self.chunk > 2**25:
            self.chunk = 16  # large tables leave the caches
        self.users = torch.tensor(problem.users_start)
        self.items = torch.tensor(problem.items_start)
        self.sizes = np.diff(problem.offsets)
        self.gradients = vmap(grad(_loss, argnums=(0, 1)))

    def compile(self, num_rounds: int) -> None:
        """Nothing to compile."""

    def run(self, first_round: int, num_rounds: int) -> None:
        """Rounds of federated averaging."""
        for round in range(first_round, first_round + num_rounds):
            cohort = self.problem.cohort(round)
            cohort = cohort[np.argsort(-self.sizes[cohort], kind="stable")]
            rng = self.problem.generator(round)
            total = torch.zeros_like(self.items)
            for begin in range(0, len(cohort), self.chunk):
                total += self._train(rng, cohort[begin : begin + self.chunk])
            self.items = self.items + total / len(cohort)

    def _train(self, rng: np.random.Generator, clients: NDArray[np.int64]) -> torch.Tensor:
        """Trains a chunk; returns the sum of its changes."""
        settings = self.problem.settings
        all_batches = [list(self.problem.batches(rng, client)) for client in clients]
        shape = (max(map(len, all_batches)), len(clients), settings.batch_size)
        ids, labels = np.zeros(shape, np.int64), np.zeros(shape, np.float32)
        weights = np.zeros(shape, np.float32)
        for place, batches in enumerate(all_batches):
            for step, (items, label) in enumerate(batches):
                ids[step, place, : len(items)] = items
                labels[step, place, : len(items)] = label
                weights[step, place, : len(items)] = 1 / len(items)
        tables = self.items.expand(len(clients), -1, -1).clone()
        users = self.users[clients]
        for batch in zip(ids, labels, weights, strict=True):
            table_grads, user_grads = self.gradients(tables, users, *map(torch.from_numpy, batch))
            tables.sub_(table_grads, alpha=settings.item_rate)
            users.sub_(user_grads, alpha=settings.user_rate)
        self.users[clients] = users
        return tables.sum(0) - len(clients) * self.items

    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """The two factors."""
        return {"users": self.users.numpy(), "items": self.items.numpy()}


def _loss(
    table: torch.Tensor,
    user: torch.Tensor,
    ids: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
) -> torch.Tensor:
    """Weighted logistic loss of one client's batch; weight 0 is padding."""
    scores = table[ids] @ user
    return torch.sum(weights * (torch.nn.functional.softplus(scores) - labels * scores))


def peer_of(problem: Problem) -> Peer:
    """The form that the workload wants."""
    is_sequence = problem.settings.workload == "W4"
    return torch_sasrec.Vmap(problem) if is_sequence else TorchVmap(problem)


if __name__ == "__main__":
    serve(peer_of, "torch", "numpy")
