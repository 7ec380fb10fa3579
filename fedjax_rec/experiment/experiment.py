"""An experiment: everything that a run is made of, built from its configuration."""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import jax

from fedjax_rec.base import (
    CohortSampler,
    FederatedAlgorithm,
)
from fedjax_rec.config import RunConfig, flatten, to_toml
from fedjax_rec.config.schema import PluginRecord
from fedjax_rec.data import FederatedData, synthetic
from fedjax_rec.data.reading import print_notice
from fedjax_rec.experiment.aggregates import checked_aggregate
from fedjax_rec.experiment.assembly import (
    build_algorithm,
    check_settings,
    check_unused,
    find_factory,
    own_settings,
    parts_for,
)
from fedjax_rec.experiment.loading import SIZES, load_data
from fedjax_rec.experiment.private import (
    refuse_unbounded,
    settled,
    with_cohort,
    with_noise,
)
from fedjax_rec.experiment.schedules import build_sampler, early_stop
from fedjax_rec.plugins import plugins_used, refuse_missing
from fedjax_rec.simulation import (
    CheckpointPlan,
    EarlyStop,
    EvaluationPlan,
    Execution,
    PrivacyPlan,
    Report,
    Result,
    Start,
    simulate,
    start_from,
)
from fedjax_rec.simulation.footprint import initial_shapes
from fedjax_rec.simulation.loggers import OpenLogger
from fedjax_rec.simulation.scoring import refuse_unread


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
      privacy: what is promised, where noise is added.
    """

    config: RunConfig
    data: FederatedData
    algorithm: FederatedAlgorithm
    sampler: CohortSampler
    evaluation: EvaluationPlan
    stop: EarlyStop | None
    checkpoint: CheckpointPlan
    execution: Execution
    privacy: PrivacyPlan

    @property
    def key(self) -> jax.Array:
        """Root of every random number."""
        return jax.random.key(self.config.seed)

    @cached_property
    def start(self) -> Start | None:
        """What training begins with; `None`: everything is drawn. A finished run never reads it.

        Raises:
          UserError: there is no such run, or it does not fit this one.
        """
        if not self.config.start.run:
            return None
        start = start_from(self.config.start.run)
        start.taken(initial_shapes(self.algorithm, self.data.num_clients).state)
        return start

    def run(
        self,
        output: Path,
        *,
        resume: bool,
        report: Callable[[Report], None],
        notice: Callable[[str], None],
        loggers: Sequence[OpenLogger] = (),
    ) -> Result:
        """Simulates the run in a folder.

        Args:
          output: where metrics and checkpoints go.
          resume: whether to go on from the last checkpoint there.
          report: gets a report after each stretch of rounds.
          notice: gets messages of one line.
          loggers: open what gets each line of metrics.
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
            privacy=self.privacy,
            start=self.start,
            report=report,
            notice=notice,
            config=to_toml(self.config),
            plugins={plugin.name: plugin.sha256 for plugin in self.config.plugins},
            loggers=loggers,
        )


def resolve(config: RunConfig, notice: Callable[[str], None] = print_notice) -> RunConfig:
    """The configuration with every default of algorithm and data written out.

    A run that is read back does not depend on what the defaults are by then.

    Args:
      config: validated (`config.from_dict`).
      notice: is told what privacy puts in the place of something else.

    Raises:
      UserError: an unknown algorithm or setting.

    >>> from fedjax_rec.config import load_preset
    >>> resolve(load_preset("synthetic/fedmf")).algorithm.settings["local_epochs"]
    1
    """
    refuse_missing(config.plugins, "this configuration")
    config, data = _checked(config, notice), config.data
    if data.name == "synthetic":
        defaults = {
            size: parameter.default
            for size, parameter in inspect.signature(synthetic).parameters.items()
            if size in SIZES and not getattr(data, size)
        }
        data = replace(data, **defaults)
    return replace(config, data=data)


def _recorded_plugins(config: RunConfig) -> tuple[PluginRecord, ...]:
    """What of others' code a run depends on."""
    words = [word for word in flatten(config).values() if isinstance(word, str)]
    return tuple(
        PluginRecord(name=plugin.name, sha256=plugin.sha256) for plugin in plugins_used(words)
    )


def with_settings(config: RunConfig) -> RunConfig:
    """The configuration with the settings of algorithm and transforms checked and written out."""
    name = config.algorithm.name
    factory = find_factory(name)
    checked = check_settings(name, factory, config.algorithm.settings)
    settings = own_settings(factory, checked) | checked
    return replace(
        config,
        algorithm=replace(config.algorithm, settings=settings),
        aggregate=checked_aggregate(config.aggregate),
        plugins=_recorded_plugins(config),
    )


def _checked(config: RunConfig, notice: Callable[[str], None]) -> RunConfig:
    """The configuration with its settings written out, and with what privacy asks for."""
    config = with_settings(config)
    refuse_unbounded(config.algorithm.name, find_factory(config.algorithm.name), config)
    return settled(config, notice)


def build(
    config: RunConfig,
    notice: Callable[[str], None] = print_notice,
    data: FederatedData | None = None,
) -> Experiment:
    """Builds all parts of a run; what is wrong is told before data are read, if possible.

    Args:
      config: validated (`config.from_dict`).
      notice: gets the terms of a data set when it is first used; standard error by default.
      data: those of the configuration, where another run has read them already
        (`loading.same_data`); `None` reads them.

    Raises:
      UserError: an unknown algorithm, setting, data set, metric or optimizer, or parts
        that do not go together.
    """
    refuse_missing(config.plugins, "this configuration")
    config = _checked(config, notice)
    factory, settings = find_factory(config.algorithm.name), config.algorithm.settings
    check_unused(config, factory)
    evaluation = EvaluationPlan(
        every=config.evaluate.every,
        task=config.evaluate.task,
        at_k=config.evaluate.at_k,
        candidates=config.evaluate.candidates,
        candidates_seed=config.evaluate.candidates_seed,
        score_ties=config.evaluate.score_ties,
        seen_items=config.evaluate.seen_items,
        history=config.evaluate.history,
        clients=config.evaluate.clients,
        training_clients=config.evaluate.training_clients,
        clients_seed=config.evaluate.clients_seed,
    )
    stop = early_stop(config.stop, evaluation, is_given=bool(config.is_given("stop")))
    data = data or load_data(config, notice)
    config = with_cohort(config, len(data.training_clients), notice)
    sampler = build_sampler(config.cohort, len(data.training_clients))
    config = with_noise(config, sampler.event, notice)
    parts = parts_for(config, factory, data, sampler.event)
    algorithm = build_algorithm(config, factory, data.clients.num_items, settings, parts)
    refuse_unread(algorithm, data, evaluation)
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
        privacy=PrivacyPlan(
            epsilon=config.privacy.epsilon or math.inf,
            delta=config.privacy.delta,
            unit="silo" if config.silos.number else "user",
            keep_per_client=config.privacy.keep_per_client,
        ),
    )
