"""A ledger as what one person risked in it: sums of Gaussians, and Gaussians of a sample.

Multipliers are in units of what one person changes by being there or not (zero-out). Several
Gaussians in one round hide one vector each and are together one Gaussian on the longer
vector: their squares `1 / sigma^2` add up, and so they do over rounds.
"""

import math
from itertools import groupby
from typing import NamedTuple

from fedjax_rec.base import Mechanism, SamplingEvent
from fedjax_rec.privacy.correlated import squared_sensitivity
from fedjax_rec.privacy.ledger import Executed, Ledger

SLACK = 1 + 1e-5
"""Over the bound of a clip: a sum in float32 moves a little further than its terms."""

KINDS = ("gaussian", "correlated", "local")


class Sampled(NamedTuple):
    """Rounds whose cohort was drawn at random, and secretly.

    Attributes:
      event: how.
      square: `1 / sigma^2` of a round in which one takes part.
      rounds: how many.
    """

    event: SamplingEvent
    square: float
    rounds: int

    @property
    def multiplier(self) -> float:
        """Noise over what one person changes."""
        return 1 / math.sqrt(self.square)


class Releases(NamedTuple):
    """What one person risked, by how it is accounted.

    Attributes:
      square: the sum of `1 / sigma^2` of all that gains nothing by sampling.
      poisson: rounds of Poisson cohorts.
      fixed: rounds of cohorts of a fixed size.
    """

    square: float
    poisson: tuple[Sampled, ...]
    fixed: tuple[Sampled, ...]

    @property
    def unsampled_square(self) -> float:
        """The sum for whoever was in every cohort, as if all of them were known."""
        return self.square + sum(one.square * one.rounds for one in self.poisson + self.fixed)


def why_none(ledger: Ledger) -> list[str]:
    """Why a ledger bounds nothing: one line a reason; none where it does.

    >>> everybody = SamplingEvent("all", 10, 10.0, 10)
    >>> why_none((Executed(everybody, (), 3),))
    ['3 rounds released updates without noise']
    """
    bare = sum(entry.rounds for entry in ledger if not _is_hidden(entry))
    found = [f"{_rounds(bare)} released updates without noise"] if bare else []
    for one in dict.fromkeys(one for entry in ledger for one in entry.mechanisms):
        if one.kind not in KINDS:
            found.append(f"noise of kind {one.kind!r} is unknown to the accountant")
        elif not 0 < one.noise_multiplier < math.inf:
            found.append(f"a noise multiplier of {one.noise_multiplier:g} on the {one.releases}")
        elif one.kind == "correlated" and math.isinf(_square(one, ledger[0].event, 1)):
            found.append("correlated noise without a strategy that can be inverted")
    for entry in ledger:
        made_for = [len(one.strategy) for one in entry.mechanisms if one.kind == "correlated"]
        if any(length < entry.rounds for length in made_for):
            found.append(
                f"correlated noise was made for {_rounds(min(made_for))}, and {entry.rounds} "
                "were executed"
            )
    if sum(any(one.kind == "correlated" for one in entry.mechanisms) for entry in ledger) > 1:
        found.append("correlated noise was changed in the middle of the run")
    return found


def releases_of(ledger: Ledger) -> Releases:
    """What a ledger without any `why_none` risked.

    - *Poisson* cohorts hide who takes part; with noise on each client's own message, or with
      noise that is shared by rounds, that is not used.
    - *Cyclic Poisson* cohorts are Poisson cohorts of a client's own group, in its turns alone.
    - *Uniform* cohorts likewise, by another bound.
    - Of all others nobody is assumed to be in doubt about who took part: whoever comes most
      often counts. How often that is follows from the event, over each unbroken stretch of
      rounds, in which the noise was weakest when it could be.
    - *Correlated* noise is one Gaussian on all rounds of its entry.

    >>> queue = SamplingEvent("rotating", 10, 5.0, 5, most=5, within=10)
    >>> round(releases_of((Executed(queue, (Mechanism("gaussian", 1.0),), 8),)).square, 3)
    4.0
    """
    square, poisson, fixed = 0.0, [], []
    for event, stretch in groupby(ledger, key=lambda entry: entry.event):
        certain = []
        for entry in stretch:
            fresh = sum(_square(one, event, 1) for one in entry.mechanisms if not _is_shared(one))
            square += sum(
                _square(one, event, entry.rounds) for one in entry.mechanisms if _is_shared(one)
            )
            is_secret = all(one.kind == "gaussian" for one in entry.mechanisms)
            by_coin, turns = _by_coin(event, entry.rounds)
            if is_secret and by_coin and by_coin.probability < 1:
                poisson.append(Sampled(by_coin, fresh, turns))
            elif is_secret and event.kind == "uniform" and event.capacity < event.num_clients:
                fixed.append(Sampled(event, fresh, entry.rounds))
            else:
                certain.append((fresh, entry.rounds))
        square += _worst(event, certain)
    return Releases(square, tuple(poisson), tuple(fixed))


