"""The epsilon of what was executed."""

import math
from typing import Any, Literal, NamedTuple

from fedjax_rec.errors import UserError
from fedjax_rec.privacy.ledger import Ledger
from fedjax_rec.privacy.library import gaussian_epsilon, library, pld_epsilon, rdp_epsilon
from fedjax_rec.privacy.releases import Releases, Sampled, releases_of, truncation, why_none

Accountant = Literal["pld", "rdp"]

LEAST_DELTA = 1e-8
FINE, COARSE = 1e-4, 1e-3
"""To what losses are rounded up: dp-accounting's own choice, and where numbers are large."""


class Spent(NamedTuple):
    """An epsilon and the way it was found.

    Attributes:
      epsilon: infinite where nothing is bounded.
      accountant: `pld`, `rdp` or `analytic` (a Gaussian, exactly).
    """

    epsilon: float
    accountant: str


def epsilon_of(ledger: Ledger, delta: float, *, accountant: Accountant = "pld") -> float:
    """The epsilon of a ledger: what its rounds reveal about one client's whole data.

    The neighbours are a run with a client and one in which that client's messages are zero,
    the number of clients being public (zero-out). For Gaussian noise the numbers are those of
    add-or-remove.

    - The L2 bound of a message is taken as C(1 + 1e-5): sums in float32 are that exact.
    - A *Poisson* cohort amplifies. Where its capacity is so large that cutting it costs less
      than a tenth of delta in all rounds, that cost is taken off delta; else it is accounted
      as truncated (`pld`) or not amplified (`rdp`).
    - *Cyclic Poisson* cohorts, of one of b groups, are accounted as `ceil(T / b)` Poisson
      cohorts of a group: a client's data reach no other round.
    - A cohort of *fixed size* never gets Poisson's number. The bound of Wang et al. for
      sampling without replacement is proved for replacing a person by any other. Someone who
      sends zero is such another, so it holds here with the sensitivity of a replacement, 2C.
      The smaller one of it and of no amplification counts; both hold for zero-out.
    - All others (*all*, *rotating*, *min_separation*, *availability* and cohorts of unknown
      kinds): no amplification, the Gaussian's exact formula over the rounds in which one client
      may take part.
    - *Correlated* noise is one Gaussian over the run, without amplification; *local* noise is
      accounted for replacement (2C), without amplification.

    Args:
      ledger: what was executed.
      delta: at least 1e-8 and below 1 / N.
      accountant: `pld` is tight and takes up to a few seconds; `rdp` is looser and quick.

    Returns:
      Epsilon, infinite where a round released something without noise; 0 for no rounds.

    Raises:
      UserError: delta is out of its range, or dp-accounting is not installed.

    Reference:
      Dwork and Roth (2014) for the definition; Abadi et al. (2016), McMahan et al. (2018) for
      Poisson cohorts; Ganesh (2025), arXiv 2508.15089, for truncated ones; Wang, Balle and
      Kasiviswanathan (2019) for those without replacement.

    >>> from fedjax_rec.base import Mechanism, SamplingEvent
    >>> from fedjax_rec.privacy import add_rounds
    >>> everybody = SamplingEvent("all", 943, 943.0, 943)
    >>> ledger = add_rounds((), everybody, [Mechanism("gaussian", 6.002)], rounds=100)
    >>> round(epsilon_of(ledger, 1e-5), 2)
    8.0
    >>> epsilon_of(add_rounds(ledger, everybody, [], rounds=1), 1e-5)
    inf
    """
    return spent(ledger, delta, accountant=accountant).epsilon


