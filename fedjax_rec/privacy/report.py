"""What may be said of a run's privacy, and what may not."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context
from typing import Any, Literal

from fedjax_rec.base import SamplingEvent
from fedjax_rec.errors import UserError
from fedjax_rec.privacy.accounting import spent
from fedjax_rec.privacy.ledger import Ledger, num_rounds
from fedjax_rec.privacy.library import library_version
from fedjax_rec.privacy.releases import why_none

Claims = Literal["valid", "approximate", "none"]
Unit = Literal["user", "silo"]
Relation = Literal["add_or_remove_one", "replace_one"]
Trust = Literal["central", "local"]

NOT_COVERED = (
    "metrics and losses written each round are exact functions of clients' data",
    "per-client files are exact functions of that client's data",
    "checkpoints hold private parameters, and the key of the noise",
    "the seed in config.toml: whoever has it can draw the noise again and subtract it",
    "noise in float32 from a simulation-grade generator: its tail ends and its values are few",
    "exported user vectors and recommendations read that user's own data: they are jointly "
    "private only, towards all others",
    "the number of clients and the catalogue are assumed to be public",
    "the choice of a round, of when to stop or of settings by clients' validation items",
)
"""Outputs of the simulation that the guarantee does not speak of."""

MEANINGLESS = 1000
"""An epsilon above this bounds a probability by nothing: it is no claim."""

SILO = "a silo is not a person: each person in it has the weaker protection of the silo as a whole"
LOCAL = "who takes part in which round, and how much of it is sent, is known to the server"


@dataclass(frozen=True)
class PrivacyReport:
    """A guarantee, or the reasons why there is none: `summary.json["privacy"]`.

    Attributes:
      claims: `valid`; `approximate`, a number that is an estimate; `none`.
      unit: whose whole data is protected.
      relation: between neighbours. `add_or_remove_one` has a public number of clients, of
        whom one sends zero (zero-out); `replace_one`, for local noise, is stronger.
      epsilon: `None` where nothing is claimed.
      delta: the probability left out.
      noise_multiplier: standard deviation over the bound on a message, the least of all
        rounds; `None` without noise.
      clip_norm: that bound; `None` if there is none.
      sampling: `kind`, `probability` and `capacity` of cohorts; where they changed, `mixed`
        and the largest.
      rounds: executed, whichever of them is reported.
      accountant: `name` and `library`.
      trust: `central`: the server sees messages and is trusted; `local`: it need not be.
      reasons: why nothing is claimed.
      not_covered: sentences.
    """

    claims: Claims
    unit: Unit
    relation: Relation
    epsilon: float | None
    delta: float | None
    noise_multiplier: float | None
    clip_norm: float | None
    sampling: dict[str, Any]
    rounds: int
    accountant: dict[str, str]
    trust: Trust
    reasons: tuple[str, ...]
    not_covered: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "claims": self.claims,
            "unit": self.unit,
            "relation": self.relation,
            "epsilon": self.epsilon,
            "delta": self.delta,
            "noise_multiplier": self.noise_multiplier,
            "clip_norm": self.clip_norm,
            "sampling": dict(self.sampling),
            "rounds": self.rounds,
            "accountant": dict(self.accountant),
            "trust": self.trust,
            "reasons": list(self.reasons),
            "not_covered": list(self.not_covered),
        }


def report_of(
    ledger: Ledger,
    delta: float,
    *,
    clip_norm: float | None,
    unit: Unit,
    problems: Sequence[str] = (),
    extra_not_covered: Iterable[str] = (),
) -> PrivacyReport:
    """The report of a run that executed a ledger. It raises nothing: a problem is a reason.

    Args:
      ledger: all executed rounds.
      delta: as in `epsilon_of`.
      clip_norm: the L2 bound on a client's message.
      unit: what a client is.
      problems: whatever voids the guarantee and is not in the ledger, one line each.
      extra_not_covered: sentences about this run.

    >>> from fedjax_rec.base import Mechanism
    >>> from fedjax_rec.privacy import add_rounds
    >>> event = SamplingEvent("all", 943, 943.0, 943)
    >>> ledger = add_rounds((), event, [Mechanism("gaussian", 6.01)], 100)
    >>> in_words(report_of(ledger, 1e-5, clip_norm=1.0, unit="user"))
    'epsilon 7.99 (delta 1e-05, user, 100 rounds)'
    >>> in_words(report_of((), 1e-5, clip_norm=1.0, unit="user"))
    'no guarantee: no round is in the log of what was executed'
    """
    reasons = list(problems)
    if not ledger:
        reasons.append("no round is in the log of what was executed")
    reasons += why_none(ledger)
    bound = clip_norm if clip_norm is not None and 0 < clip_norm < math.inf else None
    if bound is None:
        reasons.append("updates have no bound")
    epsilon, name, version = math.inf, "none", "none"
    if not reasons:
        try:
            epsilon, name = spent(ledger, delta)
            version = library_version()
        except UserError as error:
            reasons.append(str(error))
        else:
            if epsilon > MEANINGLESS:
                reasons.append(f"the noise is too weak: an epsilon above {MEANINGLESS:,}")
    is_local = bool(ledger) and all(
        entry.mechanisms and all(one.kind == "local" for one in entry.mechanisms)
        for entry in ledger
    )
    return PrivacyReport(
        claims="none" if reasons else "valid",
        unit=unit,
        relation="replace_one" if is_local else "add_or_remove_one",
        epsilon=None if reasons else epsilon,
        delta=_finite(delta),
        noise_multiplier=_least_noise(ledger),
        clip_norm=bound,
        sampling=_sampling([entry.event for entry in ledger]),
        rounds=num_rounds(ledger),
        accountant={"name": name, "library": version},
        trust="local" if is_local else "central",
        reasons=tuple(dict.fromkeys(reasons)),
        not_covered=(
            *NOT_COVERED,
            *([SILO] if unit == "silo" else []),
            *([LOCAL] if is_local else []),
            *extra_not_covered,
        ),
    )


def in_words(report: PrivacyReport) -> str:
    """A report in one line; epsilon is rounded up to three digits, so it never flatters."""
    if report.epsilon is None:
        return f"no guarantee: {report.reasons[0]}"
    shown = Context(prec=3, rounding=ROUND_CEILING).create_decimal(repr(report.epsilon))
    rounds = "1 round" if report.rounds == 1 else f"{report.rounds} rounds"
    return f"epsilon {float(shown):g} (delta {report.delta:g}, {report.unit}, {rounds})"


def _sampling(events: list[SamplingEvent]) -> dict[str, Any]:
    kinds = {event.kind for event in events}
    if not events:
        return {"kind": None, "probability": None, "capacity": None}
    return {
        "kind": kinds.pop() if len(set(events)) == 1 else "mixed",
        "probability": max(float(event.probability) for event in events),
        "capacity": max(int(event.capacity) for event in events),
    }


def _least_noise(ledger: Ledger) -> float | None:
    """The smallest multiplier on updates; a round without any has none, and so has the run."""
    if any(all(one.releases != "update" for one in entry.mechanisms) for entry in ledger):
        return None
    found = [
        float(one.noise_multiplier)
        for entry in ledger
        for one in entry.mechanisms
        if one.releases == "update"
    ]
    return _finite(min(found, default=None))


def _finite(number: float | None) -> float | None:
    return float(number) if number is not None and math.isfinite(number) else None
