"""HR@10 and NDCG@10 of what a peer trained, in NumPy, the same for every peer."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.problem import Problem

CANDIDATES_SEED = 99
NUM_CANDIDATES = 99
TOP = 10


def candidates(problem: Problem) -> NDArray[np.int64]:
    """`[N, 99]` distinct items that a client neither trained on nor holds out, fixed seed.

    Clients that touched nearly everything would have fewer; they are refused.
    """
    rng = np.random.default_rng(CANDIDATES_SEED)
    drawn = np.zeros((problem.num_clients, NUM_CANDIDATES), np.int64)
    for client in range(problem.num_clients):
        touched = np.union1d(problem.positives(client), max(problem.test[client], 0))
        rank = rng.choice(problem.num_items - len(touched), NUM_CANDIDATES, replace=False)
        gaps = touched - np.arange(len(touched))  # how many free items are below each
        drawn[client] = rank + np.searchsorted(gaps, rank, side="right")
    return drawn


def measure(problem: Problem, parameters: dict[str, NDArray[np.float32]]) -> tuple[float, float]:
    """HR@10 and NDCG@10: means over clients with a held-out item, ranked among 99 candidates.

    Ties count against the held-out item, and so does a score that is not a number.
    """
    is_held = problem.test >= 0
    ids = np.concatenate([problem.test[:, None], candidates(problem)], axis=1)[is_held]
    scores = _scores(problem.settings.workload, parameters, np.flatnonzero(is_held), ids)
    target = scores[:, :1]
    place = np.sum(~(scores[:, 1:] < target), axis=1)
    is_hit = (place < TOP) & np.isfinite(target[:, 0])
    gain = np.where(is_hit, 1 / np.log2(place + 2), 0)
    return float(is_hit.mean()), float(gain.mean())


def judge(problem: Problem, parameters: dict[str, NDArray[np.float32]]) -> dict[str, float]:
    """What shows that peers did equal work: ranking, or in W4 the loss.

    The sequences of W4 are random, so there is nothing to rank.
    """
    if problem.settings.workload == "W4":
        return {"loss": sequence_loss(problem, parameters)}
    return dict(zip(("hit_rate@10", "ndcg@10"), measure(problem, parameters), strict=True))


def describe(judged: dict[str, float]) -> str:
    """The figures as text.

    >>> describe({"hit_rate@10": 0.5, "ndcg@10": 0.25})
    'hit_rate@10 0.5000, ndcg@10 0.2500'
    """
    return ", ".join(f"{name} {value:.4f}" for name, value in judged.items())


def _scores(
    workload: str,
    parameters: dict[str, NDArray[np.float32]],
    clients: NDArray[np.int64],
    ids: NDArray[np.int64],
) -> NDArray[np.float64]:
    """`[M, 100]` scores of `ids [M, 100]` for `clients [M]`."""
    users = parameters["users"][clients].astype(np.float64)
    items = parameters["items"].astype(np.float64)[ids]
    if workload != "W3":
        return np.einsum("md,mkd->mk", users, items)
    hidden = np.concatenate([np.broadcast_to(users[:, None], items.shape), items], axis=-1)
    layers = [name for name in sorted(parameters) if name.startswith("kernel")]
    for number, name in enumerate(layers):
        hidden = hidden @ parameters[name] + parameters[name.replace("kernel", "bias")]
        if number < len(layers) - 1:
            hidden = np.maximum(hidden, 0)
    return hidden[..., 0]


def sequence_loss(problem: Problem, parameters: dict[str, NDArray[np.float32]]) -> float:
    """Mean cross-entropy of each next item over all clients, by the transformer of W4."""
    sequences = problem.items.reshape(problem.num_clients, -1)
    table = parameters["items"].astype(np.float64)
    total = 0.0
    for sequence in sequences:
        logits = _encode(parameters, table[sequence[:-1]]) @ table.T
        top = logits.max(1)
        log_sum = top + np.log(np.exp(logits - top[:, None]).sum(1))
        total += np.mean(log_sum - logits[np.arange(len(logits)), sequence[1:]])
    return total / len(sequences)


def _encode(
    parameters: dict[str, NDArray[np.float32]], events: NDArray[np.float64], heads: int = 2
) -> NDArray[np.float64]:
    """`[L, D]` outputs of the causal blocks."""
    length, dim = events.shape
    is_future = np.triu(np.ones((length, length), bool), 1)

    def norm(values: NDArray[np.float64], number: int) -> NDArray[np.float64]:
        centred = values - values.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
        return scaled * parameters[f"scale{number}"] + parameters[f"shift{number}"]

    hidden = np.sqrt(dim) * events + parameters["positions"]
    for block in range(2):
        normed = norm(hidden, 2 * block)
        query, key, value = (
            (normed @ parameters[f"{name}{block}"]).reshape(length, heads, -1).swapaxes(0, 1)
            for name in ("query", "key", "value")
        )
        logits = query @ key.swapaxes(1, 2) / np.sqrt(dim / heads)
        weights = np.exp(np.where(is_future, -np.inf, logits - logits.max(-1, keepdims=True)))
        weights /= weights.sum(-1, keepdims=True)
        hidden = hidden + (weights @ value).swapaxes(0, 1).reshape(length, dim)
        inner = norm(hidden, 2 * block + 1) @ parameters[f"inner{block}"]
        inner = np.maximum(inner + parameters[f"inner_bias{block}"], 0)
        hidden = hidden + inner @ parameters[f"outer{block}"] + parameters[f"outer_bias{block}"]
    return norm(hidden, 4)
