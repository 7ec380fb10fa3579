"""The data of a configuration: users as clients, or silos of records."""

from collections.abc import Callable

from fedjax_rec.config import RunConfig
from fedjax_rec.data import FederatedData, Silos, load, load_records
from fedjax_rec.data.reading import print_notice

SIZES = ("num_users", "num_items", "mean_events", "seed")
"""Options of generated data; 0 stands for the generator's own default."""


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
