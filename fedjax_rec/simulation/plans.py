"""When a run evaluates, stops and saves; and what it tells its caller."""

import math
import typing
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from fedjax_rec.base import Clients, Part, ServerState
from fedjax_rec.errors import UserError
from fedjax_rec.evaluation import Prediction, Protocol, Question, Ranking


@dataclass(frozen=True)
class EvaluationPlan:
    """How often, and on what terms, a run is evaluated.

    Attributes:
      every: rounds between evaluations; the last round is evaluated too.
      task: whether held-out items are put into a `ranking`, or their `rating` or `label`
        is predicted by their score (`evaluation.Prediction`). Rankings alone read the rest.
      at_k: cut-offs of the metrics.
      candidates: `full` catalogue, `uni99` uniform items never touched, the lists of the data
        set's own `file`, or the items that are `held_out` whole.
      candidates_seed: of those items.
      score_ties: the rule among equal scores.
      seen_items: `removed` from the ranking; or `ranked` as all others, as where people
        consume again, which asks for the `full` catalogue.
      history: what a model with `needs_history` reads of a client at test: its `train` events;
        or `train_and_valid`: its validation events behind them, as in published code of
        sequential models. At validation it reads training events.
      clients: how many people are evaluated, chosen by a hash of their ids; 0: all.
      training_clients: how many of them while the run trains, for early stopping too; the final
        evaluation is of all `clients`. 0: as many.
      clients_seed: of the hash.

    Raises:
      UserError: seen items are ranked among candidates that hold none, or a number of people
        is below 0 or larger while the run trains than at its end.
    """

    every: int = 5
    task: Literal["ranking", "rating", "label"] = "ranking"
    at_k: tuple[int, ...] = (5, 10, 20)
    candidates: Literal["full", "uni99", "file", "held_out"] = "full"
    candidates_seed: int = 0
    score_ties: Literal["pessimistic", "optimistic"] = "pessimistic"
    seen_items: Literal["removed", "ranked"] = "removed"
    history: Literal["train", "train_and_valid"] = "train"
    clients: int = 0
    training_clients: int = 0
    clients_seed: int = 0

    def __post_init__(self) -> None:
        """Refuses what cannot be asked."""
        for name in ("clients", "training_clients", "clients_seed"):
            if getattr(self, name) < 0:
                raise UserError(f"evaluate.{name} must be at least 0, got {getattr(self, name)}")
        if self.clients and self.training_clients > self.clients:
            raise UserError(
                f"evaluate.training_clients: {self.training_clients} are more than the "
                f"{self.clients} of the final evaluation; lower it, or raise evaluate.clients"
            )
        if self.seen_items == "ranked" and self.candidates != "full":
            raise UserError(
                f"evaluate.seen_items: 'ranked' among candidates {self.candidates!r} would ask "
                "about a seen item among unseen ones; set evaluate.candidates to full"
            )

    @property
    def question(self) -> Question:
        """What is asked of the scores.

        Raises:
          UserError: a cut-off that is not a positive integer.
        """
        if self.task == "ranking":
            return Ranking(self.at_k, self.score_ties)
        return Prediction(self.task)


Select = Literal["validation", "test_as_released"]
SPLIT_OF = {"validation": "valid", "test_as_released": "test"}
"""The split whose metrics choose the reported round."""


@dataclass(frozen=True)
class EarlyStop:
    """When to stop before the last round; the best round's parameters are restored.

    Attributes:
      metric: what is watched; smaller is better where it is an error (`rmse`).
      patience: stop after this many evaluations without a new best; 0 never does.
      min_rounds: evaluations before this round do not count for patience.
      waits_for: `popularity`: nor do those before a value is better than Popularity's, for
        what starts slowly stands still there and goes on later; of rankings. `nothing`: all count.
      target: stop as soon as the metric reaches it; `None` never does.
      select: which items the metric is of: `validation`, or `test_as_released`: the best
        round is then chosen by the test metrics that it is reported with, as in the released
        code of some papers. Such figures are too good, and every result says so.

    Raises:
      UserError: the metric is of other items than `select` says.

    >>> EarlyStop("test/hit_rate@10", select="test_as_released").selection
    'best on test, as released'
    """

    metric: str = "valid/ndcg@10"
    patience: int = 0
    target: float | None = None
    select: Select = "validation"
    min_rounds: int = 0
    waits_for: Literal["popularity", "nothing"] = "popularity"

    def __post_init__(self) -> None:
        """Refuses test metrics without their label, and the label without them."""
        if self.metric.partition("/")[0] != SPLIT_OF[self.select]:
            raise UserError(
                f"stop.metric: {self.metric!r} is not measured on what stop.select = "
                f"{self.select!r} names; use a {SPLIT_OF[self.select]}/ metric"
            )

    @property
    def selection(self) -> Literal["best on validation", "best on test, as released"]:
        """How the round is chosen, in the words of `Protocol`."""
        return "best on validation" if self.select == "validation" else "best on test, as released"