def _by_coin(event: SamplingEvent, rounds: int) -> tuple[SamplingEvent | None, int]:
    """The Poisson cohorts in which a client may be, and of how many rounds; `None`: of none.

    Of cyclic ones they are those of its group of `ceil(N / b)` places, which comes every b
    rounds. What other groups release in between depends on the client's data only through
    what its own group's rounds released.
    """
    if event.kind == "poisson":
        return event, rounds
    if event.kind != "cyclic_poisson" or event.most > 1 or event.burst:
        return None, 0
    places = -(-event.num_clients // event.within)
    share = min(event.probability * event.within, 1.0)
    group = SamplingEvent("poisson", places, places * share, event.capacity)
    return group, event.participations(rounds)


def truncation(one: Sampled) -> float:
    """An upper bound on the chance that a person's presence decides who is cut, in all rounds.

    Where at most `capacity - 1` of the others are drawn, nobody is cut whether the person
    takes part or not, and the round is exactly a Poisson one, whoever the others are. So the
    real mechanism's delta exceeds that of Poisson sampling by at most
    `rounds * P(Binomial(N - 1, p) >= capacity)`, at every epsilon. The tail is bounded by a
    geometric series of its first term.

    >>> event = SamplingEvent("poisson", 943, 94.0, 159)
    >>> f"{truncation(Sampled(event, 1.0, 100)):.0e}"
    '5e-09'
    """
    others, p, least = one.event.num_clients - 1, one.event.probability, one.event.capacity
    if least > others:
        return 0.0
    ratio = (others - least) * p / ((least + 1) * (1 - p))
    if ratio >= 1:
        return 1.0
    first = (
        math.lgamma(others + 1)
        - math.lgamma(least + 1)
        - math.lgamma(others - least + 1)
        + least * math.log(p)
        + (others - least) * math.log1p(-p)
    )
    return min(1.0, one.rounds * math.exp(first) / (1 - ratio))


def _worst(event: SamplingEvent, certain: list[tuple[float, int]]) -> float:
    """The sum of squares of whoever took part most often where the noise was weakest."""
    left = event.participations(sum(rounds for _, rounds in certain))
    total = 0.0
    for square, rounds in sorted(certain, reverse=True):
        times = min(left, event.participations(rounds))
        total += square * times
        left -= times
    return total


def _square(one: Mechanism, event: SamplingEvent, rounds: int) -> float:
    """`1 / sigma^2`: of one participation, or of all rounds for correlated noise."""
    ratio = SLACK / one.noise_multiplier
    bare = max(ratio * ratio, 1e-300)  # a loss of nothing at all has no multiplier
    if one.kind == "local":  # the server knows who sent it: another message, up to 2 C away
        return 4 * bare
    if one.kind == "correlated":
        times, apart = event.participations(rounds), max(event.min_separation(), 1)
        return bare * squared_sensitivity(one.strategy, rounds, times, apart)
    return bare


def _is_shared(one: Mechanism) -> bool:
    return one.kind == "correlated"


def _is_hidden(entry: Executed) -> bool:
    return any(one.releases == "update" for one in entry.mechanisms)


def _rounds(number: int) -> str:
    return "1 round" if number == 1 else f"{number} rounds"
