"""Federated recommendation at accelerator speed.

Public names are loaded when they are first used, so that importing this package is light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedjax_rec.algorithms import ALGORITHMS, fedavg, fedmf
    from fedjax_rec.base import FederatedAlgorithm
    from fedjax_rec.baselines import BASELINES, popularity
    from fedjax_rec.cpu import configure_cpu
    from fedjax_rec.errors import UserError
    from fedjax_rec.experiment import open_run, recommend_all
    from fedjax_rec.plugins import load_plugin
    from fedjax_rec.registry import register
    from fedjax_rec.sampling import AllClients, Rotating, TruncatedPoisson, Uniform
    from fedjax_rec.simulation import (
        CheckpointPlan,
        EarlyStop,
        EvaluationPlan,
        Execution,
        Result,
        build,
        evaluate,
        load_run,
        simulate,
        simulate_many,
        start_from,
    )

__version__ = "0.1.0"

_MODULES = {
    "algorithms": ("ALGORITHMS", "fedavg", "fedmf"),
    "base": ("FederatedAlgorithm",),
    "baselines": ("BASELINES", "popularity"),
    "cpu": ("configure_cpu",),
    "errors": ("UserError",),
    "experiment": ("open_run", "recommend_all"),
    "plugins": ("load_plugin",),
    "registry": ("register",),
    "sampling": ("AllClients", "Rotating", "TruncatedPoisson", "Uniform"),
    "simulation": (
        "CheckpointPlan",
        "EarlyStop",
        "EvaluationPlan",
        "Execution",
        "Result",
        "build",
        "evaluate",
        "load_run",
        "simulate",
        "simulate_many",
        "start_from",
    ),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
_PACKAGES = (
    "clients",
    "data",
    "evaluation",
    "models",
    "objectives",
    "optimizers",
    "testing",
    "transforms",
    "tree",
)

__all__ = [
    "ALGORITHMS",
    "BASELINES",
    "AllClients",
    "CheckpointPlan",
    "EarlyStop",
    "EvaluationPlan",
    "Execution",
    "FederatedAlgorithm",
    "Result",
    "Rotating",
    "TruncatedPoisson",
    "Uniform",
    "UserError",
    "build",
    "configure_cpu",
    "evaluate",
    "fedavg",
    "fedmf",
    "load_plugin",
    "load_run",
    "open_run",
    "popularity",
    "recommend_all",
    "register",
    "simulate",
    "simulate_many",
    "start_from",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    if name in _MODULES or name in _PACKAGES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES, *_PACKAGES])
