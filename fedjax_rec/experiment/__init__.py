"""From a configuration to a run: the only bridge between `config` and the library."""

from fedjax_rec.experiment.experiment import Experiment, build, resolve, with_settings
from fedjax_rec.experiment.loading import load_data, same_data
from fedjax_rec.experiment.opened import OpenedRun, command_line_run, open_run
from fedjax_rec.experiment.private import as_before
from fedjax_rec.experiment.recommendations import Recommendations, check_output, recommend_all
from fedjax_rec.experiment.schedules import build_sampler, early_stop

__all__ = [
    "Experiment",
    "OpenedRun",
    "Recommendations",
    "as_before",
    "build",
    "build_sampler",
    "check_output",
    "command_line_run",
    "early_stop",
    "load_data",
    "open_run",
    "recommend_all",
    "resolve",
    "same_data",
    "with_settings",
]
