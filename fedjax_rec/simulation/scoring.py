"""The evaluation of a run: its held-out items, put to every client."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from fedjax_rec.base import Clients, FederatedAlgorithm, Fixed, Part, PyTree, ServerState
from fedjax_rec.data import FederatedData, HeldOut, candidate_lists, item_lists
from fedjax_rec.errors import UserError, did_you_mean
from fedjax_rec.evaluation import (
    Consumption,
    Evaluation,
    HeldOutSet,
    consumption,
    list_metrics,
    without_own,
)
from fedjax_rec.evaluation.evaluate import Asker, Splits, asker, evaluator
from fedjax_rec.evaluation.later import later_events
from fedjax_rec.evaluation.personal import encodes_once
from fedjax_rec.evaluation.questions import Found
from fedjax_rec.simulation.devices import (
    BY_CLIENT,
    EVERYWHERE,
    FIXED_SPECS,
    Placement,
    over_devices,
    own,
)
from fedjax_rec.simulation.people import Ids, asked_people, only
from fedjax_rec.simulation.plans import EarlyStop, EvaluationPlan, HasParameters
from fedjax_rec.simulation.programs import Shared

Scores = tuple[dict[str, float], dict[str, npt.NDArray[np.float32]]]
"""Metrics by key, and each client's test metrics `[N]`."""


class Scorer:
    """Evaluates parameters on the validation items, where there are any, and the test items.

    A method whose clients have item parameters of their own is also evaluated without them,
    as `valid_global` and `test_global`.
    """

    def __init__(
        self,
        programs: Shared,
        data: FederatedData,
        plan: EvaluationPlan,
        notice: Callable[[str], None],
        placement: Placement,
    ) -> None:
        """Lays the held-out items on the devices, each client's where the client lives.

        Raises:
          UserError: a cut-off that is not a positive integer, an unknown tie rule, or more
            devices than there are.
        """
        question = plan.question
        kinds = ["", "_global"] if programs.algorithm.without_own else [""]
        self._evaluators = {
            kind: evaluator(_asking(programs, placement, plan, kind), question) for kind in kinds
        }
        sets = held_out_sets(data, plan)
        final, training = asked_people(data, plan)
        self.num_people = {"clients": len(final), "training_clients": len(training)}
        if plan.seen_items == "removed":
            _tell_dropped(data, notice)
        self._sets = laid_out(placement, sets, final, data.num_items)
        unlisted = {split: held_out._replace(is_listed=None) for split, held_out in sets.items()}
        self._sets_in_training = laid_out(placement, unlisted, training, data.num_items)
        self._asks_alike = plan.task != "ranking" and len(final) == len(training)
        self._newest: tuple[int, Scores] = 0, ({}, {})
        self._data, self._plan, self._notice = data, plan, notice
        self.is_lost = False  # whether, at the last call, nobody had scores that are finite
        self._counted = "rank last" if plan.task == "ranking" else "count as 0"
        self.keys = [
            f"{split}{kind}/{metric}"
            for kind in self._evaluators
            for split in self._sets
            for metric in question.keys
        ]

    @cached_property
    def _consumed(self) -> Consumption:
        data, train = self._data, self._data.split.train
        return consumption(train.users, train.items, data.num_clients, data.num_items)

    def watch(self, stop: EarlyStop) -> None:
        """Raises `UserError` for a metric that is not measured; warns of test metrics."""
        if stop.metric not in self.keys:
            hint = did_you_mean(stop.metric, self.keys)
            raise UserError(f"unknown metric {stop.metric!r}{hint}")
        if stop.select == "test_as_released":
            self._notice(
                f"warning: {stop.metric} chooses the round that it is reported for, as some "
                "released code does: results are too good, and say so"
            )

    def __call__(
        self,
        state: ServerState,
        clients: Clients,
        fixed: Fixed,
        *,
        is_final: bool = True,
        round: int = 0,
    ) -> Scores:
        """Metrics by key, `test/ndcg@10`, and each client's test metrics `[N]`.

        State, store and data lie as the placement puts them. While a run trains, fewer people
        may be asked, and nobody's lists are made: they take longer than all the rest. Where
        everybody was asked and there are no lists, the final evaluation is not made again.

        Args:
          state: the server's.
          clients: the store.
          fixed: frozen parameters and data.
          is_final: whether it is the one that is reported.
          round: that state and store are of; 0 where that is not known.
        """
        if round and is_final and self._asks_alike and self._newest[0] == round:
            return self._newest[1]
        metrics: dict[str, float] = {}
        evaluations = self.evaluations(state, clients, fixed, is_final=is_final)
        for split, evaluation in evaluations.items():
            metrics |= {f"{split}/{name}": value for name, value in evaluation.metrics.items()}
            if evaluation.num_non_finite:
                self._notice(
                    f"warning: {evaluation.num_non_finite} of {evaluation.num_clients} clients "
                    f"have scores that are not finite; they {self._counted} ({split})"
                )
        tested = evaluations["test"]
        self.is_lost = tested.num_non_finite == tested.num_clients
        self._newest = round, (metrics, tested.per_client)
        return self._newest[1]

    def evaluations(
        self, state: ServerState, clients: Clients, fixed: Fixed, *, is_final: bool = True
    ) -> dict[str, Evaluation]:
        """One evaluation for each split; two for a method with own item parameters.

        Where clients rank, the final test also lists the best items of those who hold out a test
        item, for `coverage@10` and its like.
        """
        sets = self._sets if is_final else self._sets_in_training
        return {
            split + kind: self._with_lists(evaluation)
            for kind, evaluate in self._evaluators.items()
            for split, evaluation in evaluate(state, clients, fixed, sets).items()
        }

    def _with_lists(self, found: Evaluation) -> Evaluation:
        if found.lists is None:
            return found
        of_lists = list_metrics(found.lists, self._consumed, self._plan.at_k)
        return replace(found, metrics=found.metrics | of_lists)


