"""What noise for privacy does to a product of factors, through whole configured rounds."""

import math
from typing import Any

import numpy as np
import pytest

from fedjax_rec.config import from_dict
from fedjax_rec.experiment import build
from fedjax_rec.models.nested import leaves_of
from fedjax_rec.simulation import build as build_engine

WIDTH, RANK, SIZE = 192, 8, 10
SIGMA = 2 / math.sqrt(WIDTH)
LAYERS = ("query", "key", "value")


def noised(rule: str, **settings: Any) -> dict[tuple[str, ...], tuple[Any, Any]]:
    """Each shared leaf before and after one round in which clients learn next to nothing."""
    own = {"name": "fedlora", "model": "sasrec", "rule": rule, "dim": WIDTH, "num_blocks": 2}
    own |= {"paths": ",".join(LAYERS), "rank": RANK, "max_length": 8, "num_negatives": 4}
    own |= {"local_optimizer": "sgd", "item_learning_rate": 1e-12, "dense_learning_rate": 1e-12}
    table = {
        "seed": 3,
        "rounds": 1,
        "data": {"name": "synthetic", "num_users": 20, "num_items": 30, "mean_events": 8},
        "algorithm": own | {"objective": "sampled_item"} | settings,
        "cohort": {"sampler": "poisson", "size": SIZE},
        "aggregate": {"mean": "client"},
        "privacy": {"clip_norm": 2.5, "noise_multiplier": SIGMA * SIZE / 2.5},
    }
    experiment = build(from_dict(table, "here"))
    start = build_engine(experiment.algorithm).init(experiment.key, 20)[0].shared
    result = experiment.run(
        None,  # type: ignore[arg-type]  # nothing is written
        resume=False,
        report=lambda report: None,
        notice=lambda line: None,
    )
    before, after = (leaves_of(part.dense) for part in (start, result.state.shared))
    return {name: (np.asarray(before[name]), np.asarray(after[name])) for name in before}


def rms(arrays: list[Any]) -> float:
    """The root of the mean squared Frobenius norm of the matrices in some stacks."""
    norms = [np.linalg.norm(matrix) ** 2 for stack in arrays for matrix in stack]
    return math.sqrt(float(np.mean(norms)))


@pytest.mark.slow
def test_noise_energies_are_those_of_the_closed_forms() -> None:
    places = [("blocks", "attention", layer) for layer in LAYERS]
    both = noised("fedit")
    a = [both[*place, "a"] for place in places]
    b = [both[*place, "b"][1] for place in places]  # they started at 0
    linear = rms([start @ of_b for (start, _), of_b in zip(a, b, strict=True)])
    squared = rms([(end - start) @ of_b for (start, end), of_b in zip(a, b, strict=True)])
    assert linear == pytest.approx(SIGMA * math.sqrt(WIDTH * RANK), rel=0.05)
    assert squared == pytest.approx(SIGMA**2 * WIDTH * math.sqrt(RANK), rel=0.05)

    ffa = noised("ffa")
    assert {name[-1] for name in ffa} == {"b"}
    of_ffa = rms([start @ ffa[*place, "b"][1] for (start, _), place in zip(a, places, strict=True)])
    assert of_ffa == pytest.approx(SIGMA * math.sqrt(WIDTH * RANK), rel=0.05)
    of_both = rms([end @ of_b for (_, end), of_b in zip(a, b, strict=True)])
    assert of_both == pytest.approx(math.hypot(linear, squared), rel=0.05)
    assert of_ffa <= 0.5 * of_both

    whole = noised("fedit", paths="", trained="query,key,value")
    kernels = [whole[*place, "kernel"] for place in places]
    full = rms([end - start for start, end in kernels])
    assert full == pytest.approx(SIGMA * WIDTH, rel=0.05)
