"""Cohorts whose clients come again after a number of rounds at the earliest."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fedjax_rec.base import SamplingEvent
from fedjax_rec.registry import SAMPLERS
from fedjax_rec.sampling.draws import capacity_of, check_size, generator_of


@SAMPLERS.named("cyclic_poisson")
@dataclass(frozen=True)
class CyclicPoisson:
    """Groups in turn: each member of a round's group takes part on its own.

    The clients are split once into b groups, by a permutation of the seed. In round t it is
    the turn of group `t mod b`; each of its members takes part with probability
    `q = expected_size b / N`, so that a client may take part in every b-th round alone.

    A person's data reach no round but those of its group's turns, and each of these is a
    Poisson draw of rate q: the accountant composes `ceil(T / b)` of them for T rounds. That
    holds for neighbours of which one sends zero, since groups then depend on the public
    number of clients alone, and whoever knows the groups learns nothing more. Groups are
    filled up with places of nobody, who sends zero as well, so that all are of one size.

    Args:
      num_clients: N.
      expected_size: of a cohort, in `(0, N / b]`.
      separation: b, at least 1; 0: half of what `expected_size` allows, so that q is about
        one half.

    Raises:
      ValueError: there are not enough clients for such groups.

    Reference:
      Choquette-Choo et al. (2023), "(Amplified) banded matrix factorization: a unified
      approach to private training", section 4.

    >>> sampler = CyclicPoisson(num_clients=100, expected_size=5, separation=10)
    >>> sampler.event.min_separation(), sampler.event.participations(25)
    (10, 3)
    """

    num_clients: int
    expected_size: float
    separation: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "separation", _separation(self.num_clients, self.expected_size, self.separation)
        )

    @property
    def event(self) -> SamplingEvent:
        """How the cohort is drawn."""
        return SamplingEvent(
            "cyclic_poisson",
            self.num_clients,
            float(self.expected_size),
            capacity_of(self._group_size, self._group_size * self._probability),
            within=self.separation,
        )

    @property
    def _group_size(self) -> int:
        return -(-self.num_clients // self.separation)

    @property
    def _probability(self) -> float:
        return min(self.expected_size * self.separation / self.num_clients, 1.0)

    def draw(self, seed: int, round: int) -> np.ndarray:
        """Distinct client ids of one group, between none and the capacity of them."""
        queue = generator_of(seed, 0).permutation(self.num_clients)
        generator = generator_of(seed, round + 1)
        size = min(
            int(generator.binomial(self._group_size, self._probability)), self.event.capacity
        )
        chosen = generator.choice(self._group_size, size, replace=False, shuffle=False)
        place = round % self.separation + self.separation * chosen
        return np.asarray(queue[place[place < self.num_clients]], np.int32)


@SAMPLERS.named("min_separation")
@dataclass(frozen=True)
class MinSeparation:
    """A fixed number of clients, uniformly among those who have rested.

    Whoever took part in one of the last b - 1 rounds does not come, as on phones with a
    timer. The cohort of a round follows from those before it, which are drawn again where a
    run goes on. No amplification is claimed: who comes next depends on who came.

    Args:
      num_clients: N.
      size: of a cohort, in `1 .. N / b`.
      separation: b, at least 1; 0: half of what `size` allows.

    Raises:
      ValueError: there are not enough clients for so long a rest.

    >>> sampler = MinSeparation(num_clients=10, size=2, separation=4)
    >>> cohorts = [sampler.draw(seed=0, round=round) for round in range(4)]
    >>> len(np.unique(np.concatenate(cohorts)))
    8
    """

    num_clients: int
    size: int
    separation: int = 0

    def __post_init__(self) -> None:
        check_size(self.size, self.num_clients)
        object.__setattr__(
            self, "separation", _separation(self.num_clients, self.size, self.separation)
        )

    @property
    def event(self) -> SamplingEvent:
        """How the cohort is drawn."""
        return SamplingEvent(
            "min_separation",
            self.num_clients,
            float(self.size),
            self.size,
            within=self.separation,
        )

    def draw(self, seed: int, round: int) -> np.ndarray:
        """`[size]` distinct client ids."""
        return _rested(self, seed).of(round)


class _Rested:
    """The cohorts of `MinSeparation`, one after the other; going back starts anew."""

    def __init__(self, sampler: MinSeparation, seed: int) -> None:
        self._sampler, self._seed = sampler, seed
        self._cohorts: list[npt.NDArray[np.int32]] = []  # of the last rounds
        self._round = 0  # the next one

    def of(self, round: int) -> npt.NDArray[np.int32]:
        if round < self._round - len(self._cohorts):
            self._cohorts, self._round = [], 0
        while self._round <= round:
            self._next()
        return self._cohorts[round - self._round].copy()

    def _next(self) -> None:
        sampler = self._sampler
        is_rested = np.ones(sampler.num_clients, bool)
        for cohort in self._cohorts[max(len(self._cohorts) + 1 - sampler.separation, 0) :]:
            is_rested[cohort] = False
        chosen = generator_of(self._seed, self._round).choice(
            np.flatnonzero(is_rested), sampler.size, replace=False, shuffle=False
        )
        self._cohorts = [*self._cohorts, np.asarray(chosen, np.int32)][-sampler.separation :]
        self._round += 1


@lru_cache(maxsize=2)
def _rested(sampler: MinSeparation, seed: int) -> _Rested:
    return _Rested(sampler, seed)


def _separation(num_clients: int, size: float, separation: int) -> int:
    """The separation that was asked for, or half of what the size allows."""
    if not 0 < size <= num_clients:
        raise ValueError(
            f"expected cohort size must be above 0 and at most the {num_clients} clients, "
            f"got {size}"
        )
    largest = min(int(num_clients // size), num_clients)
    if not 0 <= separation <= largest:
        raise ValueError(
            f"with cohorts of {size:g} among {num_clients} clients the separation is at most "
            f"{largest}, got {separation}"
        )
    return separation or max(largest // 2, 1)
