"""From a configuration to a run: the only bridge between `config` and the library."""

from fedjax_rec.experiment.experiment import Experiment, build, resolve, with_settings
from fedjax_rec.experiment.loading import load_data, same_data
from fedjax_rec.experiment.private import as_before
from fedjax_rec.experiment.schedules import build_sampler, early_stop

__all__ = [
    "Experiment",
    "as_before",
    "build",
    "build_sampler",
    "early_stop",
    "load_data",
    "resolve",
    "same_data",
    "with_settings",
]
