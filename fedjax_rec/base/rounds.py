"""Who takes part in a round, and the random keys of each."""

from dataclasses import dataclass
from typing import Literal, Protocol

import jax
import numpy as np

from fedjax_rec.base.parts import Array, Key


@dataclass(frozen=True)
class SamplingEvent:
    """How a cohort was drawn, as plain data for a privacy accountant.

    In any T consecutive rounds one client takes part at most `ceil(T most / within) + burst`
    times, and never more than T. That law is all that an accountant knows of who comes when,
    but for the two kinds that draw by chance and in secret, `poisson` and `cyclic_poisson`.

    Attributes:
      kind: `all`, `uniform` (fixed size, without replacement), `rotating` (the next of a
        fixed queue), `poisson`, `cyclic_poisson` (a group's members in its turn, each by
        itself), `min_separation` (whoever has rested) or `availability` (whoever is there).
      num_clients: the population.
      expected_size: expected cohort size.
      capacity: most clients a round can hold; a larger Poisson draw is truncated.
      most: of the law, at least 1.
      within: of the law, at least 1.
      burst: of the law, at least 0: what clients that come in a row add to it.
    """

    kind: Literal[
        "all",
        "uniform",
        "rotating",
        "poisson",
        "cyclic_poisson",
        "min_separation",
        "availability",
    ]
    num_clients: int
    expected_size: float
    capacity: int
    most: int = 1
    within: int = 1
    burst: int = 0

    @property
    def probability(self) -> float:
        """With which a client takes part in a round."""
        return self.expected_size / self.num_clients

    def min_separation(self) -> int:
        """A client that took part comes again after at least so many rounds.

        >>> SamplingEvent("rotating", 10, 3.0, 3, most=3, within=10).min_separation()
        3
        """
        return 1 if self.burst else max(self.within // self.most, 1)

    def participations(self, rounds: int) -> int:
        """In so many consecutive rounds may one client take part, at most.

        >>> SamplingEvent("rotating", 10, 3.0, 3, most=3, within=10).participations(8)
        3
        """
        return min(-(-rounds * self.most // self.within) + self.burst, rounds)


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
