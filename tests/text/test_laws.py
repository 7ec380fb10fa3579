"""Text, frozen and adapted, put to the laws of algorithms on a small encoder."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from fedjax_rec.algorithms import ALGORITHMS
from fedjax_rec.testing import CHECKS, Subject, toy_data
from tests.text.encoders import write_encoder

DATA = toy_data()
WORDS = ("toy", "star", "man", "story")
TITLES = tuple(
    f"{WORDS[i % 4]} of {WORDS[i // 4 % 4]} of {WORDS[i // 16 % 4]} {WORDS[i // 64 % 4]}"
    for i in range(DATA.num_items)
)
FROZEN = {"model": "text_tower", "has_own_vectors": True, "titles": TITLES}
SGD = {  # Adam's first step is a sign: where a gradient is nearly 0, rounding decides
    "local_optimizer": "sgd",
    "user_learning_rate": 0.5,
    "item_learning_rate": 1.0,
    "dense_learning_rate": 0.05,
}
ADAPTED = {"trained": "projection", "rank": 2, "num_cached_layers": 1}
CASES = {"fedavg": FROZEN, "fedlora": FROZEN | ADAPTED | SGD}


@cache
def subject(name: str) -> Subject:
    folder = write_encoder(Path(mkdtemp()))
    return Subject(ALGORITHMS[name], CASES[name] | {"tower": str(folder)}, data=DATA)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("check", CHECKS)
def test_text_keeps_the_law(name: str, check: str) -> None:
    CHECKS[check](subject(name))
