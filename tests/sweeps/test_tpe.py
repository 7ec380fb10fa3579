"""Points of the estimator: nearer to the best than chance, distinct, the same when asked again."""

import math
import statistics
import sys

import pytest

from fedjax_rec.errors import UserError
from fedjax_rec.sweeps import Axis, random_points
from fedjax_rec.sweeps.tpe import tpe_point

AXES = [
    Axis("rate", low="1e-5", high="100.0"),
    Axis("dim", low="1", high="64"),
    Axis("loss", ("bce", "bpr")),
]


def worth(point, best_rate):
    """A smooth hill in the logarithm of the rate, with a step by loss."""
    rate, dim, loss = (word for _, word in point)
    far = abs(math.log10(float(rate) / best_rate)) + abs(int(dim) - 40) / 20
    return -far - (loss == "bpr")


def searched(best_rate, trials):
    tried = []
    for _ in range(trials):
        point = tpe_point(AXES, tried)
        tried.append((point, worth(point, best_rate)))
    return tried


def test_it_finds_better_points_than_chance():
    gains = []
    for best_rate in (1e-3, 0.03, 0.7, 9.0):
        by_chance = random_points(AXES, 30, seed=3)
        found = max(value for _, value in searched(best_rate, 30))
        gains.append(found - max(worth(point, best_rate) for point in by_chance))
    assert statistics.mean(gains) > 0.1


def test_points_are_distinct_and_a_choice_that_is_exhausted_ends():
    axes = [Axis("loss", ("bce", "bpr")), Axis("dim", low="3", high="4")]
    tried = []
    while (point := tpe_point(axes, tried)) is not None:
        tried.append((point, 0.5))
    assert sorted(point for point, _ in tried) == [
        (("loss", loss), ("dim", dim)) for loss in ("bce", "bpr") for dim in ("3", "4")
    ]


def test_what_has_no_value_is_left_out_and_not_asked_again():
    tried = searched(0.03, 12)
    without = [
        (point, None if number == 4 else value) for number, (point, value) in enumerate(tried)
    ]
    assert tpe_point(AXES, without) not in [point for point, _ in without]


def test_words_stay_in_their_range_after_rounding():
    axis = Axis("rate", low="0.9999", high="1.0001")
    tried = [((("rate", "1"),), 0.1), ((("rate", "1.00"),), 0.2)]
    assert tpe_point([axis], tried) is None  # to three digits there is nothing else


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"fedjax-rec\[search\]"):
        tpe_point(AXES, [])
