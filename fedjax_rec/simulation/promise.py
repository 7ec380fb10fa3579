"""What a run promises its clients: from the rounds that it has executed, and from nothing else."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from fedjax_rec.base import AggregateTransform, SamplingEvent, decided
from fedjax_rec.errors import UserError
from fedjax_rec.privacy import (
    Ledger,
    PrivacyReport,
    add_rounds,
    check_delta,
    default_delta,
    report_of,
    rounds_within,
)
from fedjax_rec.privacy.accounting import COARSE, spent
from fedjax_rec.simulation.plans import EarlyStop, PrivacyPlan

ROWS = "payload rows: each client's message names the rows that it touched, to whoever carries it"
GIVEN = (
    "the parameters that training started from: what they tell of the people whose data trained "
    "them is the matter of that run, and adds to this one for whoever was in both"
)


@cache
def _quick_epsilon(ledger: Ledger, delta: float) -> float:
    return spent(ledger, delta, interval=COARSE).epsilon


@dataclass(frozen=True)
class Promise:
    """What the noise of a run is worth.

    Attributes:
      plan: its limit.
      aggregate: with concrete numbers.
      event: how its cohorts are drawn.
      stop: by which its reported round is chosen.
      payload: what a real client would send.
      is_given: whether the run starts from parameters that another one has trained.
    """

    plan: PrivacyPlan
    aggregate: AggregateTransform
    event: SamplingEvent
    stop: EarlyStop | None
    payload: str
    is_given: bool = False

    @property
    def delta(self) -> float:
        """Beside epsilon."""
        return self.plan.delta or default_delta(self.event.num_clients)

    def check(self) -> None:
        """Refuses, before anything is trained, noise that cannot be told the cost of.

        Raises:
          UserError: delta promises nothing, or the accountant is not installed.
        """
        if self.aggregate.mechanisms:
            check_delta(self.delta, self.event.num_clients)
            self.epsilon(self.after((), 1))

    def after(self, ledger: Ledger, rounds: int) -> Ledger:
        """The log with so many more executed rounds."""
        if not self.aggregate.mechanisms:
            return ledger
        return add_rounds(ledger, self.event, self.aggregate.mechanisms, rounds)

    def epsilon(self, ledger: Ledger) -> float | None:
        """What the rounds so far have cost, a little above at most; `None` without noise."""
        if not self.aggregate.is_noise or not ledger:
            return None
        return _quick_epsilon(ledger, self.delta)

    def last_round(
        self, ledger: Ledger, done: int, rounds: int, notice: Callable[[str], None]
    ) -> int:
        """The last round that the limit allows, at most `rounds`.

        Raises:
          UserError: it does not allow one.
        """
        if not self.aggregate.is_noise or math.isinf(self.plan.epsilon) or done >= rounds:
            return rounds
        more = rounds_within(
            ledger,
            self.event,
            self.aggregate.mechanisms,
            self.plan.epsilon,
            self.delta,
            rounds - done,
        )
        last = done + more
        if not last:
            raise UserError(
                f"privacy.epsilon: one round costs more than {self.plan.epsilon:g}; raise "
                "privacy.noise_multiplier or privacy.epsilon"
            )
        if last < rounds:
            notice(
                f"privacy: ends at round {last} of {rounds}, the last within epsilon "
                f"{self.plan.epsilon:g}"
            )
        return last

    def report(self, ledger: Ledger) -> PrivacyReport:
        """What may be said of the executed rounds."""
        said = {ROWS: self.payload == "rows", GIVEN: self.is_given}
        bound = decided(lambda: float(self.aggregate.bound(math.inf, None)))
        return report_of(
            ledger,
            self.delta,
            clip_norm=bound,
            unit=self.plan.unit,
            problems=list(self._problems()) if ledger else ["no noise is added"],
            extra_not_covered=[line for line, holds in said.items() if holds],
        )

    def _problems(self) -> list[str]:
        """What voids the guarantee, whatever the noise."""
        found = {
            "the reported round, or when to stop, is chosen on clients' held-out items; set "
            "stop.patience and stop.target to 0": self.stop is not None,
            "the updates are divided by counts of private data": self.aggregate.releases_counts,
            "messages are read one by one, and noise hides a client in a sum alone": (
                self.aggregate.is_stacked
            ),
        }
        return [problem for problem, is_there in found.items() if is_there]