def spent(
    ledger: Ledger, delta: float, *, accountant: Accountant = "pld", interval: float = FINE
) -> Spent:
    """`epsilon_of`, and how it was found.

    Args:
      ledger: as there.
      delta: as there.
      accountant: as there.
      interval: to what `pld` rounds losses up. Ten times coarser is ten times faster and
        about 1e-5 larger.
    """
    if accountant not in ("pld", "rdp"):
        raise UserError(f"accountant {accountant!r}: choose from pld, rdp")
    for num_clients in {entry.event.num_clients for entry in ledger} or {1}:
        check_delta(delta, num_clients)
    if not ledger:
        return Spent(0.0, "analytic")
    library()
    if why_none(ledger):
        return Spent(math.inf, "analytic")
    releases = releases_of(ledger)
    if math.isinf(releases.unsampled_square):
        return Spent(math.inf, "analytic")
    by_rdp = Spent(_by_rdp(releases, delta), "rdp")
    exact = Spent(gaussian_epsilon(1 / math.sqrt(releases.unsampled_square), delta), "analytic")
    if accountant == "rdp":
        return by_rdp if math.isfinite(by_rdp.epsilon) else exact
    found = [exact, by_rdp]
    # Beyond 200 nobody asks for a sharp number, and the grid of losses would be huge.
    if releases.poisson and (rough := min(exact.epsilon, by_rdp.epsilon)) < 200:
        found.append(Spent(_by_pld(releases, delta, interval if rough < 20 else COARSE), "pld"))
    return min(found)


def check_delta(delta: float, num_clients: int) -> None:
    """Refuses a delta that promises nothing, or more than the noise can keep.

    Args:
      delta: with probability up to delta a person may be exposed altogether, so that 1 / N
        allows one person to be published; and normal numbers in float32 end at 5.4 standard
        deviations, which leaves out a mass of 6e-8, so that smaller deltas rest on a tail
        that is not there.
      num_clients: N.

    Raises:
      UserError: it is not in `[1e-8, 1 / N)`.
    """
    if not 0 < delta < 1 / num_clients:
        raise UserError(
            f"privacy.delta {delta:g} must be above 0 and below 1/{num_clients}, one over the "
            f"number of clients: set it to {default_delta(num_clients):.3g}"
        )
    if delta < LEAST_DELTA:
        raise UserError(
            f"privacy.delta {delta:g} is below {LEAST_DELTA:g}, and the tail of noise in float32 "
            "does not reach that far: set it to 1e-08 or more"
        )


def default_delta(num_clients: int) -> float:
    """`min(1e-5, N^-1.1)`, below one over the number of clients.

    >>> default_delta(943)
    1e-05
    >>> f"{default_delta(1_000_000):.2e}"
    '2.51e-07'
    """
    return min(1e-5, math.pow(num_clients, -1.1))


def _by_pld(releases: Releases, delta: float, interval: float) -> float:
    dp = library()
    whole, cut, left = _apart(releases.poisson, delta)
    events = [(_poisson(one), one.rounds) for one in whole]
    events += [
        (
            dp.TruncatedSubsampledGaussianDpEvent(
                dataset_size=one.event.num_clients,
                sampling_probability=one.event.probability,
                truncated_batch_size=one.event.capacity,
                noise_multiplier=one.multiplier,
            ),
            one.rounds,
        )
        for one in cut
    ]
    square = releases.square + sum(one.square * one.rounds for one in releases.fixed)
    events += _gaussian(square)
    interval = COARSE if cut else interval  # the finer one takes ten seconds
    return pld_epsilon(events, left, interval=interval, relation="REPLACE_SPECIAL")


def _by_rdp(releases: Releases, delta: float) -> float:
    dp = library()
    whole, cut, left = _apart(releases.poisson, delta)
    events = [(_poisson(one), one.rounds) for one in whole]
    events += _gaussian(releases.square + sum(one.square * one.rounds for one in cut))
    replaced = [
        (
            dp.SampledWithoutReplacementDpEvent(
                one.event.num_clients, one.event.capacity, dp.GaussianDpEvent(one.multiplier / 2)
            ),
            one.rounds,
        )
        for one in releases.fixed
    ]
    return rdp_epsilon(events, left, replaced=replaced)


def _apart(
    poisson: tuple[Sampled, ...], delta: float
) -> tuple[list[Sampled], list[Sampled], float]:
    """Rounds that are Poisson but for a little delta, those that are not, and the delta left."""
    whole, cut, left = [], [], delta
    for one in sorted(poisson, key=truncation):
        cost = truncation(one)
        if delta - left + cost <= delta / 10:
            left -= cost
            whole.append(one)
        else:
            cut.append(one)
    return whole, cut, left


def _poisson(one: Sampled) -> Any:
    dp = library()
    return dp.PoissonSampledDpEvent(one.event.probability, dp.GaussianDpEvent(one.multiplier))


def _gaussian(square: float) -> list[tuple[Any, int]]:
    return [(library().GaussianDpEvent(1 / math.sqrt(square)), 1)] if square > 0 else []
