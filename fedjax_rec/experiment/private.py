"""What `[privacy]` makes of a configuration: every switch is told, and written out."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fedjax_rec.base import Mechanism, SamplingEvent
from fedjax_rec.config import RunConfig
from fedjax_rec.config.schema import StopConfig
from fedjax_rec.errors import UserError
from fedjax_rec.experiment.aggregates import correlated_settings
from fedjax_rec.privacy import check_delta, default_delta, noise_multiplier_for
from fedjax_rec.settings import parameters_of
from fedjax_rec.transforms import correlated_noise

SHARE = 10
"""One client in so many takes part in a round, where all did."""

COHORTS = {
    "gaussian": ("poisson", "a random cohort hides who takes part"),
    "correlated": ("rotating", "a client that takes part seldom is hidden by noise of many rounds"),
    "local": ("rotating", "the server sees who sends, and a client pays for every message"),
}
"""The cohorts that go with a mechanism, and why."""

SIZED = ("poisson", "rotating", "cyclic_poisson", "min_separation", "availability")
"""Cohorts that get a size where none is given. The last three are never switched: who asks for
them knows when clients come, and they are accounted as they are."""

Tell = Callable[[str, object, object, str], None]
"""`(key, old, new, why)`, what is switched."""

LEFT_OPEN = ("cohort.size", "privacy.delta", "privacy.noise_multiplier")
"""Options whose 0 stands for what is found from the number of clients."""


def refuse_unbounded(name: str, factory: Callable[..., Any], config: RunConfig) -> None:
    """Refuses noise for what does not put its updates through an aggregate.

    Raises:
      UserError: no promise can be made for it.
    """
    if not config.privacy.is_on:
        return
    parameters = parameters_of(factory)
    if not {"aggregate", "noise"} & set(parameters):
        raise UserError(
            f"privacy: {name} does not clip what its clients send, so no noise bounds what one of "
            "them changes; choose an algorithm that takes [aggregate], such as fedmf or fedavg"
        )
    for part in ("data", "features"):
        if part in parameters:
            raise UserError(
                f"privacy: {name} reads its clients' {part} outside of their updates, where no "
                "noise is added; choose another algorithm, such as fedmf"
            )
    if config.silos.exchange == "records":
        raise UserError(
            "privacy: silos.exchange is records, and one owner gets them all; set it to updates"
        )


def settled(config: RunConfig, notice: Callable[[str], None]) -> RunConfig:
    """The configuration with what a promise asks for in the place of what voids it.

    A Poisson cohort in place of one of fixed size, each client with the same weight, a public
    divisor, and the last round in place of the best one by validation.

    >>> from fedjax_rec.config import load_preset
    >>> config = load_preset("ml-100k/fedmf_by_client", ["--privacy.epsilon", "8"])
    >>> settled(config, print).cohort.sampler
    privacy: cohort.sampler is poisson in place of all: a random cohort hides who takes part
    privacy: stop.patience is 0 in place of 5: a round chosen on clients' items would tell of them
    'poisson'
    """
    if not config.privacy.is_on:
        return config

    def tell(key: str, old: object, new: object, why: str) -> None:
        notice(f"privacy: {key} is {new} in place of {old}: {why}")

    return _reporting_the_last(_in_such_cohorts(_weighing_alike(config, tell), tell), tell)


def _weighing_alike(config: RunConfig, tell: Tell) -> RunConfig:
    """With the same weight for each client, and local noise on whole tables."""
    if config.aggregate.mean in ("row", "example"):
        tell("aggregate.mean", config.aggregate.mean, "client", "it divides by private counts")
        config = replace(config, aggregate=replace(config.aggregate, mean="client"))
    algorithm = config.algorithm
    if config.privacy.mechanism == "local" and algorithm.settings.get("is_sliced"):
        why = "noise on touched rows alone would tell which they are"
        tell("algorithm.is_sliced", "true", "false", why)
        settings = algorithm.settings | {"is_sliced": False}
        config = replace(config, algorithm=replace(algorithm, settings=settings))
    return config


def _in_such_cohorts(config: RunConfig, tell: Tell) -> RunConfig:
    """With the cohorts that go with the mechanism, unless others were asked for."""
    kind, why = COHORTS[config.privacy.mechanism]
    cohort = config.cohort
    is_one_look = config.rounds == 1 and not cohort.size
    is_chosen = cohort.sampler == "all" and ("cohort.sampler" in config.given or is_one_look)
    if is_chosen or cohort.sampler not in ("all", "uniform", "rotating", "poisson"):
        return config
    if cohort.sampler != kind:
        tell("cohort.sampler", cohort.sampler, kind, why)
    return replace(config, cohort=replace(cohort, sampler=kind))


def _reporting_the_last(config: RunConfig, tell: Tell) -> RunConfig:
    """With the last round in the place of the best one by validation."""
    stop = config.stop
    for key in ("patience", "target"):
        if getattr(stop, key):
            why = "a round chosen on clients' items would tell of them"
            tell(f"stop.{key}", getattr(stop, key), 0, why)
    if stop.select == "test_as_released":
        tell("stop.select", stop.select, "validation", "the last round is reported")
    if stop.patience or stop.target or stop.select == "test_as_released":
        config = replace(config, stop=StopConfig(metric=stop.metric))
    return config


def with_cohort(config: RunConfig, num_clients: int, notice: Callable[[str], None]) -> RunConfig:
    """The configuration with an expected cohort size where privacy has left it open."""
    cohort = config.cohort
    if not config.privacy.is_on or cohort.sampler not in SIZED or cohort.size:
        return config
    size = max(num_clients // SHARE, 1)
    mean = ", on average" if "poisson" in cohort.sampler else ""
    notice(f"privacy: cohort.size is {size:,} of {num_clients:,} clients{mean}")
    return replace(config, cohort=replace(cohort, size=size))


def with_noise(config: RunConfig, event: SamplingEvent, notice: Callable[[str], None]) -> RunConfig:
    """The configuration with its delta and with the noise that its epsilon asks for.

    Raises:
      UserError: epsilon cannot be met, or delta promises nothing.
    """
    privacy = config.privacy
    if not privacy.is_on:
        return config
    delta = privacy.delta or default_delta(event.num_clients)
    check_delta(delta, event.num_clients)
    noise = privacy.noise_multiplier
    if not noise:
        noise = noise_multiplier_for(
            event, config.rounds, privacy.epsilon, delta, make=_mechanism(config, event)
        )
        notice(
            f"privacy: noise_multiplier is {noise:.4g} for epsilon {privacy.epsilon:g}, delta "
            f"{delta:.3g} and {config.rounds:,} rounds"
        )
    return replace(config, privacy=replace(privacy, delta=delta, noise_multiplier=noise))


def as_before(config: RunConfig, earlier: RunConfig) -> RunConfig:
    """What the configuration leaves open, as the run that it goes on with has found it.

    Noise is not calibrated again for more rounds: the epsilon of those that were made holds.
    """
    for key in LEFT_OPEN:
        if config.privacy.is_on and not config.value(key):
            section, _, name = key.partition(".")
            part = replace(getattr(config, section), **{name: earlier.value(key)})
            config = replace(config, **{section: part})
    return config


def _mechanism(config: RunConfig, event: SamplingEvent) -> Callable[[float], tuple[Mechanism, ...]]:
    """The noise of a round, by its multiplier."""
    kind = config.privacy.mechanism
    if kind != "correlated":
        return lambda z: (Mechanism(kind, z),)
    settings = correlated_settings(config.privacy, event, config.rounds)
    try:
        (made,) = correlated_noise(1.0, **settings).mechanisms
    except ValueError as error:
        raise UserError(f"privacy.bands: {error}") from error
    return lambda z: (replace(made, noise_multiplier=z),)
