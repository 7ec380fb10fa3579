"""What a trained ranker says of each tested prompt, and how well that orders them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedjax_rec.attacks.auc import area_under_curve
from fedjax_rec.data import read
from fedjax_rec.data.sources.tallrec import Window
from fedjax_rec.experiment import open_run

Numbers = NDArray[np.floating]
DRAWS = 2000
BLOCK = 8
METHODS = ("counts", "mean", "before", "after")


def told(folder: Path) -> dict[str, Any]:
    """What a finished run says of its tested prompts together; nothing of one alone is kept.

    Returns:
      `num_prompts`, `num_people`, `base_rate`, `counts_on_all`, and by method of `prompts_of` the
      number and interval of each statistic.
    """
    run = open_run(folder)
    mean, counts_everywhere = model_free(run.data.name)
    known = {name: np.array(values) for name, values in prompts_of(run, mean).items()}
    label, counts, person = known["label"], known["counts"], known["person"]
    alone = np.arange(len(label))
    methods = {}
    for name in METHODS:
        scores = known[name].astype(float)
        methods[name] = {
            "auc": _with_interval(auc, scores, label, counts, alone),
            "within": _with_interval(auc_within, scores, label, counts, alone),
            "within_over_people": _with_interval(auc_within, scores, label, counts, person),
        }
    return {
        "methods": methods,
        "num_prompts": len(label),
        "num_people": len(np.unique(person)),
        "base_rate": float(label.mean()),
        "counts_on_all": counts_everywhere,
    }


def _with_interval(
    statistic: Callable[[Numbers, Numbers, Numbers], float], *arrays: Numbers
) -> list[float]:
    value = statistic(*arrays[:3])
    return [round(one, 4) for one in (value, *interval(statistic, *arrays))]


def prompts_of(run: Any, mean: dict[str, float]) -> dict[str, list[float]]:
    """The tested prompts of a run: label, person, counts, and scores by method.

    `before` is the frozen language model, `after` what the run reports. `counts` is how many of
    the ten titles were liked, and `mean` how often prompts that nobody tests say Yes to the title
    that is asked about (one half where none asks about it).
    """
    import jax
    import jax.numpy as jnp

    from fedjax_rec.base import Inputs, View, empty, nothing_private

    asked = run.data.split.test
    is_real = asked.items < run.data.num_items
    items, labels = asked.items[is_real], asked.values[is_real]
    assert run.titles is not None
    windows = [Window.of(run.titles[item]) for item in items]

    @jax.jit
    def score(shared: Any, frozen: Any, ids: Any) -> Any:
        view = View(shared, nothing_private(), frozen, nothing_private(), empty())
        return run.algorithm.model.score(view, Inputs(ids))

    def scores(shared: Any) -> list[float]:
        padded = np.pad(items, (0, -len(items) % BLOCK)).reshape(-1, BLOCK)
        found = [np.asarray(score(shared, run.frozen, block)) for block in padded]
        return [round(float(one), 4) for one in np.concatenate(found)[: len(items)]]

    frozen = jax.tree.map(jnp.zeros_like, run.state.shared)  # factors of 0 add nothing
    return {
        "label": [int(label) for label in labels],
        "person": [int(run.items[item].split("/")[0]) for item in items],
        "counts": [len(window.liked) for window in windows],
        "mean": [mean.get(window.target, 0.5) for window in windows],
        "before": scores(frozen),
        "after": scores(run.state.shared),
    }


def model_free(name: str) -> tuple[dict[str, float], float]:
    """Title -> how often it is liked, of what nobody tests; and the AUC of counts on all tests."""
    events = read(name, notice=lambda line: None)
    assert events.item_titles is not None
    assert events.file_split is not None
    windows = [Window.of(events.item_titles[item]) for item in events.items]
    tested = events.file_split.is_test
    liked: dict[str, list[float]] = {}
    for window, value, is_test in zip(windows, events.values, tested, strict=True):
        if not is_test:
            liked.setdefault(window.target, []).append(float(value))
    counts = np.array([len(window.liked) for window in windows])
    return (
        {title: round(float(np.mean(values)), 4) for title, values in liked.items()},
        area_under_curve(counts[tested], events.values[tested] > 0),
    )


def auc(scores: Numbers, label: Numbers, group: Numbers) -> float:
    """The area under the curve; groups do not matter.

    >>> auc(np.array([2.0, 1.0]), np.array([1, 0]), np.array([0, 1]))
    1.0
    """
    return area_under_curve(scores, label > 0)


def auc_within(scores: Numbers, label: Numbers, group: Numbers) -> float:
    """The probability that a positive scores above a negative of its own group.

    `sum_g P_g N_g AUC_g / sum_g P_g N_g`, over groups with both.

    >>> auc_within(np.array([9.0, 1.0, 2.0]), np.array([0, 0, 1]), np.array([7, 5, 5]))
    1.0
    """
    total = pairs = 0.0
    for one in np.unique(group):
        own = group == one
        positive = label[own] > 0
        count = positive.sum() * (~positive).sum()
        if count:
            total += count * area_under_curve(scores[own], positive)
            pairs += count
    return total / pairs if pairs else float("nan")


def interval(
    statistic: Callable[[Numbers, Numbers, Numbers], float],
    scores: Numbers,
    label: Numbers,
    group: Numbers,
    clusters: Numbers,
    seed: int = 0,
) -> tuple[float, float]:
    """The middle 95 % of a statistic over bootstrap draws of clusters, such as people.

    Args:
      statistic: `(scores, label, group) -> number`.
      scores: of each prompt.
      label: likewise.
      group: likewise.
      clusters: what is drawn together; each prompt's own number draws prompts.
      seed: of the draws.

    Reference:
      Efron and Tibshirani (1993), "An introduction to the bootstrap", section 13.3.
    """
    draw = np.random.default_rng(seed)
    members = [np.flatnonzero(clusters == one) for one in np.unique(clusters)]
    found = []
    for _ in range(DRAWS):
        chosen = draw.integers(0, len(members), len(members))
        drawn = np.concatenate([members[one] for one in chosen])
        found.append(statistic(scores[drawn], label[drawn], group[drawn]))
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return float(low), float(high)
