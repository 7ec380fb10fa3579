"""Every registered algorithm and baseline, put to every check."""

from functools import cache

import pytest

from fedjax_rec.algorithms import ALGORITHMS
from fedjax_rec.baselines import BASELINES
from fedjax_rec.testing import CHECKS, Subject, toy_data_for

FACTORIES = {**ALGORITHMS, **BASELINES}
VARIANTS = (
    "fedavg fedavgm fedadagrad fedyogi fedsgd fedprox fedncf finetuning reptile fedper"  # noqa: SIM905
    " fedmf_explicit bpr_mf ease gmf mlp neumf".split()
)
"""Whose parts another entry has too: they are checked by `make slow`."""


@cache
def subject(name):
    return Subject(FACTORIES[name], data=toy_data_for(FACTORIES[name]))


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in VARIANTS else ()) for name in FACTORIES],
)
def test_algorithm_keeps_the_law(name, check):
    CHECKS[check](subject(name))
