"""The federated loop: rounds, evaluation, checkpoints, and when to end."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from fedjax_rec.base import (
    Clients,
    CohortSampler,
    FederatedAlgorithm,
    Fixed,
    Key,
    Part,
    ServerState,
)
from fedjax_rec.cpu import missing_settings_line, pin_threads
from fedjax_rec.data import FederatedData
from fedjax_rec.data.reading import print_notice
from fedjax_rec.errors import DivergedError, UserError
from fedjax_rec.evaluation import Communication, Payload, spread, worst_keys
from fedjax_rec.evaluation.communication import received, refuse_payload
from fedjax_rec.program_cache import keep_programs
from fedjax_rec.sampling import AllClients
from fedjax_rec.simulation.asked import Asked
from fedjax_rec.simulation.checkpoint import Checkpointer
from fedjax_rec.simulation.compilation import cuda_warning
from fedjax_rec.simulation.devices import Placement
from fedjax_rec.simulation.engine import build
from fedjax_rec.simulation.execution import Execution
from fedjax_rec.simulation.identity import Facts, digests, identity_of, rates_of
from fedjax_rec.simulation.interrupts import interruptible
from fedjax_rec.simulation.lapack import MayHangError
from fedjax_rec.simulation.locking import only_run_in
from fedjax_rec.simulation.loggers import OpenLogger
from fedjax_rec.simulation.people import settled
from fedjax_rec.simulation.plans import (
    CheckpointPlan,
    EarlyStop,
    EvaluationPlan,
    Parameters,
    PrivacyPlan,
    Report,
    Result,
    protocol_of,
)
from fedjax_rec.simulation.programs import Shared
from fedjax_rec.simulation.progress import Progress
from fedjax_rec.simulation.records import write_json, write_per_client
from fedjax_rec.simulation.rounds import draw_cohorts, host_seed, stretch_ends
from fedjax_rec.simulation.scoring import Scorer, refuse_unread
from fedjax_rec.simulation.start import Start
from fedjax_rec.simulation.storage import (
    refuse_another,
    restore_latest,
)
from fedjax_rec.simulation.watchdog import Watchdog
from fedjax_rec.simulation.weights import with_weights
from fedjax_rec.simulation.yardstick import below_popularity, patience_floor, popularity_metrics


def simulate(
    algorithm: FederatedAlgorithm,
    data: FederatedData,
    *,
    key: Key,
    rounds: int,
    sampler: CohortSampler | None = None,
    evaluation: EvaluationPlan = EvaluationPlan(),
    stop: EarlyStop | None = None,
    checkpoint: CheckpointPlan = CheckpointPlan(),
    payload: Payload = "table",
    output: Path | None = None,
    resume: bool = True,
    execution: Execution = Execution(num_devices=0),
    privacy: PrivacyPlan = PrivacyPlan(),
    start: Start | None = None,
    report: Callable[[Report], None] = lambda report: None,
    notice: Callable[[str], None] = print_notice,
    config: str = "",
    plugins: Mapping[str, str] = MappingProxyType({}),
    loggers: Sequence[OpenLogger] = (),
) -> Result:
    """Trains an algorithm on a data set, round after round, and evaluates it.

    Args:
      algorithm: the filled slots.
      data: training histories and held-out items.
      key: the root of all randomness; cohorts are drawn from it too.
      rounds: server updates to make, at least 1.
      sampler: who takes part, of `data.training_clients`; all of them by default.
      evaluation: when, and on what terms.
      stop: when to stop early; what is returned is then the best round by its metric.
      checkpoint: when to save, where there is an `output`.
      payload: what a real client would send, for the bytes that are reported.
      output: a folder for `config.toml`, `metrics.jsonl`, `checkpoints/`, `summary.json` and
        `per_client.npz`; nothing is written without. One that holds another run is refused.
      resume: go on from the folder's newest whole checkpoint; False starts over.
      execution: how rounds are run; never changes results. A program that could hang on
        several devices is run on one.
      privacy: where noise that the aggregate adds must end.
      start: shared dense parameters to begin with, in place of drawn ones: see `start_from`.
      report: called after each stretch of rounds.
      notice: gets lines for the user; they go to standard error by default.
      config: the configuration that all this was built from, as TOML; "" describes the rest.
      plugins: name -> SHA-256 of others' code that takes part.
      loggers: open what gets each line of `metrics.jsonl` as it comes; they need an `output`.

    Returns:
      What the run leaves. With an `output`, Ctrl-C ends the stretch, saves and returns.

    Raises:
      UserError: a request that cannot be met.
      DivergedError: no client of a round sent anything finite.

    >>> import jax
    >>> from fedjax_rec.baselines import popularity
    >>> from fedjax_rec.data import load
    >>> data = load("synthetic", num_users=30, num_items=40, mean_events=8)
    >>> result = simulate(popularity(data.num_items), data, key=jax.random.key(0), rounds=1)
    >>> 0 <= result.summary["metrics"]["test/ndcg@10"] <= 1
    True
    """
    if rounds < 1:
        raise UserError(f"rounds must be at least 1, got {rounds}")
    if not isinstance(data, FederatedData):
        raise UserError(
            f"simulate: data are {type(data).__name__}, not FederatedData, as load or load_events "
            "of fedjax_rec.data make them"
        )
    if loggers and output is None:
        raise UserError("simulate: loggers write beside the run: give it an output")
    asked = Asked(
        algorithm=algorithm,
        data=data,
        key=key,
        rounds=rounds,
        sampler=sampler or AllClients(len(data.training_clients)),
        evaluation=settled(evaluation, data),
        stop=stop,
        checkpoint=checkpoint,
        payload=payload,
        output=output,
        resume=resume,
        execution=execution,
        privacy=privacy,
        start=start,
        report=report,
        notice=notice,
        config=config,
        plugins=plugins,
        loggers=loggers,
    )
    with only_run_in(output) if output else nullcontext():
        try:
            return _simulate(asked)
        except MayHangError as error:
            notice(f"on one device: {str(error).partition(':')[0]}")
            return _simulate(replace(asked, execution=replace(execution, num_devices=1)))


def _simulate(asked: Asked) -> Result:
    algorithm, data, key, rounds = asked.algorithm, asked.data, asked.key, asked.rounds
    evaluation, stop, notice, output = asked.evaluation, asked.stop, asked.notice, asked.output
    protocol_of(data.protocol, evaluation, stop)  # refuses what is no protocol
    refuse_unread(algorithm, data, evaluation)
    refuse_payload(algorithm, asked.payload)
    promise = asked.promise
    promise.check()
    placement = Placement.of(asked.execution, data.num_clients)
    keep_programs()
    programs = Shared(algorithm, notice)
    scorer = Scorer(programs, data, evaluation, notice, placement)
    if stop:
        scorer.watch(stop)
    for line in filter(None, (missing_settings_line(), cuda_warning())):
        notice(line)
    execution = replace(asked.execution, num_devices=placement.num_devices)
    given = asked.given
    state, clients, frozen = _initial(programs, data, key, given)
    asked.refuse_other_base(frozen)
    fixed = Fixed(frozen, data.clients)
    down, up = received(algorithm, state), jax.eval_shape(algorithm.template, state.shared)
    progress = Progress(Communication(asked.payload))
    floor = patience_floor(data, evaluation, stop)
    intervals = [evaluation.every, *([asked.checkpoint.every] if output else [])]
    identity = asked.identity((state, clients), frozen)
    watchdog = Watchdog(notice, jax.devices()[: placement.num_devices])
    storage = asked.storage(identity)
    try:
        restored = storage.restore((state, clients))
        if restored:
            (state, clients), progress = restored
        state, clients = placement.everywhere(state), placement.spread(clients)
        placed = placement.spread_fixed(fixed)
        first_round, started = progress.round, time.monotonic()
        asked.tell_start(first_round if restored else None, state)
        rounds = promise.last_round(progress.ledger, first_round, rounds, notice)
        with interruptible(is_on=output is not None) as interrupt:
            for end in stretch_ends(first_round, rounds, intervals):
                if progress.is_stopped or interrupt.is_set():
                    break
                cohorts = draw_cohorts(
                    asked.sampler, host_seed(key), progress.round, end, data.training_clients
                )
                cohorts = placement.everywhere(cohorts)
                with progress.clock("compile"):
                    program = _stretch(programs, execution, state, clients, cohorts, placed)
                with progress.clock("train"), watchdog.waiting_for(f"rounds up to {end}"):
                    state, clients, info = program(state, clients, cohorts, placed)
                    info = jax.device_get(info)
                pin_threads()
                num_before = progress.client_updates
                progress.ledger = promise.after(progress.ledger, end - progress.round)
                lines = progress.add_rounds(info, down, up, notice)
                _refuse_lost(progress.lost_round, identity, "update")
                is_best, cost = False, None
                if end % evaluation.every == 0 or end == rounds:
                    with progress.clock("evaluate"), watchdog.waiting_for("the evaluation"):
                        metrics, _ = scorer(state, clients, placed, is_final=False, round=end)
                    _refuse_lost(end * scorer.is_lost, identity, "score")
                    lines[-1] |= metrics
                    cost = promise.epsilon(progress.ledger)
                    is_best = stop is not None and progress.judge(stop, metrics, floor)
                whole = partial(placement.whole, state, clients)
                is_last = end == rounds or progress.is_stopped or interrupt.is_set()
                storage.append(lines)
                storage.save(whole, progress, is_best=is_best, is_last=is_last)
                num_trained = progress.client_updates - num_before
                seconds = time.monotonic() - started
                asked.report(Report(end, rounds, seconds, num_trained, lines[-1], cost))
            is_interrupted = interrupt.is_set() and progress.round < rounds
        reported = progress.reported_round
        state, clients = placement.whole(state, clients)
        if reported != progress.round:
            state, clients = storage.load_best((state, clients), progress)
    finally:
        storage.close()
    with watchdog.waiting_for("the last evaluation"):
        parts = placement.everywhere(state), placement.spread(clients)
        metrics, per_client = scorer(*parts, placed, round=reported)
    summary = _summary(asked, progress, identity, metrics, per_client)
    summary["evaluation"] = scorer.num_people
    if output and not is_interrupted:
        if asked.keeps_per_client:
            write_per_client(output, per_client)
        write_json(output / "summary.json", summary)
    return Result(
        storage.lines, summary, per_client, state, clients, frozen, is_interrupted, first_round
    )


def _summary(
    asked: Asked,
    progress: Progress,
    identity: Facts,
    metrics: dict[str, float],
    per_client: dict[str, npt.NDArray[np.float32]],
) -> dict[str, Any]:
    """The content of `summary.json`."""
    popular, below = _popularity(asked, metrics)
    return {
        "metrics": metrics,
        "popularity": popular,
        "spread": {
            f"test/{key}": spread(per_client[key]) for key in worst_keys(per_client).values()
        },
        "protocol": asked.protocol,
        "privacy": asked.promise.report(progress.ledger).to_dict(),
        "notes": list(filter(None, (below,))),
        **progress.summary(),
        "reported_round": progress.reported_round,
        "stop": asked.stop
        and progress.stopping(asked.stop, patience_floor(asked.data, asked.evaluation, asked.stop)),
        "num_clients": asked.data.num_clients,
        "num_items": asked.data.num_items,
        "data": identity["data"],
        "identity": digests(identity),
        "plugins": dict(asked.plugins),
        "start": asked.start and {"run": str(asked.start.source), **asked.start.facts},
    }


def _refuse_lost(round: int, identity: Facts, what: str) -> None:
    """Ends a run that is lost, before it writes anything of it.

    Args:
      round: in which nobody's update or score was finite; 0 for a run that is not lost.
      identity: of the run, whose learning rates are named.
      what: is not finite.
    """
    if round:
        rates = ", ".join(rates_of(identity)) or "the learning rates"
        raise DivergedError(
            f"all clients diverged in round {round}: no {what} is finite, and the run has "
            f"ended; lower {rates}"
        )


def _popularity(asked: Asked, metrics: dict[str, float]) -> tuple[dict[str, float], str]:
    """Popularity's figures beside a run's own, and the line that tells where they are better."""
    if asked.evaluation.task != "ranking":
        return {}, ""
    popular = popularity_metrics(asked.data, asked.evaluation)
    if line := below_popularity(metrics, popular):
        asked.notice(line)
    return popular, line


def load_run(
    output: Path, algorithm: FederatedAlgorithm, data: FederatedData, *, key: Key
) -> Parameters:
    """The parameters that a run reports, from its folder.

    Args:
      output: the run's folder.
      algorithm: as the run built it.
      data: as the run read it.
      key: the run's root key.

    Returns:
      `(state, clients, frozen)` of the best round where the run chose one by validation,
      else of the newest.

    Raises:
      UserError: there is no whole checkpoint, or it was made of something else.
    """
    state, clients, frozen = _initial(Shared(algorithm), data, key)
    checkpointer = Checkpointer(output / "checkpoints")
    try:
        identity = identity_of(algorithm, data, key, (state, clients), frozen)
        refuse_another(checkpointer, output, identity)
        restored = restore_latest(checkpointer, (state, clients), notice=lambda line: None)
        if restored is None:
            raise UserError(f"{output} holds no checkpoint: run it first")
        (state, clients), progress = restored
        if progress.reported_round != progress.round:
            (state, clients), _ = checkpointer.restore(progress.reported_round, (state, clients))
    finally:
        checkpointer.close()
    return Parameters(state, clients, frozen)


def _initial(
    shared: Shared,
    data: FederatedData,
    key: Key,
    given: Mapping[str, npt.NDArray[Any]] = MappingProxyType({}),
) -> tuple[ServerState, Clients, Part]:
    num_clients = data.num_clients

    def make(algorithm: FederatedAlgorithm) -> Callable[..., Any]:
        return lambda key, given: build(algorithm).init(key, num_clients, given)

    state, clients, drawn = shared.call(("init", num_clients), make, key, dict(given))
    return state, clients, with_weights(shared.algorithm.model, drawn)


def _stretch(shared: Shared, execution: Execution, *args: Any) -> Callable[..., Any]:
    """The program of a stretch of rounds; in debugging, the functions themselves."""
    if not execution.is_debug:
        return shared.rounds(execution, *args)

    def unjitted(*args: Any) -> Any:
        with jax.disable_jit():
            return build(shared.algorithm, execution).rounds(*args)

    return unjitted
