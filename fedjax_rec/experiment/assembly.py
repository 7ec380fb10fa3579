"""The algorithm of a configuration: its factory, its settings, aggregate and server."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from fedjax_rec.base import (
    AggregateTransform,
    FederatedAlgorithm,
    SamplingEvent,
    made_from,
    structure_of,
)
from fedjax_rec.baselines import local_only
from fedjax_rec.config import RunConfig
from fedjax_rec.config.schema import Scalar
from fedjax_rec.data import FederatedData
from fedjax_rec.errors import UserError, did_you_mean
from fedjax_rec.experiment.aggregates import (
    aggregate_transform,
    link_numbers,
    link_structure,
    with_numbers,
)
from fedjax_rec.optimizers import named_optimizer
from fedjax_rec.registry import ALGORITHMS, BASELINES, registrations
from fedjax_rec.settings import checked_settings, parameters_of, scalar_defaults

Factory = Callable[..., FederatedAlgorithm]

SECTIONS = {"aggregate": "aggregate", "server": "server_optimizer"}
"""Tables of a configuration that a factory obeys where it takes a parameter of that name."""

NO_PART_OF_A_PROGRAM = ("chain", "epsilon", "delta")
"""Entries of those sections that no program reads as they are."""


def build_algorithm(
    config: RunConfig,
    factory: Factory,
    num_items: int,
    settings: dict[str, Scalar],
    parts: dict[str, Any],
) -> FederatedAlgorithm:
    """The algorithm of a configuration; its numbers may be inputs of a program.

    Args:
      config: names silos, aggregate and server.
      factory: of the algorithm.
      num_items: size of the catalogue.
      settings: the factory's own.
      parts: what else the factory takes; a function is asked for its part, given the
        configuration with the numbers that hold.
    """
    plain = {
        f"{name}.{entry.name}": getattr(getattr(config, name), entry.name)
        for name in (*SECTIONS, "privacy")
        for entry in fields(getattr(config, name))
        if entry.name not in NO_PART_OF_A_PROGRAM
    }
    named = {f"algorithm.{key}": value for key, value in settings.items()} | plain
    numbers = {key: value for key, value in named.items() if isinstance(value, float)}
    numbers |= link_numbers(config.aggregate)

    def make(given: Mapping[str, Any]) -> FederatedAlgorithm:
        now = replace(
            config,
            aggregate=with_numbers(_section(config.aggregate, "aggregate", given), given),
            server=_section(config.server, "server", given),
            privacy=_section(config.privacy, "privacy", given),
        )
        chosen = {name: part(now) if callable(part) else part for name, part in parts.items()}
        own = settings | _within("algorithm", given)
        algorithm = factory(num_items, **own, **chosen)
        return local_only(algorithm) if config.silos.exchange == "nothing" else algorithm

    rest = {key: value for key, value in named.items() if key not in numbers}
    rest |= {name: part for name, part in parts.items() if not callable(part)}
    rest |= {
        "aggregate.chain": link_structure(config.aggregate),
        "exchange": config.silos.exchange,
        "cohort": str(config.cohort),
        "num_items": num_items,
        "rounds": config.rounds if config.privacy.mechanism == "correlated" else 0,
        "registered": registrations(),
    }
    try:
        algorithm = made_from(config.algorithm.name, make, numbers, structure_of(rest))
    except ValueError as error:
        raise UserError(f"algorithm {config.algorithm.name}: {error}") from error
    if config.silos.number:
        refuse_negatives(config.algorithm.name, algorithm)
    return algorithm


def parts_for(
    config: RunConfig, factory: Factory, data: FederatedData, event: SamplingEvent
) -> dict[str, Any]:
    """What a factory takes beside its settings, by the names of its parameters.

    Args:
      config: names aggregate and server.
      factory: of the algorithm.
      data: of the run.
      event: how cohorts are drawn.

    Raises:
      UserError: it reads features or titles, and the data have none.
    """

    def made(config: RunConfig) -> AggregateTransform:
        return aggregate_transform(config.aggregate, config.privacy, event, config.rounds)

    every: dict[str, Any] = {
        "num_clients": len(data.training_clients),
        "num_slots": data.num_clients,
        "num_other": data.clients.num_other,
        "data": data.clients,
        "held_users": data.split.held_users,
        "features": data.features,
        "titles": data.split.train.item_titles,
        "aggregate": made,
        "noise": lambda now: made(now) if config.privacy.is_on else None,
        "server_optimizer": lambda config: named_optimizer(
            config.server.optimizer, config.server.learning_rate, config.server.momentum
        ),
    }
    taken = parameters_of(factory, config.algorithm.settings)
    parts = {name: part for name, part in every.items() if name in taken}
    if parts.get("features", ()) is None:
        raise UserError(
            f"algorithm {config.algorithm.name}: reads features of records, which {data.name} has "
            "none of as it is; set silos.number"
        )
    if parts.get("titles", ()) is None:
        raise UserError(
            f"algorithm {config.algorithm.name}: reads titles of items, which {data.name} has none "
            "of; choose another model, or data with a listing of items beside the events"
        )
    return parts


def _within(section: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given of a section's own keys."""
    parted = ((key.rpartition("."), value) for key, value in given.items())
    return {name: value for (owner, _, name), value in parted if owner == section}


