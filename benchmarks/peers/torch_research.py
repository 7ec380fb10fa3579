"""The style of published federated recommendation code, in PyTorch.

Written by us after the habits of such repositories: negatives for all users by Python's
`random` every round whoever takes part, a `Dataset` indexed example by example, a deep copy
of the model for each client, two optimizers, a state kept for every client ever seen.
"""

import copy
import random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.peers.serve import CannotError, serve
from benchmarks.problem import Problem


class Examples(Dataset):
    """One client's items and labels."""

    def __init__(self, items: list[int], labels: list[float]) -> None:
        """Turns lists into tensors."""
        self.items, self.labels = torch.LongTensor(items), torch.FloatTensor(labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One example."""
        return self.items[index], self.labels[index]

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.items)


class MatrixFactorization(nn.Module):
    """A client's model: one user vector and the item table."""

    def __init__(self, num_items: int, dim: int) -> None:
        """Embeddings of the user and of items."""
        super().__init__()
        self.user = nn.Embedding(1, dim)
        self.item = nn.Embedding(num_items, dim)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Scores of items."""
        return self.item(items) @ self.user.weight[0]


class TorchResearch:
    """The training engine."""

    def __init__(self, problem: Problem) -> None:
        """The server's model and every user's positives."""
        settings = problem.settings
        if settings.workload not in ("W1", "W2"):
            raise CannotError("this form is written for matrix factorisation (W1, W2)")
        kept = settings.clients * problem.items_start.nbytes * 4
        if kept > 20 * 2**30:
            raise CannotError(f"a model kept for each client seen needs {kept / 2**30:.0f} GiB")
        self.problem = problem
        random.seed(settings.seed)
        torch.manual_seed(settings.seed)
        torch.set_num_threads(1)  # faster than two on batches this small
        self.model = MatrixFactorization(problem.num_items, settings.dim)
        self.model.item.weight.data = torch.tensor(problem.items_start)
        self.positives = [problem.positives(c).tolist() for c in range(problem.num_clients)]
        everything = set(range(problem.num_items))
        self.pools = [sorted(everything.difference(items)) for items in self.positives]
        self.client_states: dict[int, dict] = {}
        self.loss = nn.BCEWithLogitsLoss()

    def compile(self, num_rounds: int) -> None:
        """Nothing to compile."""

    def run(self, first_round: int, num_rounds: int) -> None:
        """Rounds of federated averaging."""
        for round in range(first_round, first_round + num_rounds):
            epochs = [self._sample_everybody() for _ in range(self.problem.settings.epochs)]
            tables = {}
            for client in self.problem.cohort(round):
                tables[client] = self._train(client, [epoch[client] for epoch in epochs])
            mean = copy.deepcopy(self.model.item.weight.data).zero_()
            for table in tables.values():
                mean += table / len(tables)
            self.model.item.weight.data = mean

    def _sample_everybody(self) -> list[tuple[list[int], list[float]]]:
        """Items and labels of every user."""
        ratio, all_examples = self.problem.settings.negatives, []
        for positives, pool in zip(self.positives, self.pools, strict=True):
            items, labels = [], []
            wanted = ratio * len(positives)
            drawn = random.sample(pool, min(wanted, len(pool)))
            drawn = (drawn * (wanted // len(drawn) + 1))[:wanted]
            for place, positive in enumerate(positives):
                items += [positive, *drawn[place * ratio : (place + 1) * ratio]]
                labels += [1.0] + [0.0] * ratio
            all_examples.append((items, labels))
        return all_examples

    def _train(self, client: int, epochs: list[tuple[list[int], list[float]]]) -> torch.Tensor:
        """Trains one client; returns its item table."""
        settings = self.problem.settings
        model = copy.deepcopy(self.model)
        state = copy.deepcopy(self.model.state_dict())
        state["user.weight"] = self._user(client)
        model.load_state_dict(state)
        user_optimizer = torch.optim.SGD(model.user.parameters(), lr=settings.user_rate)
        item_optimizer = torch.optim.SGD(model.item.parameters(), lr=settings.item_rate)
        model.train()
        for items, labels in epochs:
            loader = DataLoader(Examples(items, labels), settings.batch_size, shuffle=True)
            for batch_items, batch_labels in loader:
                user_optimizer.zero_grad()
                item_optimizer.zero_grad()
                loss = self.loss(model(batch_items), batch_labels)
                loss.backward()
                user_optimizer.step()
                item_optimizer.step()
        self.client_states[client] = copy.deepcopy(model.state_dict())
        return copy.deepcopy(model.item.weight.data)

    def _user(self, client: int) -> torch.Tensor:
        if client in self.client_states:
            return self.client_states[client]["user.weight"]
        return torch.tensor(self.problem.users_start[client : client + 1])

    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """The two factors."""
        users = [self._user(client)[0].numpy() for client in range(self.problem.num_clients)]
        return {"users": np.stack(users), "items": self.model.item.weight.detach().numpy()}


if __name__ == "__main__":
    serve(TorchResearch, "torch", "numpy")
