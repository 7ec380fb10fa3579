"""Strategies of correlated noise: how much of earlier noise a later round takes back."""

import json
import math
import warnings
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


class Banded(NamedTuple):
    """A banded lower triangular Toeplitz matrix C.

    Attributes:
      band: its first column down to the last number above 0; begins with 1.
    """

    band: tuple[float, ...]

    def column(self, rounds: int) -> tuple[float, ...]:
        """The first column of C, for so many rounds.

        >>> Banded((1.0, 0.5)).column(4)
        (1.0, 0.5, 0.0, 0.0)
        """
        return (*self.band, *(0.0,) * rounds)[:rounds]


@cache
def banded(rounds: int, bands: int) -> Banded:
    """The banded strategy whose sums of noise over rounds are smallest.

    It minimises the mean squared error of the prefix sums at a sensitivity of one column. With
    no more bands than rounds between two participations, columns of one client do not overlap,
    and k participations cost k squares of a column. jax-privacy takes seconds to find one,
    and it is kept.

    Args:
      rounds: of the run, n.
      bands: numbers in the first column, at least 1; 1 is noise drawn anew.

    Raises:
      UserError: a number is out of its range, or jax-privacy is not installed.

    Reference:
      Choquette-Choo et al. (2023), "(Amplified) banded matrix factorization: a unified
      approach to private training"; McKenna (2024), "Scaling up the banded matrix
      factorization mechanism for differentially private ML", arXiv 2405.15913.

    >>> banded(rounds=20, bands=1)
    Banded(band=(1.0,))
    """
    if not 1 <= bands <= rounds:
        raise UserError(
            f"correlated noise: bands must be between 1 and the {rounds} rounds, got {bands}"
        )
    if bands == 1:
        return Banded((1.0,))
    question = ["banded", rounds, bands]
    found = recall(question, lambda found: _is_band(found, bands))
    if found is None:
        found = _solved_band(rounds, bands)
        remember(question, found)
    return Banded(tuple(found))


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


def _solved_band(rounds: int, bands: int) -> list[float]:
    try:
        from jax_privacy.matrix_factorization import toeplitz
    except ImportError:
        raise UserError(
            f"correlated noise of {bands} bands: no strategy comes with the package; "
            'pip install "fedjax-rec[privacy]" to find one'
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # float64 is asked for where there is none
        found = [float(x) for x in toeplitz.optimize_banded_toeplitz(n=rounds, bands=bands)]
    return [x / found[0] for x in found]


def _are_numbers(values: Any) -> bool:
    return isinstance(values, Sequence) and all(
        isinstance(x, float) and math.isfinite(x) for x in values
    )


def _is_band(found: Any, bands: int) -> bool:
    return _are_numbers(found) and len(found) == bands and found[0] == 1


def _is_strategy(found: Any) -> bool:
    return (
        isinstance(found, list)
        and len(found) == 2
        and all(map(_are_numbers, found))
        and len(found[0]) == len(found[1])
    )
