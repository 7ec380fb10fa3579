"""Cohort samplers: which clients take part in a round. Host side, NumPy."""

from dataclasses import dataclass

import numpy as np

from fedjax_rec.base import SamplingEvent
from fedjax_rec.registry import SAMPLERS
from fedjax_rec.sampling.availability import Availability, day_and_night
from fedjax_rec.sampling.draws import capacity_of, check_size, generator_of
from fedjax_rec.sampling.separated import CyclicPoisson, MinSeparation

__all__ = [
    "AllClients",
    "Availability",
    "CyclicPoisson",
    "MinSeparation",
    "Rotating",
    "TruncatedPoisson",
    "Uniform",
    "day_and_night",
]


@SAMPLERS.named("all")
@dataclass(frozen=True)
class AllClients:
    """Every client, every round.

    >>> AllClients(3).draw(seed=0, round=0).tolist()
    [0, 1, 2]
    """

    num_clients: int

    @property
    def event(self) -> SamplingEvent:
        """How the cohort is drawn."""
        return SamplingEvent("all", self.num_clients, float(self.num_clients), self.num_clients)

    def draw(self, seed: int, round: int) -> np.ndarray:
        """All client ids, `[N]`."""
        return np.arange(self.num_clients, dtype=np.int32)


@SAMPLERS.named("uniform")
@dataclass(frozen=True)
class Uniform:
    """A fixed number of distinct clients, uniformly at random.

    Not a Poisson sample: privacy amplification proved for Poisson does not hold for it.

    Raises:
      ValueError: `size` is not in `1 .. num_clients`.

    >>> sampler = Uniform(num_clients=100, size=4)
    >>> len(set(sampler.draw(seed=0, round=7).tolist()))
    4
    """

    num_clients: int
    size: int

    def __post_init__(self) -> None:
        check_size(self.size, self.num_clients)

    @property
    def event(self) -> SamplingEvent:
        """How the cohort is drawn."""
        return SamplingEvent("uniform", self.num_clients, float(self.size), self.size)

    def draw(self, seed: int, round: int) -> np.ndarray:
        """`[size]` distinct client ids."""
        chosen = generator_of(seed, round).choice(
            self.num_clients, self.size, replace=False, shuffle=False
        )
        return np.asarray(chosen, np.int32)


@SAMPLERS.named("rotating")
@dataclass(frozen=True)
class Rotating:
    """The next clients of a queue, which was shuffled once and goes round.

    Everybody comes equally often, and a cohort tells who comes next: no amplification of
    privacy holds for it. Published simulations draw so (Nguyen et al., 2024, released code).

    Raises:
      ValueError: `size` is not in `1 .. num_clients`.

    >>> sampler = Rotating(num_clients=7, size=3)
    >>> visits = np.concatenate([sampler.draw(seed=0, round=round) for round in range(7)])
    >>> np.bincount(visits).tolist()
    [3, 3, 3, 3, 3, 3, 3]
    """

    num_clients: int
    size: int

    def __post_init__(self) -> None:
        check_size(self.size, self.num_clients)

    @property
    def event(self) -> SamplingEvent:
        """How the cohort is drawn."""
        return SamplingEvent(
            "rotating",
            self.num_clients,
            float(self.size),
            self.size,
            most=self.size,
            within=self.num_clients,
        )

    def draw(self, seed: int, round: int) -> np.ndarray:
        """`[size]` distinct client ids."""
        queue = generator_of(seed, 0).permutation(self.num_clients)
        place = (round * self.size + np.arange(self.size)) % self.num_clients
        return np.asarray(queue[place], np.int32)


@SAMPLERS.named("poisson")
@dataclass(frozen=True)
class TruncatedPoisson:
    """Each client on its own with probability `expected_size / num_clients`.

    A draw above the capacity, `expected_size` and seven standard deviations, keeps a
    uniform subset; the event carries the capacity, for the accountant.

    Raises:
      ValueError: `expected_size` is not in `(0, num_clients]`.

    >>> sampler = TruncatedPoisson(num_clients=10_000, expected_size=100)
    >>> sampler.event.capacity
    170
    """

    num_clients: int
    expected_size: float

    def __post_init__(self) -> None:
        if not 0 < self.expected_size <= self.num_clients:
            raise ValueError(
                f"expected cohort size must be above 0 and at most the {self.num_clients} "
                f"clients, got {self.expected_size}"
            )

    @property
    def event(self) -> SamplingEvent:
        """How the cohort is drawn."""
        capacity = capacity_of(self.num_clients, self.expected_size)
        return SamplingEvent("poisson", self.num_clients, self.expected_size, capacity)

    def draw(self, seed: int, round: int) -> np.ndarray:
        """Distinct client ids, between none and the capacity of them."""
        generator = generator_of(seed, round)
        size = generator.binomial(self.num_clients, self.expected_size / self.num_clients)
        size = min(int(size), self.event.capacity)
        chosen = generator.choice(self.num_clients, size, replace=False, shuffle=False)
        return np.asarray(chosen, np.int32)
