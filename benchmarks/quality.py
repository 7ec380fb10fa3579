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
        touched = np.append(problem.positives(client), max(problem.test[client], 0))
        free = np.delete(np.arange(problem.num_items), touched)
        drawn[client] = rng.choice(free, NUM_CANDIDATES, replace=False)
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


def describe(quality: tuple[float, float]) -> str:
    """The figures as text.

    >>> describe((0.5, 0.25))
    'HR@10 0.500, NDCG@10 0.250'
    """
    return f"HR@10 {quality[0]:.3f}, NDCG@10 {quality[1]:.3f}"


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
