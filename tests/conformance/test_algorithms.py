"""Every registered algorithm and baseline, put to every check."""

from functools import cache

import pytest

from fedjax_rec.algorithms import ALGORITHMS
from fedjax_rec.baselines import BASELINES
from fedjax_rec.testing import CHECKS, Subject, toy_data_for

FACTORIES = {**ALGORITHMS, **BASELINES}
VARIANTS = (
    "fedavg fedavgm fedadagrad fedyogi fedsgd fedprox fedncf finetuning reptile fedper"  # noqa: SIM905
    " fedmf_explicit bpr_mf ease gmf mlp neumf fedlora fedexlora flexlora fellrec".split()
)
"""Whose parts another entry has too: they are checked by `make slow`."""


COSTLY = ("equals_debug", "ignores_padding", "ignores_chunks")
"""Laws of the engine more than of an algorithm: a few algorithms, and all in `make slow`."""

LORA = {"item_learning_rate": 0.1, "dense_learning_rate": 0.1}
OPTIONS = {"fedlora": LORA, "fedexlora": LORA, "flexlora": LORA, "fellrec": LORA}
"""Of what learns too little in ten rounds at rates that suit a transformer."""

FEW = ("fedmf", "fedrep", "fedcmf", "popularity")


def marks(name, check):
    is_slow = name in VARIANTS or (check in COSTLY and name not in FEW)
    return pytest.mark.slow if is_slow else ()


@cache
def subject(name):
    return Subject(FACTORIES[name], OPTIONS.get(name, {}), data=toy_data_for(FACTORIES[name]))


@pytest.mark.parametrize(
    ("name", "check"),
    [pytest.param(name, check, marks=marks(name, check)) for name in FACTORIES for check in CHECKS],
)
def test_algorithm_keeps_the_law(name, check):
    CHECKS[check](subject(name))
