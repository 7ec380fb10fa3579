"""The federated loop: rounds, evaluation, checkpoints, and when to end."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import jax

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
from fedjax_rec.errors import UserError
from fedjax_rec.evaluation import Communication, Payload, spread, worst_keys
from fedjax_rec.evaluation.communication import received
from fedjax_rec.program_cache import keep_programs
from fedjax_rec.sampling import AllClients
from fedjax_rec.simulation.checkpoint import Checkpointer
from fedjax_rec.simulation.compilation import cuda_warning
from fedjax_rec.simulation.devices import Placement
from fedjax_rec.simulation.engine import build
from fedjax_rec.simulation.execution import Execution
from fedjax_rec.simulation.plans import (
    CheckpointPlan,
    EarlyStop,
    EvaluationPlan,
    Report,
    Result,
    protocol_of,
)
from fedjax_rec.simulation.programs import Shared
from fedjax_rec.simulation.progress import Progress
from fedjax_rec.simulation.rounds import draw_cohorts, host_seed, stretch_ends
from fedjax_rec.simulation.scoring import Scorer
from fedjax_rec.simulation.storage import (
    FolderStorage,
    MemoryStorage,
    Storage,
    restore_latest,
)


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
    report: Callable[[Report], None] = lambda report: None,
    notice: Callable[[str], None] = print_notice,
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
      output: a folder for `metrics.jsonl` and `checkpoints/`; nothing is written without.
      resume: go on from the folder's newest whole checkpoint; False starts over.
      execution: how rounds are run; never changes results.
      report: called after each stretch of rounds.
      notice: gets lines for the user; they go to standard error by default.

    Returns:
      What the run leaves. With an `output`, Ctrl-C ends the stretch, saves and returns.

    Raises:
      UserError: a request that cannot be met.

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
    sampler = sampler or AllClients(len(data.training_clients))
    protocol = protocol_of(data.protocol, evaluation, stop)
    placement = Placement.of(execution, data.num_clients)
    keep_programs()
    programs = Shared(algorithm, notice)
    scorer = Scorer(programs, data, evaluation, notice, placement)
    if stop:
        scorer.watch(stop)
    for line in filter(None, (missing_settings_line(), cuda_warning())):
        notice(line)
    execution = replace(execution, num_devices=placement.num_devices)
    state, clients, frozen = _initial(programs, data, key)
    fixed = Fixed(frozen, data.clients)
    down, up = received(algorithm, state), jax.eval_shape(algorithm.template, state.shared)
    progress = Progress(Communication(payload))
    intervals = [evaluation.every, *([checkpoint.every] if output else [])]
    storage: Storage = (
        FolderStorage(output, checkpoint, resume=resume, notice=notice)
        if output
        else MemoryStorage()
    )
    try:
        restored = storage.restore((state, clients))
        if restored:
            (state, clients), progress = restored
        state, clients = placement.everywhere(state), placement.spread(clients)
        placed = placement.spread_fixed(fixed)
        first_round, started = progress.round, time.monotonic()
        if output:
            notice(
                f"going on from round {first_round} of {rounds}"
                if restored
                else "starting at round 0"
            )
        with _interruptible(is_on=output is not None) as interrupt:
            for end in stretch_ends(first_round, rounds, intervals):
                if progress.is_stopped or interrupt.is_set():
                    break
                cohorts = draw_cohorts(
                    sampler, host_seed(key), progress.round, end, data.training_clients
                )
                cohorts = placement.everywhere(cohorts)
                with progress.clock("compile"):
                    program = _stretch(programs, execution, state, clients, cohorts, placed)
                with progress.clock("train"):
                    state, clients, info = program(state, clients, cohorts, placed)
                    info = jax.device_get(info)
                pin_threads()
                num_before = progress.client_updates
                lines = progress.add_rounds(info, down, up, notice)
                is_best = False
                if end % evaluation.every == 0 or end == rounds:
                    with progress.clock("evaluate"):
                        metrics, _ = scorer(state, clients, placed)
                    lines[-1] |= metrics
                    is_best = stop is not None and progress.judge(stop, metrics)
                whole = partial(placement.whole, state, clients)
                is_last = end == rounds or progress.is_stopped or interrupt.is_set()
                storage.append(lines)
                storage.save(whole, progress, is_best=is_best, is_last=is_last)
                num_trained = progress.client_updates - num_before
                seconds = time.monotonic() - started
                report(Report(end, rounds, seconds, num_trained, lines[-1]))
            is_interrupted = interrupt.is_set() and progress.round < rounds
        reported = progress.reported_round
        state, clients = placement.whole(state, clients)
        if reported != progress.round:
            state, clients = storage.load_best((state, clients), progress)
    finally:
        storage.close()
    metrics, per_client = scorer(placement.everywhere(state), placement.spread(clients), placed)
    summary = {
        "metrics": metrics,
        "spread": {
            f"test/{key}": spread(per_client[key]) for key in worst_keys(per_client).values()
        },
        "protocol": protocol.to_dict(),
        "privacy": None,
        **progress.summary(),
        "reported_round": reported,
        "num_clients": data.num_clients,
        "num_items": data.num_items,
    }
    return Result(
        storage.lines, summary, per_client, state, clients, frozen, is_interrupted, first_round
    )


def load_run(
    output: Path, algorithm: FederatedAlgorithm, data: FederatedData, *, key: Key
) -> tuple[ServerState, Clients, Part]:
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
      UserError: there is no whole checkpoint.
    """
    state, clients, frozen = _initial(Shared(algorithm), data, key)
    checkpointer = Checkpointer(output / "checkpoints")
    try:
        restored = restore_latest(checkpointer, (state, clients), notice=lambda line: None)
        if restored is None:
            raise UserError(f"{output} holds no checkpoint: run it first")
        (state, clients), progress = restored
        if progress.reported_round != progress.round:
            (state, clients), _ = checkpointer.restore(progress.reported_round, (state, clients))
    finally:
        checkpointer.close()
    return state, clients, frozen


def _initial(shared: Shared, data: FederatedData, key: Key) -> tuple[ServerState, Clients, Part]:
    num_clients = data.num_clients

    def make(algorithm: FederatedAlgorithm) -> Callable[[Key], Any]:
        return lambda key: build(algorithm).init(key, num_clients)

    initial: tuple[ServerState, Clients, Part] = shared.call(("init", num_clients), make, key)
    return initial


def _stretch(shared: Shared, execution: Execution, *args: Any) -> Callable[..., Any]:
    """The program of a stretch of rounds; in debugging, the functions themselves."""
    if not execution.is_debug:
        return shared.rounds(execution, *args)

    def unjitted(*args: Any) -> Any:
        with jax.disable_jit():
            return build(shared.algorithm, execution).rounds(*args)

    return unjitted


@contextmanager
def _interruptible(*, is_on: bool) -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second interrupts at once."""
    event = threading.Event()
    if not is_on or threading.current_thread() is not threading.main_thread():
        yield event
        return
    previous = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, previous)
        event.set()

    signal.signal(signal.SIGINT, note)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, previous)
