"""Points that follow from what earlier ones gave: the tree-structured Parzen estimator."""

from collections.abc import Sequence
from typing import Any

from fedjax_rec.errors import UserError
from fedjax_rec.sweeps.points import DIGITS, Axis, Point

NUM_AT_RANDOM = 8
"""Points before the estimator has anything to go by."""

ATTEMPTS = 50
"""At a point that was not tried yet; where all were, the search is over."""


def tpe_point(axes: Sequence[Axis], tried: Sequence[tuple[Point, float | None]]) -> Point | None:
    """The next point, a function of what was tried: a search that was stopped asks the same again.

    Of each setting the estimator models the values of the better points, `l(x)`, and of the others,
    `g(x)`, and takes the value with the largest `l(x) / g(x)` of some that it draws from `l`.

    Args:
      axes: the settings that are varied.
      tried: points in their order, each with its value, higher is better; `None` where it has none.

    Returns:
      A point that was not tried; `None` if none was found.

    Raises:
      UserError: the extra `search` is not installed.

    Reference:
      Bergstra et al. (2011), "Algorithms for hyper-parameter optimization", section 4, as in
      Optuna's `TPESampler`; the first 8 points are drawn at random.

    >>> axes = [Axis("rate", low="0.01", high="10.0")]
    >>> point = tpe_point(axes, [((("rate", "0.1"),), 0.2), ((("rate", "5"),), None)])
    >>> point == tpe_point(axes, [((("rate", "0.1"),), 0.2), ((("rate", "5"),), None)])
    True
    """
    try:
        import optuna
    except ImportError as error:
        raise UserError('search tpe needs Optuna: pip install "fedjax-rec[search]"') from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spaces = {axis.key: _space(axis) for axis in axes}
    known = {point for point, _ in tried}
    for attempt in range(ATTEMPTS):
        sampler = optuna.samplers.TPESampler(
            seed=ATTEMPTS * len(tried) + attempt, n_startup_trials=NUM_AT_RANDOM
        )
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for earlier, value in tried:
            if value is not None:
                chosen = {axis.key: _value(axis, dict(earlier)[axis.key]) for axis in axes}
                study.add_trial(
                    optuna.trial.create_trial(params=chosen, distributions=spaces, value=value)
                )
        asked = study.ask(spaces).params
        point = tuple((axis.key, _word(axis, asked[axis.key])) for axis in axes)
        if point not in known:
            return point
    return None


def _space(axis: Axis) -> Any:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if axis.words:
        return CategoricalDistribution(axis.words)
    if axis.is_whole:
        return IntDistribution(int(axis.low), int(axis.high))
    return FloatDistribution(float(axis.low), float(axis.high), log=True)


def _value(axis: Axis, word: str) -> str | int | float:
    """What Optuna knows a word as; rounding may have carried it over an end of the range."""
    if axis.words:
        return word
    if axis.is_whole:
        return int(word)
    return min(max(float(word), float(axis.low)), float(axis.high))


def _word(axis: Axis, value: str | int | float) -> str:
    return str(value) if axis.words or axis.is_whole else f"{value:.{DIGITS}g}"
