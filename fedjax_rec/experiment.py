"""From a configuration to a run: the only bridge between `config` and the library."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax

from fedjax_rec.assembly import (
    aggregate_transform,
    build_algorithm,
    check_settings,
    check_unused,
    find_factory,
    own_settings,
    parameters_of,
    refuse_negatives,
)
from fedjax_rec.base import (
    CohortSampler,
    FederatedAlgorithm,
)
from fedjax_rec.config import RunConfig, to_toml
from fedjax_rec.config.schema import CohortConfig, StopConfig
from fedjax_rec.data import FederatedData, Silos, load, load_records, synthetic
from fedjax_rec.data.reading import print_notice
from fedjax_rec.errors import UserError, did_you_mean
from fedjax_rec.evaluation import is_better
from fedjax_rec.optimizers import named_optimizer
from fedjax_rec.sampling import AllClients, Rotating, TruncatedPoisson, Uniform
from fedjax_rec.simulation import (
    CheckpointPlan,
    EarlyStop,
    EvaluationPlan,
    Execution,
    Report,
    Result,
    simulate,
)
from fedjax_rec.simulation.plans import SPLIT_OF

SIZES = ("num_users", "num_items", "mean_events", "seed")
"""Options of generated data; 0 stands for the generator's own default."""


@dataclass(frozen=True)
class Experiment:
    """Everything a run is made of.

    Attributes:
      config: what it was built from.
      data: clients and held-out items.
      algorithm: the filled slots.
      sampler: who takes part in a round.
      evaluation: what is measured, and how often.
      stop: when training ends early; `None`: never.
      checkpoint: when the run is saved.
      execution: how the simulation is run.
    """

    config: RunConfig
    data: FederatedData
    algorithm: FederatedAlgorithm
    sampler: CohortSampler
    evaluation: EvaluationPlan
    stop: EarlyStop | None
    checkpoint: CheckpointPlan
    execution: Execution

    @property
    def key(self) -> jax.Array:
        """Root of every random number."""
        return jax.random.key(self.config.seed)

    def run(
        self,
        output: Path,
        *,
        resume: bool,
        report: Callable[[Report], None],
        notice: Callable[[str], None],
    ) -> Result:
        """Simulates the run in a folder.

        Args:
          output: where metrics and checkpoints go.
          resume: whether to go on from the last checkpoint there.
          report: gets a report after each stretch of rounds.
          notice: gets messages of one line.
        """
        return simulate(
            self.algorithm,
            self.data,
            key=self.key,
            rounds=self.config.rounds,
            sampler=self.sampler,
            evaluation=self.evaluation,
            stop=self.stop,
            checkpoint=self.checkpoint,
            payload=self.config.communication.payload,
            output=output,
            resume=resume,
            execution=self.execution,
            report=report,
            notice=notice,
            config=to_toml(self.config),
        )


def resolve(config: RunConfig) -> RunConfig:
    """The configuration with every default of algorithm and data written out.

    A run that is read back does not depend on what the defaults are by then.

    Raises:
      UserError: an unknown algorithm or setting.

    >>> from fedjax_rec.config import load_preset
    >>> resolve(load_preset("synthetic/fedmf")).algorithm.settings["local_epochs"]
    1
    """
    name, data = config.algorithm.name, config.data
    factory = find_factory(name)
    settings = own_settings(factory) | check_settings(name, factory, config.algorithm.settings)
    if data.name == "synthetic":
        defaults = {
            size: parameter.default
            for size, parameter in inspect.signature(synthetic).parameters.items()
            if size in SIZES and not getattr(data, size)
        }
        data = replace(data, **defaults)
    return replace(config, data=data, algorithm=replace(config.algorithm, settings=settings))


