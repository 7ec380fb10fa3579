"""What all cohort samplers share: a generator by round, and sizes."""

import math

import numpy as np


def generator_of(seed: int, round: int) -> np.random.Generator:
    """A generator keyed by the round, so that nothing has to be stored to resume."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, round])))


def check_size(size: int, num_clients: int) -> None:
    """Refuses a cohort that cannot be.

    Raises:
      ValueError: `size` is not in `1 .. num_clients`.
    """
    if not 1 <= size <= num_clients:
        raise ValueError(f"cohort size must be between 1 and the {num_clients} clients, got {size}")


def capacity_of(num_clients: int, mean: float) -> int:
    """The mean of a Poisson draw and seven standard deviations, or everybody."""
    deviation = math.sqrt(max(mean * (1 - mean / num_clients), 0.0))
    return min(num_clients, math.ceil(mean + 7 * deviation))
