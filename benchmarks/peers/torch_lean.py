"""A lean loop over clients in PyTorch, on one thread.

What remains of the usual code when nothing superfluous is left: one buffer for the local
table, gradients of the rows of a batch and never of the table, no optimizer objects, no data
loader. `torch-lean` takes gradients by autograd, `torch-by-hand` by the formula.
"""

import sys

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.peers import torch_sasrec
from benchmarks.peers.serve import CannotError, Peer, serve
from benchmarks.peers.torch_lean_ncf import TorchLeanNcf
from benchmarks.problem import Problem


class TorchLean:
    """Matrix factorisation; subclasses change how gradients are taken."""

    def __init__(self, problem: Problem) -> None:
        """Copies the initial state."""
        if problem.settings.workload not in ("W1", "W2"):
            raise CannotError("this form is written for matrix factorisation (W1, W2)")
        torch.set_num_threads(1)  # two threads are slower on batches this small
        self.problem = problem
        self.users = torch.tensor(problem.users_start)
        self.items = torch.tensor(problem.items_start)

    def compile(self, num_rounds: int) -> None:
        """Nothing to compile."""

    def run(self, first_round: int, num_rounds: int) -> None:
        """Rounds of federated averaging."""
        for round in range(first_round, first_round + num_rounds):
            cohort = self.problem.cohort(round)
            rng = self.problem.generator(round)
            local, total = torch.empty_like(self.items), torch.zeros_like(self.items)
            for client in cohort:
                local.copy_(self.items)
                for ids, labels in self.problem.batches(rng, client):
                    self.step(local, client, torch.from_numpy(ids), torch.from_numpy(labels))
                total += local
            self.items = total / len(cohort)

    def step(
        self, local: torch.Tensor, client: int, ids: torch.Tensor, labels: torch.Tensor
    ) -> None:
        """One SGD step on the local table and the client's vector."""
        rows = local[ids].requires_grad_()
        user = self.users[client].clone().requires_grad_()
        loss = binary_cross_entropy_with_logits(rows @ user, labels)
        rows_grad, user_grad = torch.autograd.grad(loss, (rows, user))
        self.apply(local, client, ids, rows_grad, user_grad)

    def apply(
        self,
        local: torch.Tensor,
        client: int,
        ids: torch.Tensor,
        rows_grad: torch.Tensor,
        user_grad: torch.Tensor,
    ) -> None:
        """`q_i <- q_i - eta_i g_i` for each slot of the batch, and the same for p."""
        settings = self.problem.settings
        local.index_add_(0, ids, rows_grad, alpha=-settings.item_rate)
        self.users[client] -= settings.user_rate * user_grad

    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """The two factors."""
        return {"users": self.users.numpy(), "items": self.items.numpy()}


class TorchByHand(TorchLean):
    """The same loop with the gradient of the logistic loss written out."""

    def step(
        self, local: torch.Tensor, client: int, ids: torch.Tensor, labels: torch.Tensor
    ) -> None:
        """`dl/ds_k = (sigmoid(s_k) - y_k) / B` and the chain rule."""
        rows, user = local[ids], self.users[client]
        slopes = (torch.sigmoid(rows @ user) - labels) / len(ids)
        self.apply(local, client, ids, torch.outer(slopes, user), slopes @ rows)


def peer_of(problem: Problem) -> Peer:
    """The form that the workload wants."""
    if "--by-hand" in sys.argv:
        return TorchByHand(problem)
    forms = {"W3": TorchLeanNcf, "W4": torch_sasrec.Loop}
    return forms.get(problem.settings.workload, TorchLean)(problem)


if __name__ == "__main__":
    serve(peer_of, "torch", "numpy")