def _section(section: Any, name: str, given: Mapping[str, Any]) -> Any:
    return replace(section, **_within(name, given))


def find_factory(name: str) -> Factory:
    """The factory of an algorithm or baseline.

    Raises:
      UserError: there is none of that name.

    >>> find_factory("fedmf").__name__
    'fedmf'
    """
    known = ALGORITHMS.load() | BASELINES.load()
    if name not in known:
        raise UserError(
            f"unknown algorithm {name!r}{did_you_mean(name, known)}; one of a plug-in needs "
            "--plugin FILE.py"
        )
    return known[name]


def own_settings(factory: Factory, chosen: Mapping[str, Scalar] | None = None) -> dict[str, Scalar]:
    """A factory's own settings with their defaults: the keys that `[algorithm]` may hold.

    Args:
      factory: of an algorithm or baseline.
      chosen: settings on which others may depend, such as `model`.

    >>> own_settings(find_factory("fedmf"))["dim"]
    32
    >>> own_settings(find_factory("fedavg"), {"model": "sasrec"})["num_blocks"]
    2
    """
    return scalar_defaults(parameters_of(factory, chosen or {}))


def check_settings(name: str, factory: Factory, settings: dict[str, Scalar]) -> dict[str, Scalar]:
    """The settings in the types of their defaults.

    Raises:
      UserError: an unknown setting or a wrong type.
    """
    return checked_settings("algorithm", name, parameters_of(factory, settings), settings)


def check_unused(config: RunConfig, factory: Factory) -> None:
    """Refuses what an algorithm would ignore, be it set to its default, or cannot do.

    Raises:
      UserError: `[aggregate]` or `[server]` is set for a factory that does not take it, or
        users are held out of what trains on everybody's events.
    """
    parameters = set(parameters_of(factory))
    reads_everybody = "data" in parameters and "held_users" not in parameters
    if config.split.holdout == "users" and reads_everybody:
        raise UserError(
            f"split.holdout: {config.algorithm.name} trains on everybody's events, and 'users' "
            "holds some users out; choose another hold-out, such as ratio"
        )
    if "noise" in parameters and config.privacy.is_on:
        parameters |= {"aggregate"}
    for section, parameter in SECTIONS.items():
        if parameter not in parameters and config.is_given(section):
            raise UserError(
                f"{section}: {config.algorithm.name} takes none; leave the table [{section}] out"
            )


def refuse_negatives(name: str, algorithm: FederatedAlgorithm) -> None:
    """Refuses to put an algorithm of implicit feedback to records.

    Raises:
      UserError: it draws items that a client has not met.
    """
    if algorithm.objective.sampler is not None:
        raise UserError(
            f"algorithm {name}: draws negatives among items, and records have labels; use "
            "fedavg_records or majority, set algorithm.objective to labels, or silos.number to 0"
        )
