"""Who takes part in a round, and the random keys of each."""

from dataclasses import dataclass
from typing import Literal, Protocol

import jax
import numpy as np

from fedjax_rec.base.parts import Array, Key


@dataclass(frozen=True)
class SamplingEvent:
    """How a cohort was drawn, as plain data for a privacy accountant.

    Attributes:
      kind: `all`, `uniform` (fixed size, without replacement), `rotating` (the next of a
        fixed queue) or `poisson`.
      num_clients: the population.
      expected_size: expected cohort size.
      capacity: most clients a round can hold; a larger Poisson draw is truncated.
    """

    kind: Literal["all", "uniform", "rotating", "poisson"]
    num_clients: int
    expected_size: float
    capacity: int

    @property
    def probability(self) -> float:
        """With which a client takes part in a round."""
        return self.expected_size / self.num_clients

    def min_separation(self) -> int:
        """A client that took part comes again after at least so many rounds.

        >>> SamplingEvent("rotating", 10, 3.0, 3).min_separation()
        3
        """
        return self.num_clients // self.capacity if self.kind == "rotating" else 1

    def participations(self, rounds: int) -> int:
        """In so many of the rounds may one client take part, at most.

        >>> SamplingEvent("rotating", 10, 3.0, 3).participations(8)
        3
        """
        if self.kind != "rotating":
            return rounds
        return min(-(-rounds * self.capacity // self.num_clients), rounds)


class CohortSampler(Protocol):
    """Draws the clients of a round and says how it drew them."""

    @property
    def event(self) -> SamplingEvent:
        """How the cohort is drawn."""
        ...

    def draw(self, seed: int, round: int) -> np.ndarray:
        """Distinct client ids, at most `event.capacity`, a function of its arguments."""
        ...


PREPARE, TRAIN, ENCODE, DECODE, INIT, INIT_EXTRA, INIT_AGGREGATE = range(7)
"""What a random key is for."""

SERVER = 0xFFFFFFFF
"""The server's client id in `derive_key`."""


def derive_key(root: Key, round: Array | int, client_id: Array | int, purpose: int) -> Key:
    """The key of one purpose of one client in one round; never of a position."""
    for part in (round, client_id, purpose):
        root = jax.random.fold_in(root, part)
    return root
