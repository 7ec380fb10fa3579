"""What a run has done so far: the host's side of a checkpoint."""

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from fedjax_rec.base import Part, RoundInfo, Stat
from fedjax_rec.evaluation import ClientBytes, Communication, bytes_per_client, is_better
from fedjax_rec.privacy import Ledger, from_record, to_record
from fedjax_rec.simulation.context import BYTES_DOWN, BYTES_UP, PADDING
from fedjax_rec.simulation.plans import EarlyStop

COUNTS = ("clients", "bad_clients", "examples")
"""Observations that are reported as totals of a round; all others are means."""

TOUCHED = "rows_touched/"

ROUNDS_ABOVE = 3
"""So many rounds in a row above the first one's loss are no chance."""

FAR_ABOVE = 10
"""Nor is one round that is so many times as high."""


@dataclass
class Progress:
    """Rounds, clocks, bytes and the best evaluation, over all sessions of a run.

    Attributes:
      round: rounds done.
      best_round: round with the best value of the stop metric; 0 before the first.
      best_value: that value; without meaning before.
      num_stale: evaluations since then that count for patience.
      first_counted: the first round whose evaluation could count; 0 before there is one.
      ended_by: what ended training early: `patience`, `target`, or nothing yet.
      bad_updates: client updates left out because they were not finite.
      lost_round: the first round in which all updates were left out; 0 without one.
      first_loss: the loss of the first round that has one.
      num_above: how many rounds in a row, up to now, had a loss above it.
      is_told: whether the user was told so.
      ledger: noisy rounds that were executed, for the accountant.
    """

    communication: Communication
    round: int = 0
    best_round: int = 0
    best_value: float = float("-inf")
    num_stale: int = 0
    first_counted: int = 0
    ended_by: str = ""
    client_updates: int = 0
    bad_updates: int = 0
    lost_round: int = 0
    first_loss: float | None = None
    num_above: int = 0
    is_told: bool = False
    ledger: Ledger = ()
    examples: float = 0.0
    steps_made: float = 0.0
    steps_needed: float = 0.0
    seconds: dict[str, float] = field(
        default_factory=lambda: {"compile": 0.0, "train": 0.0, "evaluate": 0.0}
    )

    @property
    def is_stopped(self) -> bool:
        """Whether an early stop was reached."""
        return bool(self.ended_by)

    @property
    def reported_round(self) -> int:
        """The best round, where one was chosen yet; else the last."""
        return self.best_round or self.round

    def record(self) -> dict[str, Any]:
        """Plain data, for a checkpoint."""
        return asdict(self) | {
            "best_value": repr(self.best_value),
            "ledger": to_record(self.ledger),
        }

    @staticmethod
    def from_record(record: dict[str, Any]) -> "Progress":
        """The inverse of `record`; what an older one lacks begins at its default."""
        fields = Progress.__dataclass_fields__
        known = {name: record[name] for name in fields if name in record}
        known["communication"] = Communication(**known["communication"])
        known["best_value"] = float(known["best_value"])
        known["ledger"] = from_record(known.get("ledger", []))
        return Progress(**known)

    @contextmanager
    def clock(self, name: str) -> Iterator[None]:
        """Adds the time of its block to `seconds[name]`."""
        begin = time.monotonic()
        yield
        self.seconds[name] += time.monotonic() - begin

    def add_rounds(
        self, info: RoundInfo, down: Part, up: Part, notice: Callable[[str], None]
    ) -> list[dict[str, Any]]:
        """Counts a stretch of rounds and returns their lines for the metrics log.

        Args:
          info: observations, every field `[rounds]`, on the host.
          down: what clients receive; its shapes give the bytes, where the algorithm does not
            count them itself (`FederatedAlgorithm.sent`).
          up: what they send, likewise.
          notice: is told, once each, when clients diverge and when the loss rises above its
            start.
        """
        lines, was_good = [], not self.bad_updates
        for number in range(len(info["clients"].total)):
            seen = {name: Stat(*(leaf[number] for leaf in stat)) for name, stat in info.items()}
            self.round += 1
            self.client_updates += round(float(seen["clients"].total))
            self.bad_updates += round(float(seen["bad_clients"].total))
            self.examples += float(seen["examples"].total)
            self.steps_made += float(seen[PADDING].total)
            self.steps_needed += float(seen[PADDING].weight)
            self._add_bytes(seen, down, up)
            if seen["bad_clients"].total > 0 and not seen["clients"].total:
                self.lost_round = self.lost_round or self.round
            self._watch_loss(seen, notice)
            lines.append(
                {"round": self.round, "seconds": round(sum(self.seconds.values()), 3)}
                | {f"train/{name}": _reported(name, stat) for name, stat in seen.items()}
            )
        if was_good and self.bad_updates:
            notice(
                f"by round {self.round}, {self.bad_updates:,} client updates were not finite and "
                "were left out: lower the learning rates"
            )
        return lines

    def _watch_loss(self, seen: dict[str, Stat], notice: Callable[[str], None]) -> None:
        """Tells, once, of a loss that has left its start upwards and not just by chance."""
        if self.is_told or "loss" not in seen or not seen["loss"].weight:
            return
        loss = seen["loss"].mean()
        if self.first_loss is None:
            self.first_loss = loss
        is_above = not loss <= self.first_loss
        self.num_above = self.num_above + 1 if is_above else 0
        is_far = not loss <= FAR_ABOVE * abs(self.first_loss)
        if self.num_above >= ROUNDS_ABOVE or (is_above and is_far):
            self.is_told = True
            notice(
                f"warning: the loss is {loss:.4g} in round {self.round} and was "
                f"{self.first_loss:.4g} at first: lower the learning rates"
            )

    def _add_bytes(self, seen: dict[str, Stat], down: Part, up: Part) -> None:
        touched = {
            name.removeprefix(TOUCHED): stat.mean()
            for name, stat in seen.items()
            if name.startswith(TOUCHED)
        }
        if BYTES_DOWN in seen:
            per_client = ClientBytes(seen[BYTES_DOWN].mean(), seen[BYTES_UP].mean())
        else:
            per_client = bytes_per_client(down, up, self.communication.payload, touched)
        num_clients = round(float(seen["clients"].total + seen["bad_clients"].total))
        self.communication = self.communication.add(per_client, num_clients)

    def judge(self, stop: EarlyStop, metrics: dict[str, float], floor: float | None = None) -> bool:
        """Notes an evaluation; returns whether it is the best so far.

        Args:
          stop: what is watched.
          metrics: of this evaluation.
          floor: patience counts nothing before a value is better; `None`: there is no such value.
        """
        value = metrics[stop.metric]
        is_best = not self.best_round or is_better(stop.metric, value, self.best_value)
        if is_best:
            self.best_round, self.best_value, self.num_stale = self.round, value, 0
        is_clear = floor is None or is_better(stop.metric, self.best_value, floor)
        if is_clear and self.round >= stop.min_rounds:
            self.first_counted = self.first_counted or self.round
            self.num_stale += not is_best
        if stop.target is not None and not is_better(stop.metric, stop.target, value):
            self.ended_by = "target"
        elif 0 < stop.patience <= self.num_stale:
            self.ended_by = "patience"
        return is_best

    def stopping(self, stop: EarlyStop, floor: float | None) -> dict[str, Any]:
        """What `summary.json` says of an early stop: when it came, or what it waited for."""
        return {
            "metric": stop.metric,
            "best": self.best_value if self.best_round else None,
            "ended_by": self.ended_by or "rounds",
            "popularity": floor,
            "patience_counted_from": self.first_counted or None,
        }

    def summary(self) -> dict[str, Any]:
        """The parts of `summary.json` that count."""
        train = max(self.seconds["train"], 1e-9)
        return {
            "communication": self.communication.to_dict(),
            "timing": {f"{name}_seconds": value for name, value in self.seconds.items()}
            | {
                "clients_per_second": self.client_updates / train,
                "examples_per_second": self.examples / train,
            },
            "execution": {"padding": self.steps_made / max(self.steps_needed, 1)},
            "memory": {"peak_mb": peak_megabytes()},
            "rounds": self.round,
            "bad_updates": self.bad_updates,
        }


def _reported(name: str, stat: Stat) -> float:
    return float(stat.total) if name in COUNTS else stat.mean()


def peak_megabytes() -> float:
    """Peak resident memory of this process, in MB (10**6 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(np.round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1))
