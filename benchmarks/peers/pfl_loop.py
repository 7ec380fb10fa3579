"""pfl: `FederatedAveraging` on its PyTorch model and simulated backend, one process.

pfl trains one model on user after user and takes the difference of all parameters. A vector
that stays with its user is not part of that, so it is put in before a user trains and taken
out after, and its difference is zeroed.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.hyperparam import NNTrainHyperParams
from pfl.model.pytorch import PyTorchModel
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.peers.serve import CannotError, serve
from benchmarks.problem import Problem


class MatrixFactorization(nn.Module):
    """The item table and the vector of whoever trains."""

    def __init__(self, items: NDArray[np.float32], dim: int) -> None:
        """Starts from the common table."""
        super().__init__()
        self.items = nn.Parameter(torch.tensor(items))
        self.user = nn.Parameter(torch.zeros(dim))

    def loss(self, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Logistic loss of a batch."""
        scores = nn.functional.embedding(ids, self.items) @ self.user
        return binary_cross_entropy_with_logits(scores, labels)

    def metrics(self, ids: torch.Tensor, labels: torch.Tensor) -> dict:
        """None: evaluation is outside of what is timed."""
        return {}


class PrivateVectors(FederatedAveraging):
    """Federated averaging in which each user keeps a vector."""

    def __init__(self, problem: Problem, module: MatrixFactorization) -> None:
        """Everybody's vectors."""
        super().__init__()
        self.problem, self.module = problem, module
        self.users = torch.tensor(problem.users_start)
        self.rng = problem.generator(0)

    def train_one_user(self, initial_model_state, model, user_dataset, central_context):
        """Local epochs, each with fresh negatives."""
        client = int(user_dataset.user_id)
        self.module.user.data.copy_(self.users[client])
        for _ in range(self.problem.settings.epochs):
            epoch = Dataset(
                [torch.from_numpy(a) for a in self.problem.epoch(self.rng, client)], str(client)
            )
            statistics, metrics = super().train_one_user(
                initial_model_state, model, epoch, central_context
            )
        self.users[client] = self.module.user.data
        statistics["user"].zero_()
        return statistics, metrics


class PflLoop:
    """pfl's own loop over rounds."""

    def __init__(self, problem: Problem) -> None:
        """Model, backend and algorithm."""
        settings = problem.settings
        if settings.workload not in ("W1", "W2"):
            raise CannotError("this form is written for matrix factorisation (W1, W2)")
        torch.set_num_threads(1)
        self.problem = problem
        self.module = MatrixFactorization(problem.items_start, settings.dim)
        self.algorithm = PrivateVectors(problem, self.module)
        self.model = PyTorchModel(
            self.module,
            self._local_optimizer,
            torch.optim.SGD(self.module.parameters(), lr=1.0),
        )
        self.order: Iterator[int] = iter(())
        users = FederatedDataset(self._dataset, self.order_of_users)
        self.backend = SimulatedBackend(users, users)

    def compile(self, num_rounds: int) -> None:
        """Nothing to compile."""

    def run(self, first_round: int, num_rounds: int) -> None:
        """Rounds of federated averaging."""
        settings = self.problem.settings
        end = first_round + num_rounds
        cohorts = [self.problem.cohort(round) for round in range(first_round, end)]
        self.order = iter(np.concatenate(cohorts).tolist())
        self.algorithm.rng = self.problem.generator(first_round)
        self.algorithm._current_central_iteration = 1  # the first of all would be evaluated
        self.algorithm.run(
            NNAlgorithmParams(
                central_num_iterations=num_rounds + 1,
                evaluation_frequency=10**9,
                train_cohort_size=settings.clients,
                val_cohort_size=0,
            ),
            self.backend,
            self.model,
            NNTrainHyperParams(
                local_learning_rate=1.0, local_num_epochs=1, local_batch_size=settings.batch_size
            ),
            send_metrics_to_platform=False,
        )

    def order_of_users(self) -> str:
        """The next user of the cohorts that everybody trains."""
        return str(next(self.order))

    def _dataset(self, user: str) -> Dataset:
        """The user's positives; negatives are drawn when an epoch begins."""
        return Dataset([self.problem.positives(int(user))], user)

    def _local_optimizer(self, parameters: Iterator, lr: float) -> torch.optim.Optimizer:
        """SGD at the rate of each role."""
        settings = self.problem.settings
        return torch.optim.SGD(
            [
                {"params": [self.module.items], "lr": lr * settings.item_rate},
                {"params": [self.module.user], "lr": lr * settings.user_rate},
            ]
        )

    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """The two factors."""
        return {
            "users": self.algorithm.users.numpy(),
            "items": self.module.items.detach().numpy(),
        }


if __name__ == "__main__":
    serve(PflLoop, "pfl", "torch", "numpy")
