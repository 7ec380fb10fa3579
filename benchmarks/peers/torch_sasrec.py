"""W4 in PyTorch: one step of each client on its sequence, its change clipped, a mean.

`Loop` goes through clients one by one; `Vmap` takes gradients of a chunk at once.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import grad, vmap
from torch.nn.functional import cross_entropy, layer_norm

from benchmarks.peers.serve import CannotError
from benchmarks.problem import Problem

HEADS = 2
CHUNK = 8

Params = dict[str, torch.Tensor]


def loss(params: Params, sequence: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of each next item of `sequence [L + 1]`."""
    hidden = encode(params, params["items"][sequence[:-1]])
    return cross_entropy(hidden @ params["items"].T, sequence[1:])


def encode(params: Params, events: torch.Tensor) -> torch.Tensor:
    """Outputs of the causal blocks, `[L, D] -> [L, D]`."""
    length, dim = events.shape
    is_future = torch.ones(length, length, dtype=torch.bool).triu(1)

    def norm(events: torch.Tensor, number: int) -> torch.Tensor:
        scale, shift = params[f"scale{number}"], params[f"shift{number}"]
        return layer_norm(events, (dim,), scale, shift, eps=1e-6)

    events = dim**0.5 * events + params["positions"]
    for block in range(2):
        normed = norm(events, 2 * block)
        query, key, value = (
            (normed @ params[f"{name}{block}"]).unflatten(1, (HEADS, -1)).transpose(0, 1)
            for name in ("query", "key", "value")
        )
        logits = query @ key.transpose(1, 2) / (dim / HEADS) ** 0.5
        weights = logits.masked_fill(is_future, -torch.inf).softmax(-1)
        events = events + (weights @ value).transpose(0, 1).flatten(1)
        inner = norm(events, 2 * block + 1) @ params[f"inner{block}"]
        inner = torch.relu(inner + params[f"inner_bias{block}"])
        events = events + inner @ params[f"outer{block}"] + params[f"outer_bias{block}"]
    return norm(events, 4)


class Loop:
    """One client at a time."""

    def __init__(self, problem: Problem) -> None:
        """Copies the initial state."""
        if problem.settings.epochs != 1:
            raise CannotError("this form is written for one local step")
        torch.set_num_threads(2)
        self.problem = problem
        arrays = {"items": problem.items_start, **problem.extra}
        self.params = {name: torch.tensor(array) for name, array in arrays.items()}
        self.sequences = torch.from_numpy(problem.items).reshape(problem.num_clients, -1)

    def compile(self, num_rounds: int) -> None:
        """Nothing to compile."""

    def run(self, first_round: int, num_rounds: int) -> None:
        """Rounds of federated averaging."""
        for round in range(first_round, first_round + num_rounds):
            cohort = self.problem.cohort(round)
            total = [torch.zeros_like(leaf) for leaf in self.params.values()]
            self.add_changes(total, self.sequences[cohort])
            torch._foreach_add_(list(self.params.values()), total, alpha=1 / len(cohort))

    def add_changes(self, total: list[torch.Tensor], sequences: torch.Tensor) -> None:
        """Adds each client's clipped change to the total."""
        settings = self.problem.settings
        for sequence in sequences:
            leaves = {name: leaf.detach().requires_grad_() for name, leaf in self.params.items()}
            grads = torch.autograd.grad(loss(leaves, sequence), list(leaves.values()))
            norm = settings.item_rate * torch.stack([g.norm() for g in grads]).norm()
            scale = float(torch.clamp(settings.clip / norm, max=1))
            torch._foreach_add_(total, grads, alpha=-settings.item_rate * scale)

    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """All of the model."""
        return {name: leaf.detach().numpy() for name, leaf in self.params.items()}


class Vmap(Loop):
    """Gradients of a chunk of clients at once."""

    def add_changes(self, total: list[torch.Tensor], sequences: torch.Tensor) -> None:
        """Adds each client's clipped change to the total."""
        settings = self.problem.settings
        per_client = vmap(grad(loss), in_dims=(None, 0))
        for chunk in sequences.split(CHUNK):
            grads = list(per_client(self.params, chunk).values())
            squares = torch.stack([g.flatten(1).square().sum(1) for g in grads])
            norms = settings.item_rate * squares.sum(0).sqrt()
            scales = torch.clamp(settings.clip / norms, max=1) * -settings.item_rate
            for leaf, gradient in zip(total, grads, strict=True):
                leaf += torch.tensordot(scales, gradient, 1)