def evaluate(
    algorithm: FederatedAlgorithm,
    data: FederatedData,
    result: HasParameters,
    plan: EvaluationPlan = EvaluationPlan(),
) -> dict[str, Evaluation]:
    """Evaluates what a run left, on any terms.

    Args:
      algorithm: as the run used it.
      data: whose held-out items are asked for.
      result: of `simulate`, of `load_run`, or an opened run.
      plan: cut-offs, candidates, ties.

    Returns:
      An evaluation, with each client's values, by split: `valid` (where there is one) and
      `test`; see `Scorer`.

    Raises:
      UserError: terms that cannot be met.
    """
    placement = Placement(1, data.num_clients)
    scorer = Scorer(Shared(algorithm), data, plan, lambda line: None, placement)
    return scorer.evaluations(result.state, result.clients, Fixed(result.frozen, data.clients))


def held_out_sets(data: FederatedData, plan: EvaluationPlan) -> dict[str, HeldOutSet]:
    """What each split asks of the clients: `valid` where there are such items, and `test`.

    Seen items leave the ranking: training items, and at test the validation items. A held-out
    item that is one of them would stand out for being ranked at all, and is not asked about.
    Where the plan ranks seen items, all stay. What a model reads as a client's history is its
    training events in both; at test with its validation events behind them if the plan says so.

    Raises:
      UserError: values are to be predicted and there are none, or labels are not 0 or 1.
    """
    removes = plan.seen_items == "removed"
    split = data.unseen[0] if removes else data.split
    candidates, train, valid = _candidates(data, plan), split.train, data.split.valid.items

    def held_out_set(name: str, held: HeldOut, *seen: npt.NDArray[np.int32]) -> HeldOutSet:
        offsets, items = item_lists(
            train.users, train.items, train.num_users, train.num_items, seen
        )
        if not removes:
            offsets, items = np.zeros_like(offsets), items[:0]
        among = jnp.asarray(candidates[name]) if candidates else None
        values = None if plan.task == "ranking" else jnp.asarray(_values(data, plan.task, held))
        return HeldOutSet(
            jnp.asarray(held.items), jnp.asarray(offsets), jnp.asarray(items), among, values
        )

    sets = {}
    if (split.valid.items < data.num_items).any():
        sets["valid"] = held_out_set("valid", split.valid)
    test = held_out_set("test", split.test, valid)
    if plan.task == "ranking":
        test = test._replace(is_listed=(test.targets < data.num_items).any(axis=1))
    if plan.history == "train_and_valid":
        test = test._replace(later=later_events(data, [data.split.valid]))
    return sets | {"test": test}


def refuse_unread(algorithm: FederatedAlgorithm, data: FederatedData, plan: EvaluationPlan) -> None:
    """Refuses validation events to be read at test where nobody reads them.

    Raises:
      UserError: the model reads no history, or no client that is tested has such events.
    """
    if plan.history == "train":
        return
    if not algorithm.model.needs_history:
        raise UserError(
            "evaluate.history: 'train_and_valid' is for models that read a client's history when "
            "they score, and this one reads none; set it to train"
        )
    valid, test = data.split.valid, data.split.test
    is_test = (test.items < data.num_items).any(axis=1)
    if valid.events is None or not np.isin(valid.events.users, np.flatnonzero(is_test)).any():
        raise UserError(
            f"evaluate.history: 'train_and_valid', and no client of {data.name} that holds out a "
            "test item has a validation item; set it to train, or choose another split.validation"
        )


def _tell_dropped(data: FederatedData, notice: Callable[[str], None]) -> None:
    for split, num in data.unseen[1].items():
        if num:
            notice(
                f"{data.name}: {num} held-out items ({split}) are not asked about: their clients "
                "have seen them; --evaluate.seen_items ranked ranks seen items too"
            )


def _values(data: FederatedData, task: str, held: HeldOut) -> npt.NDArray[np.float32]:
    """The values of held-out items `[N, R]`."""
    if held.values is None:
        raise UserError(f"{data.name}: held-out items have no values; evaluate a ranking")
    known = held.values[held.items < data.num_items]
    if task == "label" and (is_other := ~np.isin(known, (0, 1))).any():
        raise UserError(
            f"{data.name}: task 'label' needs values of 0 or 1, and a held-out item has "
            f"{known[is_other][0]:g}; evaluate task 'rating' or 'ranking'"
        )
    return held.values


