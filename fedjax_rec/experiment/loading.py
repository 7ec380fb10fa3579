"""The data of a configuration: users as clients, or silos of records."""

from collections.abc import Callable

from fedjax_rec.config import RunConfig
from fedjax_rec.config.data_schema import DataConfig
from fedjax_rec.data import Columns, FederatedData, Filters, Silos, load, load_records
from fedjax_rec.data.reading import print_notice
from fedjax_rec.errors import UserError

SIZES = ("num_users", "num_items", "mean_events", "seed")
"""Options of generated data; 0 stands for the generator's own default."""

OF_COLUMNS = ("user", "item", "rating", "time", "separator", "other")
"""What is said of the columns of a file of the user's own."""


def load_data(config: RunConfig, notice: Callable[[str], None] = print_notice) -> FederatedData:
    """Obtains, reads and splits the data of a configuration.

    A hold-out and a validation rule that are not set are chosen by what the data have, see
    `data.load`; the protocol of the run says which.
    """
    if config.silos.number:
        return _load_records(config, notice)
    data, chosen = config.data, config.is_given("split")
    sizes = {name: getattr(data, name) for name in SIZES if getattr(data, name)}
    return load(
        data.name,
        path=data.path,
        layout=data.layout,
        columns=columns_of(data),
        other=data.other,
        filters=filters_of(data),
        holdout=config.split.holdout if "split.holdout" in chosen else None,
        validation=config.split.validation if "split.validation" in chosen else None,
        ties=config.split.ties,
        split_seed=config.split.seed,
        share=config.split.share,
        max_events=config.split.max_events,
        repeats=data.repeats,
        exclude=config.negatives.exclude,
        candidates_seed=config.evaluate.candidates_seed,
        notice=notice,
        **sizes,
    )


def same_data(one: RunConfig, other: RunConfig) -> bool:
    """Whether two configurations ask for the same data, so that they are read once for both.

    >>> from fedjax_rec.config import load_preset
    >>> seeds = [load_preset("synthetic/fedmf", ["--seed", seed]) for seed in "12"]
    >>> same_data(*seeds), same_data(seeds[0], load_preset("ml-100k/fedmf"))
    (True, False)
    """

    def asked(config: RunConfig) -> tuple[object, ...]:
        sections = (config.data, config.split, config.silos, config.negatives)
        return (*sections, config.is_given("split"), config.evaluate.candidates_seed)

    return asked(one) == asked(other)


def columns_of(data: DataConfig) -> Columns:
    """What a configuration says of the columns of its file."""
    return Columns(data.user, data.item, data.rating, data.time, data.separator)


def filters_of(data: DataConfig) -> Filters:
    """Which events a configuration uses."""
    return Filters(min_rating=data.min_rating, since=data.since, until=data.until, core=data.core)


def _load_records(config: RunConfig, notice: Callable[[str], None]) -> FederatedData:
    silos, split, data = config.silos, config.split, config.data
    for name in OF_COLUMNS:
        if getattr(data, name):
            raise UserError(
                f"data.{name}: silos take records of data whose people and items are described; "
                "leave it out"
            )
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
        data.name,
        rules,
        positive_from=silos.positive_from,
        repeats=data.repeats,
        path=data.path,
        layout=data.layout,
        filters=filters_of(data),
        notice=notice,
    )
