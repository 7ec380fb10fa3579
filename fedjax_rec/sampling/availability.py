"""Cohorts of whoever is available."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fedjax_rec.base import SamplingEvent
from fedjax_rec.registry import SAMPLERS
from fedjax_rec.sampling.draws import check_size, generator_of


@SAMPLERS.named("availability")
@dataclass(frozen=True, eq=False)
class Availability:
    """Clients that are there, up to a fixed number of them, uniformly at random.

    Round t reads row `t mod P` of a trace. Nobody is in doubt about who could come: no
    amplification is claimed, and a client counts as taking part whenever it is available,
    in the worst case over all clients and over where in the trace a run begins. The trace is
    taken to be public: it must not follow from what clients train on.

    Args:
      num_clients: N.
      size: the most clients of a round.
      trace: `[P, N]`, whether a client is available; `None`: `day_and_night(N)`.

    Raises:
      ValueError: a trace of another shape, or one in which nobody is ever available.

    >>> trace = np.array([[True, True, False], [False, False, True]])
    >>> sampler = Availability(3, size=2, trace=trace)
    >>> [sampler.draw(seed=0, round=round).tolist() for round in (0, 1)]
    [[0, 1], [2]]
    >>> sampler.event.participations(4)
    2
    """

    num_clients: int
    size: int
    trace: npt.NDArray[np.bool_] | None = field(default=None, repr=False)
    event: SamplingEvent = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_size(self.size, self.num_clients)
        trace = day_and_night(self.num_clients) if self.trace is None else np.array(self.trace)
        if trace.dtype != bool or trace.ndim != 2 or trace.shape[1] != self.num_clients:
            raise ValueError(
                f"a trace says in a row for each round whether each of the {self.num_clients} "
                f"clients is available, got {trace.dtype}{list(trace.shape)}"
            )
        if not trace.any():
            raise ValueError("nobody is ever available in this trace")
        trace.setflags(write=False)
        object.__setattr__(self, "trace", trace)
        object.__setattr__(self, "event", self._event(trace))

    def _event(self, trace: npt.NDArray[np.bool_]) -> SamplingEvent:
        sizes = np.minimum(trace.sum(axis=1), self.size)
        most, burst = _law(trace)
        return SamplingEvent(
            "availability",
            self.num_clients,
            float(sizes.mean()),
            int(sizes.max()),
            most=most,
            within=len(trace),
            burst=burst,
        )

    def draw(self, seed: int, round: int) -> np.ndarray:
        """Distinct ids of clients that are available, at most `size`; perhaps none."""
        assert self.trace is not None
        there = np.flatnonzero(self.trace[round % len(self.trace)])
        size = min(self.size, len(there))
        chosen = generator_of(seed, round).choice(there, size, replace=False, shuffle=False)
        return np.asarray(chosen, np.int32)


def day_and_night(num_clients: int, rounds: int = 24, night: int = 8) -> npt.NDArray[np.bool_]:
    """A trace of a day in which every client is available for one night.

    Nights begin at a round that is drawn for each client once, the same in every run.

    Args:
      num_clients: N.
      rounds: of a day, P.
      night: rounds in a row of a client's night.

    Returns:
      `[P, N]`.

    >>> day_and_night(5).sum(axis=0).tolist()
    [8, 8, 8, 8, 8]
    """
    starts = generator_of(0, 0).integers(rounds, size=num_clients)
    trace: npt.NDArray[np.bool_] = (np.arange(rounds)[:, None] - starts) % rounds < night
    return trace


def _law(trace: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """`most` and `burst` of a trace that goes round, with its length for `within`.

    A client that is available in at most a of P rounds comes in w consecutive ones at most
    `w a / P + max over windows of (count - w a / P)` times. Windows above P change that
    maximum by nothing, since a round of the trace adds at most a.
    """
    length, most = len(trace), int(trace.sum(axis=0).max())
    excess = np.zeros(trace.shape[1], np.int64)  # length * count - rounds * most
    least, largest = excess.copy(), 0
    for row in (*trace, *trace):
        excess = excess + length * row - most
        largest = max(largest, int((excess - least).max()))
        least = np.minimum(least, excess)
    return most, largest // length
