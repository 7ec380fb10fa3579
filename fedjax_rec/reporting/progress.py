"""Progress of a run: a live line on a terminal, else a plain line at each evaluation."""

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Observed(Protocol):
    """What is reported after a stretch of rounds (`simulation.Report` is one)."""

    @property
    def round(self) -> int:
        """Rounds done."""

    @property
    def rounds(self) -> int:
        """Rounds of the whole run."""

    @property
    def num_clients(self) -> int:
        """Client updates since the last report."""

    @property
    def line(self) -> Mapping[str, float]:
        """The line of `metrics.jsonl`."""

    @property
    def epsilon(self) -> float | None:
        """What noisy rounds have cost so far."""


class ProgressLine:
    """Shows reports as they come; a context manager.

    Args:
      console: where to show them.
      clock: seconds, for clients/s and the time that is left.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._begin = self._last = clock()
        self._first_round: int | None = None
        self._live: Progress | None = None
        self._metric = self._epsilon = ""

    def __enter__(self) -> Self:
        """Starts the live line, where there is a terminal."""
        if self._console.is_terminal:
            self._live = Progress(
                TextColumn("round"),
                MofNCompleteColumn(),
                BarColumn(bar_width=20),
                TextColumn("ETA"),
                TimeRemainingColumn(),
                TextColumn("{task.description}"),
                console=self._console,
            )
            self._live.add_task("compiling", total=None)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leaves the last line on the screen."""
        if self._live:
            self._live.stop()

    def notice(self, text: str) -> None:
        """Shows a message of its own line, above a live line."""
        self._console.print(escape(text), highlight=False, soft_wrap=True)

    def __call__(self, report: Observed) -> None:
        """Shows a report."""
        now = self._clock()
        if self._first_round is None:
            self._first_round = report.round
            self._begin = now  # what came before was compiling
        rate = report.num_clients / max(now - self._last, 1e-9)
        self._last = now
        is_evaluated = any(key.startswith(("valid/", "test/")) for key in report.line)
        if is_evaluated:
            self._metric = headline(report.line)
        words = [f"{rate:,.0f} clients/s"]
        if "train/loss" in report.line:
            words.append(f"loss {report.line['train/loss']:.4f}")
        if self._metric:
            words.append(self._metric)
        if report.epsilon is not None:
            self._epsilon = f"epsilon {report.epsilon:.3g}"
        words += [self._epsilon] if self._epsilon else []
        text = "  ".join(words)
        if self._live:
            task = self._live.task_ids[0]
            self._live.update(
                task, total=report.rounds, completed=report.round, description=escape(text)
            )
        elif is_evaluated:
            left = self._time_left(report, now)
            self.notice(f"round {report.round}/{report.rounds}  ETA {left}  {text}")

    def _time_left(self, report: Observed, now: float) -> str:
        done = report.round - (self._first_round or 0)
        if report.round >= report.rounds:
            return format_seconds(0)
        if not done:
            return "-:--:--"
        return format_seconds((now - self._begin) / done * (report.rounds - report.round))


def headline(line: Mapping[str, float]) -> str:
    """The one metric shown on a line: NDCG@10 on validation, or what is nearest to it.

    >>> headline({"round": 5, "test/ndcg@10": 0.05, "valid/ndcg@5": 0.04, "valid/ndcg@10": 0.06})
    'valid/ndcg@10 0.0600'
    """
    keys = [key for key in line if key.startswith(("valid/", "test/"))]
    ranked = sorted(keys, key=lambda key: (key[0] != "v", "ndcg@10" not in key, "ndcg" not in key))
    return f"{ranked[0]} {line[ranked[0]]:.4f}" if ranked else ""


def format_seconds(seconds: float) -> str:
    """Hours, minutes, seconds.

    >>> format_seconds(3725.6)
    '1:02:06'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
