"""The lean PyTorch loop for W3: a tower over user and item vectors, shared but for the user.

The user's half of the first layer is computed once a batch and not once an example.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.problem import Problem


class TorchLeanNcf:
    """Federated averaging of table and tower; a row's mean is over who changed it."""

    def __init__(self, problem: Problem) -> None:
        """Copies the initial state."""
        torch.set_num_threads(1)
        self.problem = problem
        self.users = torch.tensor(problem.users_start)
        self.items = torch.tensor(problem.items_start)
        self.tower = {name: torch.tensor(array) for name, array in problem.extra.items()}

    def compile(self, num_rounds: int) -> None:
        """Nothing to compile."""

    def run(self, first_round: int, num_rounds: int) -> None:
        """Rounds of federated averaging."""
        for round in range(first_round, first_round + num_rounds):
            cohort = self.problem.cohort(round)
            rng = self.problem.generator(round)
            local, total = torch.empty_like(self.items), torch.zeros_like(self.items)
            changed = torch.zeros(len(self.items))
            tower_total = [torch.zeros_like(leaf) for leaf in self.tower.values()]
            for client in cohort:
                local.copy_(self.items)
                tower = {name: leaf.clone() for name, leaf in self.tower.items()}
                is_touched = torch.zeros(len(self.items), dtype=torch.bool)
                for ids, labels in self.problem.batches(rng, client):
                    at = torch.from_numpy(ids)
                    self._step(local, tower, client, at, torch.from_numpy(labels))
                    is_touched[at] = True
                total += local
                total -= self.items
                changed += is_touched
                torch._foreach_add_(tower_total, [leaf.detach() for leaf in tower.values()])
            self.items = self.items + total / changed.clamp(min=1)[:, None]
            means = [leaf / len(cohort) for leaf in tower_total]
            self.tower = dict(zip(self.tower, means, strict=True))

    def _step(
        self,
        local: torch.Tensor,
        tower: dict[str, torch.Tensor],
        client: int,
        ids: torch.Tensor,
        labels: torch.Tensor,
    ) -> None:
        """One SGD step on rows, tower and the client's vector."""
        settings = self.problem.settings
        rows, user = local[ids].requires_grad_(), self.users[client].clone().requires_grad_()
        leaves = [leaf.requires_grad_() for leaf in tower.values()]
        loss = binary_cross_entropy_with_logits(scores(tower, user, rows), labels)
        rows_grad, user_grad, *grads = torch.autograd.grad(loss, (rows, user, *leaves))
        with torch.no_grad():
            local.index_add_(0, ids, rows_grad, alpha=-settings.item_rate)
            self.users[client] -= settings.user_rate * user_grad
            torch._foreach_add_(leaves, grads, alpha=-settings.item_rate)

    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """The vectors and the tower."""
        tower = {name: leaf.detach().numpy() for name, leaf in self.tower.items()}
        return {"users": self.users.numpy(), "items": self.items.numpy(), **tower}


def scores(tower: dict[str, torch.Tensor], user: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """`[B]` scores of item vectors `[B, D]` for a user's vector `[D]`."""
    of_user, of_item = tower["kernel0"].chunk(2)
    hidden = torch.addmm(user @ of_user + tower["bias0"], rows, of_item)
    for number in range(1, len(tower) // 2):
        hidden = torch.addmm(tower[f"bias{number}"], torch.relu(hidden), tower[f"kernel{number}"])
    return hidden[:, 0]