@dataclass(frozen=True)
class CheckpointPlan:
    """When a run with an output folder saves itself.

    Attributes:
      every: rounds between checkpoints; the last round is saved too.
      seconds: save only when this much time has passed since the last save.
      keep: how many of the latest checkpoints stay.
    """

    every: int = 1
    seconds: float = 0.0
    keep: int = 3


@dataclass(frozen=True)
class PrivacyPlan:
    """Where noise that is added must end, and in which terms its cost is told.

    Attributes:
      epsilon: the most that the rounds of a run may cost a client: training ends at the last
        one within it. Infinite: no limit.
      delta: beside epsilon; 0: `privacy.default_delta`.
      unit: what a client is.
      keep_per_client: a run with noise leaves its clients' own metrics out of its folder, for
        no noise covers them; True writes them all the same.
    """

    epsilon: float = math.inf
    delta: float = 0.0
    unit: Literal["user", "silo"] = "user"
    keep_per_client: bool = False


class Report(NamedTuple):
    """What a run tells its caller after each stretch of rounds.

    Attributes:
      round: rounds done.
      rounds: rounds asked for.
      seconds: since this call began.
      num_clients: clients trained since the last report.
      line: the line of `metrics.jsonl` of that round.
      epsilon: what noisy rounds have cost so far, at evaluations; `None` without noise.
    """

    round: int
    rounds: int
    seconds: float
    num_clients: int
    line: dict[str, Any]
    epsilon: float | None = None


@dataclass(frozen=True)
class Result:
    """What a run leaves.

    Attributes:
      metrics: one dict a round: `round`, `seconds`, `train/loss`, ...; at evaluations
        `valid/ndcg@10`, `test/hit_rate@10`, ...
      summary: the content of `summary.json`.
      per_client: `[N]` test metrics of every client; NaN where it has no held-out item.
      state: the server's, of the reported round.
      clients: the store, of the reported round.
      frozen: what was never trained.
      is_interrupted: stopped by Ctrl-C, and saved where there is an output folder.
      first_round: the round this call went on from.
    """

    metrics: list[dict[str, Any]]
    summary: dict[str, Any]
    per_client: dict[str, npt.NDArray[np.float32]]
    state: ServerState
    clients: Clients
    frozen: Part
    is_interrupted: bool
    first_round: int


class Parameters(NamedTuple):
    """What a run has learned, of the reported round.

    Attributes:
      state: the server's.
      clients: the store.
      frozen: what was never trained.
    """

    state: ServerState
    clients: Clients
    frozen: Part


class HasParameters(typing.Protocol):
    """What can be evaluated: a `Result`, `Parameters`, or an opened run."""

    @property
    def state(self) -> ServerState:
        """The server's."""

    @property
    def clients(self) -> Clients:
        """The store."""

    @property
    def frozen(self) -> Part:
        """What was never trained."""


def protocol_of(facts: dict[str, Any], plan: EvaluationPlan, stop: EarlyStop | None) -> Protocol:
    """The protocol of a run, from the data's facts and the plans."""
    if plan.seen_items == "ranked":  # then nothing is dropped for being seen
        facts = {name: fact for name, fact in facts.items() if name != "questions_dropped"}
    return Protocol(
        **facts,
        task=plan.task,
        candidates=plan.candidates,
        candidates_seed=plan.candidates_seed,
        score_ties=plan.score_ties,
        seen_items=plan.seen_items,
        history=plan.history,
        clients=plan.clients or None,
        training_clients=plan.training_clients or None,
        clients_seed=plan.clients_seed if plan.clients or plan.training_clients else None,
        selection=stop.selection if stop else "last",
    )