def build(config: RunConfig, notice: Callable[[str], None] = print_notice) -> Experiment:
    """Builds all parts of a run; what is wrong is told before data are read, if possible.

    Args:
      config: validated (`config.from_dict`).
      notice: gets the terms of a data set when it is first used; standard error by default.

    Raises:
      UserError: an unknown algorithm, setting, data set, metric or optimizer, or parts
        that do not go together.
    """
    factory = find_factory(config.algorithm.name)
    settings = check_settings(config.algorithm.name, factory, config.algorithm.settings)
    check_unused(config, factory)
    if config.split.holdout == "users" and "data" in parameters_of(factory):
        raise UserError(
            f"split.holdout: {config.algorithm.name} trains on everybody's events, and 'users' "
            "holds some users out; choose another hold-out, such as ratio"
        )
    evaluation = EvaluationPlan(
        every=config.evaluate.every,
        task=config.evaluate.task,
        at_k=config.evaluate.at_k,
        candidates=config.evaluate.candidates,
        candidates_seed=config.evaluate.candidates_seed,
        score_ties=config.evaluate.score_ties,
        seen_items=config.evaluate.seen_items,
        clients=config.evaluate.clients,
        training_clients=config.evaluate.training_clients,
        clients_seed=config.evaluate.clients_seed,
    )
    stop = early_stop(config.stop, evaluation)
    data = load_data(config, notice)
    num_training = len(data.training_clients)
    sampler = build_sampler(config.cohort, num_training)
    parts: dict[str, Any] = {
        "num_clients": num_training,
        "num_other": data.clients.num_other,
        "data": data.clients,
        "features": data.features,
        "aggregate": lambda config: aggregate_transform(
            config.aggregate, sampler.event.expected_size
        ),
        "server_optimizer": lambda config: named_optimizer(
            config.server.optimizer, config.server.learning_rate, config.server.momentum
        ),
    }
    parts = {name: part for name, part in parts.items() if name in parameters_of(factory)}
    if parts.get("features", ()) is None:
        raise UserError(
            f"algorithm {config.algorithm.name}: reads features of records, which {data.name} has "
            "none of as it is; set silos.number"
        )
    try:
        algorithm = build_algorithm(config, factory, data.clients.num_items, settings, parts)
    except ValueError as error:
        raise UserError(f"algorithm {config.algorithm.name}: {error}") from error
    if config.silos.number:
        refuse_negatives(config.algorithm.name, algorithm)
    return Experiment(
        config=config,
        data=data,
        algorithm=algorithm,
        sampler=sampler,
        evaluation=evaluation,
        stop=stop,
        checkpoint=CheckpointPlan(
            every=config.checkpoint.every,
            seconds=config.checkpoint.seconds,
            keep=config.checkpoint.keep,
        ),
        execution=Execution(
            executor=config.execution.executor,
            chunk_size=config.execution.chunk_size,
            num_devices=config.execution.num_devices,
            is_debug=config.execution.debug,
        ),
    )


def load_data(config: RunConfig, notice: Callable[[str], None] = print_notice) -> FederatedData:
    """Obtains, reads and splits the data of a configuration."""
    if config.silos.number:
        return _load_records(config, notice)
    sizes = {name: getattr(config.data, name) for name in SIZES if getattr(config.data, name)}
    return load(
        config.data.name,
        path=config.data.path,
        holdout=config.split.holdout,
        validation=config.split.validation,
        ties=config.split.ties,
        split_seed=config.split.seed,
        share=config.split.share,
        max_events=config.split.max_events,
        repeats=config.split.repeats,
        exclude=config.negatives.exclude,
        candidates_seed=config.evaluate.candidates_seed,
        notice=notice,
        **sizes,
    )


def _load_records(config: RunConfig, notice: Callable[[str], None]) -> FederatedData:
    silos, split = config.silos, config.split
    rules = Silos(
        number=silos.number,
        size=silos.size,
        num_test=silos.test,
        alpha=silos.alpha,
        is_pooled=silos.exchange == "records",
        holdout=split.holdout,
        validation=split.validation,
        seed=split.seed,
    )
    return load_records(
        config.data.name,
        rules,
        positive_from=silos.positive_from,
        repeats=split.repeats,
        path=config.data.path,
        notice=notice,
    )


def build_sampler(config: CohortConfig, num_clients: int) -> CohortSampler:
    """Who takes part in a round, of the clients that may train.

    Raises:
      UserError: more clients than there are.
    """
    try:
        if config.sampler == "uniform":
            return Uniform(num_clients, config.size)
        if config.sampler == "rotating":
            return Rotating(num_clients, config.size)
        if config.sampler == "poisson":
            return TruncatedPoisson(num_clients, config.size)
    except ValueError as error:
        raise UserError(f"cohort.size: {error}") from error
    return AllClients(num_clients)


def early_stop(config: StopConfig, evaluation: EvaluationPlan) -> EarlyStop | None:
    """When training ends early; `None` when it never does.

    Raises:
      UserError: an unknown metric, one that is not measured on what `select` names, or a
        target that it cannot reach.
    """
    is_used = bool(config.patience or config.target or config.select == "test_as_released")
    known = [f"{SPLIT_OF[config.select]}/{key}" for key in evaluation.question.keys]
    if config.metric not in known and (is_used or config != StopConfig()):
        hint = did_you_mean(config.metric, known)
        items = " on test items" if config.select == "test_as_released" else ""
        raise UserError(f"stop.metric: {config.metric!r} is not measured{items}{hint}")
    if config.target > 1 and is_better(config.metric, 1, 0):
        raise UserError(f"stop.target: {config.metric} is at most 1, got {config.target}")
    if not is_used:
        return None
    return EarlyStop(config.metric, config.patience, config.target or None, config.select)
