"""Strategies of correlated noise: how much of earlier noise a later round takes back."""

import json
import math
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from fedjax_rec.errors import UserError
from fedjax_rec.privacy.solved import recall, remember


class Buffered(NamedTuple):
    """A buffered linear Toeplitz matrix C: `c_0 = 1`, `c_t = sum_s scale_s decay_s^(t-1)`.

    Attributes:
      decays: of each buffer, between 0 and 1.
      scales: by which it is read.
    """

    decays: tuple[float, ...]
    scales: tuple[float, ...]

    def column(self, rounds: int) -> tuple[float, ...]:
        """The first column of C, for so many rounds.

        >>> Buffered((0.5,), (0.25,)).column(4)
        (1.0, 0.25, 0.125, 0.0625)
        """
        later = (
            math.fsum(
                scale * decay**t for decay, scale in zip(self.decays, self.scales, strict=True)
            )
            for t in range(rounds - 1)
        )
        return (1.0, *later)


@cache
def buffered(rounds: int, min_separation: int, participations: int) -> Buffered:
    """The strategy whose sums of noise over rounds are smallest, for a run and its cohorts.

    It minimises the largest error of a prefix sum at the sensitivity of a client that takes
    part in at most `participations` rounds, each at least `min_separation` after the last.
    Strategies of common runs come with the package; others take jax-privacy some 20 seconds
    and are kept.

    Args:
      rounds: of the run, n.
      min_separation: b, at least 1.
      participations: k, at least 1.

    Raises:
      UserError: a number is out of its range, or it is none of the common runs and
        jax-privacy is not installed.

    Reference:
      McMahan, Xu and Zhang (2024), "A hassle-free algorithm for strong differential privacy
      in federated learning systems", arXiv 2408.08868.

    >>> strategy = buffered(rounds=100, min_separation=10, participations=10)
    >>> all(0 < decay < 1 for decay in strategy.decays)
    True
    """
    if min(rounds, min_separation, participations) < 1:
        raise UserError(
            "correlated noise: rounds, min_separation and participations must be at least 1"
        )
    found = _shipped().get(f"{rounds}/{min_separation}/{participations}")
    question = ["buffered", rounds, min_separation, participations]
    found = found or recall(question, _is_strategy)
    if found is None:
        found = _solved(rounds, min_separation, participations)
        remember(question, found)
    decays, scales = found
    return Buffered(tuple(decays), tuple(scales))


def _shipped() -> dict[str, Any]:
    text = resources.files("fedjax_rec.privacy").joinpath("strategies.json").read_text("utf-8")
    return dict(json.loads(text))


def _solved(rounds: int, min_separation: int, participations: int) -> list[list[float]]:
    try:
        from jax_privacy.matrix_factorization import buffered_toeplitz
    except ImportError:
        raise UserError(
            f"correlated noise for {rounds} rounds, {min_separation} apart: no strategy for it "
            'comes with the package; pip install "fedjax-rec[privacy]" to find one'
        ) from None
    matrix = buffered_toeplitz.optimize(
        n=rounds, min_sep=min_separation, max_participations=participations
    )
    return [[float(x) for x in leaf] for leaf in (matrix.buf_decay, matrix.output_scale)]


def _is_strategy(found: Any) -> bool:
    def are_numbers(values: Any) -> bool:
        return isinstance(values, Sequence) and all(
            isinstance(x, float) and math.isfinite(x) for x in values
        )

    return (
        isinstance(found, list)
        and len(found) == 2
        and all(map(are_numbers, found))
        and len(found[0]) == len(found[1])
    )
