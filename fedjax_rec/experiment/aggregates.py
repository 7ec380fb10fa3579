"""The aggregate of a configuration: a chain of registered transforms, or its shorthand."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fedjax_rec.base import AggregateTransform, SamplingEvent, decided
from fedjax_rec.config.schema import AggregateConfig, Link, PrivacyConfig, Scalar
from fedjax_rec.errors import UserError
from fedjax_rec.registry import TRANSFORMS
from fedjax_rec.settings import checked_settings, parameters_of, refuse_missing
from fedjax_rec.transforms import chain

PREFIX = "aggregate.chain"


def aggregate_transform(
    config: AggregateConfig, privacy: PrivacyConfig, event: SamplingEvent, rounds: int
) -> AggregateTransform:
    """The transforms of a configuration as one.

    Args:
      config: which of them; of `checked_aggregate`.
      privacy: the clip and the noise.
      event: how cohorts are drawn; their expected size is the public divisor that noise needs.
      rounds: of the run.

    Raises:
      UserError: an unsound choice.
    """
    links = list(config.chain) or shorthand(config, privacy, event, rounds)
    try:
        return chain(*(TRANSFORMS.find(link.name)(**link.settings) for link in links))
    except ValueError as error:
        raise UserError(f"aggregate: {error}") from error


def shorthand(
    config: AggregateConfig, privacy: PrivacyConfig, event: SamplingEvent, rounds: int
) -> list[Link]:
    """What `[aggregate]` and `[privacy]` stand for: clip, weigh, add noise.

    >>> noisy, event = PrivacyConfig(noise_multiplier=1.0), SamplingEvent("all", 9, 9.0, 9)
    >>> [link.name for link in shorthand(AggregateConfig(mean="client"), noisy, event, 5)]
    ['clip_by_norm', 'mean', 'gaussian_noise']
    """
    is_on = decided(lambda: privacy.is_on)  # inside a program the noise is no number
    by = "client" if is_on and config.mean != "sum" else config.mean
    settings: dict[str, Scalar] = {} if by == "sum" else {"by": by}
    if is_on:
        settings["size" if by == "sum" else "divisor"] = event.expected_size
    weigh = Link(name="total" if by == "sum" else "mean", settings=settings)
    if not is_on:
        return [weigh]
    noise: dict[str, Scalar] = {"noise_multiplier": privacy.noise_multiplier}
    if privacy.mechanism == "correlated":
        noise |= correlated_settings(privacy, event, rounds)
    return [
        Link(name="clip_by_norm", settings={"clip_norm": privacy.clip_norm}),
        weigh,
        Link(name=f"{privacy.mechanism}_noise", settings=noise),
    ]


def correlated_settings(
    privacy: PrivacyConfig, event: SamplingEvent, rounds: int
) -> dict[str, Any]:
    """What `correlated_noise` takes beside its multiplier, for a run and its cohorts."""
    return {
        "rounds": rounds,
        "min_separation": event.min_separation(),
        "participations": event.participations(rounds),
        "strategy": "banded" if privacy.bands else "buffered",
        "bands": privacy.bands,
    }


def checked_aggregate(config: AggregateConfig) -> AggregateConfig:
    """The same, with every setting of a chain in its type and written out.

    Raises:
      UserError: an unknown transform or setting, or a wrong type.
    """
    return replace(config, chain=tuple(map(_checked_link, range(99), config.chain)))


def _checked_link(number: int, link: Link) -> Link:
    where = f"{PREFIX}.{number}"
    try:
        factory = TRANSFORMS.find(link.name)
    except UserError as error:
        raise UserError(f"{where}.name: {error}") from None
    parameters = parameters_of(factory)
    settings = checked_settings(where, link.name, parameters, link.settings)
    refuse_missing(where, link.name, parameters, settings)
    return replace(link, settings=settings)


def link_numbers(config: AggregateConfig) -> dict[str, float]:
    """The numbers in a chain, by dotted key: inputs of a compiled program.

    >>> link_numbers(AggregateConfig(chain=(Link(name="x", settings={"z": 0.5, "by": "row"}),)))
    {'aggregate.chain.0.z': 0.5}
    """
    return {
        f"{PREFIX}.{number}.{key}": value
        for number, link in enumerate(config.chain)
        for key, value in link.settings.items()
        if isinstance(value, float)
    }


def link_structure(config: AggregateConfig) -> tuple[Any, ...]:
    """All else in a chain."""
    return tuple(
        (link.name, tuple(item for item in link.settings.items() if not isinstance(item[1], float)))
        for link in config.chain
    )


def with_numbers(config: AggregateConfig, given: Mapping[str, Any]) -> AggregateConfig:
    """The aggregate with other numbers in its chain, such as tracers."""
    links = [
        replace(
            link,
            settings=link.settings
            | {
                key: given[f"{PREFIX}.{number}.{key}"]
                for key in link.settings
                if f"{PREFIX}.{number}.{key}" in given
            },
        )
        for number, link in enumerate(config.chain)
    ]
    return replace(config, chain=tuple(links))
