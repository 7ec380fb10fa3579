"""The algorithm of a configuration: its factory, its settings, aggregate and server."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from fedjax_rec.algorithms import ALGORITHMS
from fedjax_rec.base import (
    AggregateTransform,
    FederatedAlgorithm,
    is_zero,
    made_from,
    structure_of,
)
from fedjax_rec.baselines import BASELINES, local_only
from fedjax_rec.config import RunConfig
from fedjax_rec.config.schema import AggregateConfig, Scalar
from fedjax_rec.errors import UserError, did_you_mean
from fedjax_rec.transforms import chain, clip_by_norm, gaussian_noise, mean, total

Factory = Callable[..., FederatedAlgorithm]


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
    sections = {name: getattr(config, name) for name in ("aggregate", "server")}
    numbers = {f"algorithm.{key}": n for key, n in settings.items() if isinstance(n, float)} | {
        f"{name}.{entry.name}": number
        for name, section in sections.items()
        for entry in fields(section)
        if isinstance(number := getattr(section, entry.name), float)
    }

    def make(given: Mapping[str, Any]) -> FederatedAlgorithm:
        changed = {
            name: replace(
                section, **{k.partition(".")[2]: n for k, n in given.items() if k.startswith(name)}
            )
            for name, section in sections.items()
        }
        now = replace(config, **changed)
        chosen = {name: part(now) if callable(part) else part for name, part in parts.items()}
        own = settings | {
            k.partition(".")[2]: n for k, n in given.items() if k.startswith("algorithm.")
        }
        algorithm = factory(num_items, **own, **chosen)
        return local_only(algorithm) if config.silos.exchange == "nothing" else algorithm

    rest = [*(item for item in settings.items() if f"algorithm.{item[0]}" not in numbers)]
    rest += [(name, part) for name, part in parts.items() if not callable(part)]
    rest += [
        (f"{name}.{entry.name}", getattr(section, entry.name))
        for name, section in sections.items()
        for entry in fields(section)
        if f"{name}.{entry.name}" not in numbers
    ]
    rest += [("exchange", config.silos.exchange), ("cohort", str(config.cohort))]
    name = config.algorithm.name
    return made_from(name, make, numbers, structure_of(dict(rest) | {"num_items": num_items}))


def find_factory(name: str) -> Factory:
    """The factory of an algorithm or baseline.

    Raises:
      UserError: there is none of that name.

    >>> find_factory("fedmf").__name__
    'fedmf'
    """
    known = ALGORITHMS | BASELINES
    if name not in known:
        raise UserError(f"unknown algorithm {name!r}{did_you_mean(name, known)}")
    return known[name]


def own_settings(factory: Factory) -> dict[str, Scalar]:
    """A factory's own settings with their defaults: the keys that `[algorithm]` may hold.

    >>> own_settings(find_factory("fedmf"))["dim"]
    32
    """
    return {
        name: parameter.default
        for name, parameter in parameters_of(factory).items()
        if isinstance(parameter.default, int | float | str | bool)
    }


def parameters_of(factory: Factory) -> dict[str, inspect.Parameter]:
    """Everything that a factory takes, by name."""
    return dict(inspect.signature(factory).parameters)


def check_settings(name: str, factory: Factory, settings: dict[str, Scalar]) -> dict[str, Scalar]:
    """The settings in the types of their defaults.

    Raises:
      UserError: an unknown setting or a wrong type.
    """
    known = own_settings(factory)
    checked: dict[str, Scalar] = {}
    for key, value in settings.items():
        if key not in known:
            hint = did_you_mean(key, known) if known else " (it has none)"
            raise UserError(f"algorithm.{key}: {name} has no such setting{hint}")
        kind = type(known[key])
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            words = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}
            raise UserError(f"algorithm.{key}: expected {words[kind]}, got {value!r}")
        checked[key] = value
    return checked


def check_unused(config: RunConfig, factory: Factory) -> None:
    """Refuses what an algorithm would ignore.

    Raises:
      UserError: `[aggregate]` or `[server]` is set for a factory that does not take it.
    """
    for section, parameter in (("aggregate", "aggregate"), ("server", "server_optimizer")):
        chosen = getattr(config, section)
        if parameter not in parameters_of(factory) and chosen != type(chosen)():
            raise UserError(
                f"{section}: {config.algorithm.name} takes none; leave the table [{section}] out"
            )


def aggregate_transform(config: AggregateConfig, expected_size: float) -> AggregateTransform:
    """Clip, mean and noise as one transform.

    Args:
      config: which of them.
      expected_size: expected cohort size: the public divisor that noise needs.

    Raises:
      UserError: an unsound choice.
    """
    is_noisy = not is_zero(config.noise_multiplier)
    if is_noisy and config.mean not in ("client", "sum"):
        raise UserError(
            f"aggregate.mean: {config.mean!r} divides by private counts, which noise does not "
            "hide; set it to client (divides by the expected cohort size) or sum"
        )
    try:
        links = [] if is_zero(config.clip_norm) else [clip_by_norm(config.clip_norm)]
        if config.mean == "sum":
            links.append(total())
        elif config.mean == "client" and is_noisy:
            links.append(mean("client", divisor=expected_size))
        else:
            links.append(mean(config.mean))
        if is_noisy:
            links.append(gaussian_noise(config.noise_multiplier))
        return chain(*links)
    except ValueError as error:
        raise UserError(f"aggregate: {error}") from error


def refuse_negatives(name: str, algorithm: FederatedAlgorithm) -> None:
    """Refuses to put an algorithm of implicit feedback to records.

    Raises:
      UserError: it draws items that a client has not met.
    """
    if algorithm.objective.sampler is not None:
        raise UserError(
            f"algorithm {name}: draws negatives among items, and records have labels; use "
            "fedavg_records or majority, or set silos.number to 0"
        )
