"""The door to dp-accounting: loaded when something is accounted, and quiet.

Our convention of sensitivity ends here. `dp_accounting` reads a noise multiplier in its own
way: under replace-one its PLD accountant doubles the sensitivity and its RDP accountant does
not, so that the same event costs 9.997 with one and 4.729 with the other. What reaches this
module is therefore in units of what *one* person changes, and the relation of a call is
chosen by us, never by a user.
"""

import logging
import math
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fedjax_rec.errors import UserError

DISTRIBUTION = "dp-accounting"
MISSING = 'privacy accounting needs a package that is missing: pip install "fedjax-rec[privacy]"'


def library() -> Any:
    """The module `dp_accounting`, with its accountants.

    Raises:
      UserError: it is not installed.
    """
    try:
        import dp_accounting
        import dp_accounting.pld
        import dp_accounting.rdp
    except ModuleNotFoundError as error:
        raise UserError(MISSING) from error
    return dp_accounting


@cache
def library_version() -> str:
    """Of dp-accounting, for reports and caches.

    >>> library_version().startswith("dp-accounting 0.6")
    True
    """
    try:
        return f"{DISTRIBUTION} {version(DISTRIBUTION)}"
    except PackageNotFoundError as error:
        raise UserError(MISSING) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the accountants' warnings from the user.

    They print hundreds of lines about orders that they then leave out, which loses tightness
    and never validity.
    """
    logger = logging.getLogger("absl")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def gaussian_epsilon(multiplier: float, delta: float) -> float:
    """Epsilon of one Gaussian mechanism, exactly.

    `delta = Phi(1/(2 s) - e s) - exp(e) Phi(-1/(2 s) - e s)` for multiplier s and epsilon e.

    Args:
      multiplier: standard deviation over what one person changes; infinite: no release.
      delta: in `(0, 1)`.

    Reference:
      Balle and Wang (2018), "Improving the Gaussian mechanism for differential privacy:
      analytical calibration and optimal denoising", theorem 8.

    >>> round(gaussian_epsilon(1.0, 1e-5), 6)
    4.377178
    """
    if multiplier < 1e-4:  # epsilon is then about 1/(2 s^2), above 5e7: no number for anybody
        return math.inf
    with quiet():
        return float(library().get_epsilon_gaussian(multiplier, delta))


def pld_epsilon(
    events: Iterable[tuple[Any, int]],
    delta: float,
    *,
    interval: float = 1e-4,
    relation: str = "ADD_OR_REMOVE_ONE",
) -> float:
    """Epsilon by composition of privacy loss distributions, rounded to the safe side.

    Args:
      events: a `DpEvent` and how often, for each kind of round.
      delta: in `(0, 1)`.
      interval: to which losses are rounded up.
      relation: a name of `dp_accounting.NeighboringRelation`.

    Reference:
      Doroshenko et al. (2022), "Connect the dots: tighter discrete approximations of privacy
      loss distributions".
    """
    dp = library()
    with quiet():
        accountant = dp.pld.PLDAccountant(getattr(dp.NeighboringRelation, relation), interval)
        for event, count in events:
            accountant.compose(event, count)
        return _number(accountant.get_epsilon(delta))


def rdp_epsilon(
    events: Iterable[tuple[Any, int]],
    delta: float,
    *,
    replaced: Iterable[tuple[Any, int]] = (),
    relation: str = "ADD_OR_REMOVE_ONE",
) -> float:
    """Epsilon by composition of Rényi divergences.

    Args:
      events: a `DpEvent` and how often, for each kind of round.
      delta: in `(0, 1)`.
      replaced: more of them, accounted under replace-one; their multipliers are in units of
        what a *replaced* person changes.
      relation: a name of `dp_accounting.NeighboringRelation`, for `events`.

    Reference:
      Mironov (2017), "Rényi differential privacy"; Canonne, Kamath and Steinke (2020), "The
      discrete Gaussian for differential privacy", proposition 12, for the conversion.
    """
    dp = library()
    with quiet():
        divergence: Any = 0.0
        orders: Any = ()
        for some, name in ((events, relation), (replaced, "REPLACE_ONE")):
            accountant = dp.rdp.RdpAccountant(
                neighboring_relation=getattr(dp.NeighboringRelation, name)
            )
            try:
                for event, count in some:
                    accountant.compose(event, count)
            except ValueError:  # the logarithm of what cancelled, for noise without measure
                return math.inf
            orders = accountant.orders
            divergence = divergence + accountant.rdp
        return _number(dp.rdp.compute_epsilon(orders, divergence, delta)[0])


def _number(epsilon: Any) -> float:
    """An accountant that lost its way says nothing."""
    found = float(epsilon)
    return math.inf if math.isnan(found) else max(found, 0.0)