def _candidates(
    data: FederatedData, plan: EvaluationPlan
) -> dict[str, npt.NDArray[np.int32]] | None:
    """What held-out items are ranked among, by split; `None` for the whole catalogue."""
    if plan.candidates == "full" or plan.task != "ranking":
        return None
    if plan.candidates == "held_out":
        if data.split.held_items is None:
            raise UserError(
                "evaluate.candidates: 'held_out' are items that are held out whole; set "
                "split.holdout to items, or choose full or uni99"
            )
        return {
            name: np.flatnonzero(is_held).astype(np.int32)
            for name, is_held in data.split.held_items.items()
        }
    is_known = data.exclude == "heldout_and_candidates" and not data.split.candidates
    if plan.candidates == "uni99" and is_known and plan.candidates_seed != data.candidates_seed:
        raise UserError(
            f"training negatives avoid the candidates of seed {data.candidates_seed}, not of "
            f"{plan.candidates_seed}: rank among the same ones"
        )
    return candidate_lists(data.split, plan.candidates, plan.candidates_seed)


class Programs:
    """What an evaluation runs, shared with other runs of its structure: encode, then ask."""

    def __init__(
        self, shared: Shared, placement: Placement, plan: EvaluationPlan, kind: str = ""
    ) -> None:
        """Compiles nothing yet.

        Args:
          shared: the programs of the algorithm.
          placement: where clients live.
          plan: whose question is put.
          kind: `_global` asks for what is left without a client's own item parameters.
        """
        question, name = plan.question, (placement, plan.task, plan.at_k, plan.score_ties)

        def of(algorithm: FederatedAlgorithm) -> FederatedAlgorithm:
            return without_own(algorithm) if kind else algorithm

        def ask(algorithm: FederatedAlgorithm) -> Asker:
            return _where_they_live(placement, asker(of(algorithm), question))

        def encode(algorithm: FederatedAlgorithm) -> Callable[[Part, Part, Part], PyTree]:
            side = encodes_once(of(algorithm))
            assert side is not None
            return side.encode

        self.encode = ("encode", kind), encode
        self.ask = ("ask", kind, *name), ask
        self.is_encoded = encodes_once(of(shared.algorithm)) is not None


def _asking(shared: Shared, placement: Placement, plan: EvaluationPlan, kind: str) -> Asker:
    """Puts the plan's question to every client."""
    programs = Programs(shared, placement, plan, kind)

    def ask(state: ServerState, clients: Clients, fixed: Fixed, splits: Splits) -> dict[str, Found]:
        encoded = None
        if programs.is_encoded:  # once, on one device
            parts = placement.on_one((state.shared, fixed.frozen, state.extra))
            encoded = placement.everywhere(shared.call(*programs.encode, *parts))
        found = shared.call(*programs.ask, state, clients, fixed, splits, encoded)
        answered: dict[str, Found] = jax.tree.map(placement.undeal, jax.device_get(found))
        return answered

    return ask


def _where_they_live(placement: Placement, ask: Asker) -> Asker:
    """Asks every client on the device that holds it, all devices at once."""
    if placement.num_devices == 1:
        return ask

    def ask_own(
        state: ServerState, clients: Clients, fixed: Fixed, splits: Splits, encoded: PyTree
    ) -> dict[str, Found]:
        return ask(state, clients, Fixed(fixed.frozen, own(fixed.data)), splits, encoded)

    spread: Asker = over_devices(
        ask_own,
        placement.num_devices,
        in_specs=(EVERYWHERE, BY_CLIENT, FIXED_SPECS, BY_CLIENT, EVERYWHERE),
        out_specs=BY_CLIENT,
    )
    return spread


def laid_out(
    placement: Placement, sets: dict[str, HeldOutSet], people: Ids, num_items: int
) -> dict[str, HeldOutSet]:
    """What some people are asked, where they live."""
    return {
        split: _spread(placement, only(held_out, people, num_items))
        for split, held_out in sets.items()
    }


def _spread(placement: Placement, held_out: HeldOutSet) -> HeldOutSet:
    """Each device's own held-out items, one device behind another.

    Padding repeats the last client, with nothing seen.
    """
    if placement.num_devices == 1:
        return held_out
    targets, offsets, seen, among, *by_client = jax.tree.map(np.asarray, held_out)
    if among is not None:  # one list for everybody, or one each
        among = np.tile(among, placement.num_devices) if among.ndim == 1 else placement.deal(among)
    dealt = jax.tree.map(placement.deal, by_client)
    spread = HeldOutSet(
        placement.deal(targets),
        placement.split_offsets(offsets).ravel(),
        placement.split_ragged(seen, offsets).ravel(),
        among,
        *dealt,
    )
    placed: HeldOutSet = placement.by_client(spread)
    return placed
