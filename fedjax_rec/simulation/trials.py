"""Many trials of one algorithm, one after another, by one compiled program."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from fedjax_rec.base import FederatedAlgorithm
from fedjax_rec.data import FederatedData
from fedjax_rec.simulation.loop import simulate
from fedjax_rec.simulation.plans import Result


def simulate_many(
    factory: Callable[..., FederatedAlgorithm],
    data: FederatedData,
    trials: Sequence[tuple[Mapping[str, Any], int]],
    *,
    rounds: int,
    output: Path | None = None,
    **options: Any,
) -> list[Result]:
    """Runs a list of settings and seeds.

    Seeds and settings that change no shape (rates, strengths, decays, deviations) share one
    program; a setting that does, such as a width, compiles once for each of its values. Each
    result equals that of `simulate` with the same settings and key, to the bit.

    Args:
      factory: `(num_items, *, settings) -> algorithm`, such as `fedmf`.
      data: of all trials.
      trials: `(settings of the factory, seed)` each.
      rounds: server updates of each trial.
      output: a folder; trial n goes to its subfolder `n`, counted from 0.
      **options: of `simulate`, the same for all.

    Returns:
      A result for each trial, in their order.

    Raises:
      UserError: a request that `simulate` cannot meet.

    >>> from fedjax_rec.algorithms import fedmf
    >>> from fedjax_rec.data import load
    >>> data = load("synthetic", num_users=30, num_items=40, mean_events=8)
    >>> trials = [({"dim": 2, "item_learning_rate": rate}, 0) for rate in (1.0, 5.0)]
    >>> [result.first_round for result in simulate_many(fedmf, data, trials, rounds=1)]
    [0, 0]
    """
    return [
        simulate(
            factory(data.num_items, **settings),
            data,
            key=jax.random.key(seed),
            rounds=rounds,
            output=output / str(number) if output else None,
            **options,
        )
        for number, (settings, seed) in enumerate(trials)
    ]
