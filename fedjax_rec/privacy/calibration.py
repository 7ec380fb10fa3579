"""From a wish to noise, and from a budget to rounds."""

import math
from collections.abc import Callable
from functools import cache

from fedjax_rec.base import Mechanism, SamplingEvent
from fedjax_rec.errors import UserError
from fedjax_rec.privacy.accounting import COARSE, FINE, Accountant, check_delta, spent
from fedjax_rec.privacy.ledger import Ledger, add_rounds
from fedjax_rec.privacy.solved import recall, remember

LEAST, MOST = 1e-2, 1e6
"""Noise multipliers that are looked at."""

LARGEST_EPSILON = 1000.0
STEP = 3e-4
"""By how much, relatively, a solution may be above the smallest one."""

Make = Callable[[float], tuple[Mechanism, ...]]


def noise_multiplier_for(
    event: SamplingEvent,
    rounds: int,
    epsilon: float,
    delta: float,
    *,
    make: Make = lambda z: (Mechanism("gaussian", z),),
) -> float:
    """The smallest noise multiplier with which a run stays within its epsilon.

    Solves `epsilon_of(z) = epsilon` for z. Rényi divergences, which are quick, give a
    multiplier that is safe and at most a quarter too large; a few evaluations of the privacy
    loss find the smallest below it. Solutions are kept in the cache folder.

    Args:
      event: how cohorts will be drawn.
      rounds: how many, all that will be executed.
      epsilon: above 0, at most 1000.
      delta: as in `epsilon_of`.
      make: the mechanisms of a round for a multiplier z; more z must not reveal more.

    Returns:
      A multiplier, within 1e-3 of the smallest, at which `epsilon_of` is at most epsilon.

    Raises:
      UserError: no multiplier does it, or the request is out of range.

    >>> from fedjax_rec.privacy import epsilon_of
    >>> everybody = SamplingEvent("all", 943, 943.0, 943)
    >>> z = noise_multiplier_for(everybody, rounds=100, epsilon=8.0, delta=1e-5)
    >>> round(z, 2)
    6.0
    >>> epsilon_of(add_rounds((), everybody, [Mechanism("gaussian", z)], 100), 1e-5) <= 8.0
    True
    """
    check_delta(delta, event.num_clients)
    if rounds < 1:
        raise UserError(f"privacy of {rounds} rounds: there must be at least one")
    if not 0 < epsilon <= LARGEST_EPSILON:
        raise UserError(
            f"privacy.epsilon {epsilon:g} must be above 0 and at most {LARGEST_EPSILON:g}; "
            "above 20 or so it promises next to nothing: for a run without privacy, leave it out"
        )
    question = [event, rounds, epsilon, delta, [make(z) for z in (0.5, 1.0, 3.0)]]
    known = recall(question)
    if known is not None:
        return float(known)

    @cache
    def at(z: float, accountant: Accountant, interval: float) -> float:
        ledger = add_rounds((), event, make(z), rounds)
        return spent(ledger, delta, accountant=accountant, interval=interval).epsilon

    start: float | None = 1.0
    if event.kind in ("poisson", "cyclic_poisson"):
        start = _smallest(lambda z: at(z, "rdp", COARSE), epsilon, 1.0)
    # Where the orders of the quick accountant end, it certifies nothing and the start is 1.
    grid = max(FINE, min(COARSE, epsilon * 2e-4))
    z = _smallest(lambda z: at(z, "pld", grid), epsilon, start or 1.0)
    if z is None:
        raise UserError(_unreachable(epsilon, delta, rounds, make(MOST)))
    while at(z, "pld", FINE) > epsilon:  # a root is a point between both sides
        z *= 1 + STEP
    remember(question, z)
    return z


def rounds_within(
    ledger: Ledger,
    event: SamplingEvent,
    mechanisms: tuple[Mechanism, ...],
    epsilon: float,
    delta: float,
    most: int,
) -> int:
    """How many more rounds stay within an epsilon.

    A run that is extended keeps its noise and ends earlier: noise that was chosen for fewer
    rounds cannot be changed in what is already released.

    Args:
      ledger: what was executed.
      event: how the next cohorts are drawn.
      mechanisms: the noise of the next rounds.
      epsilon: not to be exceeded.
      delta: as in `epsilon_of`.
      most: rounds that are wanted.

    Returns:
      Between 0 and `most`.

    >>> everybody = SamplingEvent("all", 943, 943.0, 943)
    >>> rounds_within((), everybody, (Mechanism("gaussian", 6.01),), 8.0, 1e-5, most=500)
    100
    """

    def fits(more: int, interval: float) -> bool:
        longer = add_rounds(ledger, event, mechanisms, more)
        return spent(longer, delta, interval=interval).epsilon <= epsilon

    if most <= 0 or fits(most, FINE):
        return max(most, 0)
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle, COARSE) else (low, middle)
    while low > 0 and not fits(low, FINE):
        low -= 1
    return low


def _smallest(at: Callable[[float], float], epsilon: float, start: float) -> float | None:
    """Where a falling `at` reaches epsilon, within `STEP` and on either side; `None`: nowhere."""
    from scipy.optimize import brentq  # type: ignore[import-untyped]

    def excess(z: float) -> float:
        return math.log(min(max(at(z), 1e-9), 1e9) / epsilon)

    low, high, step = start, start, 1.25
    if at(start) <= epsilon:
        while at(low) <= epsilon:
            if low <= LEAST:
                return LEAST
            high, low, step = low, max(low / step, LEAST), step * step
    else:
        while at(high) > epsilon:
            if high >= MOST:
                return None
            low, high, step = high, min(high * step, MOST), step * step
    return float(brentq(excess, low, high, xtol=1e-9, rtol=STEP / 2))


def _unreachable(
    epsilon: float, delta: float, rounds: int, mechanisms: tuple[Mechanism, ...]
) -> str:
    beside = (
        " (what is released beside the update spends part of it)" if len(mechanisms) > 1 else ""
    )
    return (
        f"privacy.epsilon {epsilon:g} at delta {delta:g} cannot be met in {rounds} rounds by any "
        f"noise{beside}: take fewer rounds, a smaller share of the clients or a larger epsilon"
    )
