"""Synthetic interactions with the shape of real ones, at any size."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedjax_rec.data.interactions import Interactions
from fedjax_rec.errors import UserError

# Calibrated on MovieLens 100K; the figures are in the docstring of `synthetic`.
_NUM_TASTES = 18
_TASTE_WIDTH = 12
_TASTE_SPREAD = 0.35
_FIRST_TIME = 874_724_710
_DAYS = 215
_TIE = 0.51
_NEW_SESSION = 0.018
_LOG_GAP = (3.5, 1.3)
_LOG_BREAK_DAYS = (1.3, 1.8)
_RATING_EDGES = (-1.55, -0.93, -0.12, 0.80)
_CHUNK_SCORES = 2**22


def synthetic(
    num_users: int = 1000,
    num_items: int = 1700,
    mean_events: float = 100.0,
    seed: int = 0,
    *,
    popularity_exponent: float = 4.6,
    popularity_shift: float = 0.5,
    size_sigma: float = 1.0,
    min_events: int = 5,
    taste_strength: float = 2.5,
) -> Interactions:
    """Generates interactions with power-law items, log-normal clients, tastes and sessions.

    Item weights follow the Zipf-Mandelbrot law `(rank + shift I) ** -exponent`; the numbers
    of events are log-normal; a user takes distinct items with probability proportional to
    `weight * exp(strength * <taste_u, taste_i>)` (Gumbel top-k), where users and items
    gather around common tastes; events come in sessions, often several in the same
    second. Item ids say nothing about popularity. Ratings are 1 .. 5, better for items
    near the user's taste.

    MovieLens 100K (943 users, 1,682 items) was the pattern: fitted exponent 4.6 at shift
    0.54 I, Gini of popularity 0.63, 43 % of the events on a tenth of the items; median
    65, mean 106, at most 737 events a user, which is a log-normal sigma of
    `sqrt(2 log(106 / 65)) = 0.99` (every user there has at least 20 events); 51 % of the
    steps between a user's events take no time, 1.8 % more than an hour, the others a
    median of 36 s; 215 days in all.

    Args:
      num_users: N, at least 2.
      num_items: I, at least 4.
      mean_events: mean number of events a user, from `min_events` to below I.
      seed: the same arguments and seed give the same events (on one NumPy version).
      popularity_exponent: > 0; larger is more skewed.
      popularity_shift: > 0, flattens the head; in units of I.
      size_sigma: >= 0, spread of the logarithm of the clients' sizes.
      min_events: fewest events of a user, at least 1.
      taste_strength: >= 0; 0 leaves popularity only.

    Returns:
      Events user after user, oldest first; the catalogue holds all `num_items`.

    Raises:
      UserError: an argument out of its range.

    References: Mandelbrot, "An informational theory of the statistical structure of
    language", 1953; Kool, van Hoof and Welling, "Stochastic beams and where to find
    them", ICML 2019 (Gumbel top-k).

    >>> events = synthetic(num_users=20, num_items=50, mean_events=8, seed=1)
    >>> events.num_users, events.num_items
    (20, 50)
    """
    population = _Population(
        num_users,
        num_items,
        mean_events,
        popularity_exponent,
        popularity_shift,
        size_sigma,
        min_events,
        taste_strength,
    )
    _check(population, seed)
    streams = np.random.default_rng(seed).spawn(4)
    sizes = _sizes(population, streams[0])
    users, items, affinity = _choose_items(population, sizes, streams[1])
    times = _times(users, streams[2])
    return Interactions(
        users=users,
        items=items,
        values=_ratings(affinity, streams[3]),
        times=times,
        user_labels=np.arange(1, num_users + 1).astype(np.str_),
        item_labels=np.arange(1, num_items + 1).astype(np.str_),
        item_titles=None,
        name="synthetic",
    )


@dataclass(frozen=True)
class _Population:
    num_users: int
    num_items: int
    mean_events: float
    popularity_exponent: float
    popularity_shift: float
    size_sigma: float
    min_events: int
    taste_strength: float

    @property
    def max_events(self) -> int:
        """Half of the catalogue, where that leaves the mean within reach."""
        return max(self.num_items // 2, min(self.num_items - 1, int(2 * self.mean_events)))


def _check(population: _Population, seed: int) -> None:
    is_right = {
        f"num_users {population.num_users} (at least 2)": population.num_users >= 2,
        f"num_items {population.num_items} (at least 4)": population.num_items >= 4,
        f"min_events {population.min_events} (at least 1)": population.min_events >= 1,
        f"mean_events {population.mean_events} (from min_events, {population.min_events}, "
        f"to below num_items, {population.num_items})": population.min_events
        <= population.mean_events
        <= population.num_items - 1,
        f"popularity_exponent {population.popularity_exponent} (more than 0, at most 100)": 0
        < population.popularity_exponent
        <= 100,
        f"popularity_shift {population.popularity_shift} (more than 0)": 0
        < population.popularity_shift
        < np.inf,
        f"size_sigma {population.size_sigma} (0 to 5)": 0 <= population.size_sigma <= 5,
        f"taste_strength {population.taste_strength} (0 to 100)": 0
        <= population.taste_strength
        <= 100,
        f"seed {seed} (at least 0)": seed >= 0,
    }
    for what, holds in is_right.items():
        if not holds:
            raise UserError(f"synthetic: {what} is out of range; choose a value in it")


def _sizes(population: _Population, rng: np.random.Generator) -> NDArray[np.int64]:
    """Events of each user: `min + log-normal`, cut at the top, scaled to the wanted mean."""
    shape = rng.lognormal(0.0, population.size_sigma, population.num_users)
    low, high = 0.0, population.num_items / shape.min()
    for _ in range(60):
        scale = (low + high) / 2
        wanted = np.rint(population.min_events + scale * shape)
        sizes = np.minimum(wanted, population.max_events)
        low, high = (scale, high) if sizes.mean() < population.mean_events else (low, scale)
    return np.asarray(sizes, np.int64)


def _choose_items(
    population: _Population, sizes: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """Users, items and affinities `[E]`, user after user, in random order within one."""
    log_weight = _log_popularity(population, rng)
    item_taste, user_taste = _tastes(population, rng)
    # Users of like size together: a chunk costs what its largest user needs.
    by_size = np.argsort(-sizes, kind="stable")
    step = max(1, _CHUNK_SCORES // population.num_items)
    parts = []
    for start in range(0, population.num_users, step):
        users = by_size[start : start + step]
        affinity = user_taste[users] @ item_taste.T
        scores = population.taste_strength * affinity + log_weight
        # Minus the logarithm of an exponential variable is Gumbel noise.
        noise = rng.standard_exponential(scores.shape, np.float32)
        scores -= np.log(np.maximum(noise, np.finfo(np.float32).tiny))
        rows, items = _top(scores, sizes[users])
        parts.append((users[rows], items, affinity[rows, items]))
    users, items, affinities = (np.concatenate(column) for column in zip(*parts, strict=True))
    # The top items come sorted by score: shuffled, so that time does not tell popularity.
    order = np.lexsort((rng.random(len(users)), users))
    return users[order].astype(np.int32), items[order].astype(np.int32), affinities[order]


def _top(
    scores: NDArray[np.float32], sizes: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row and column of the `sizes[row]` largest scores of each row."""
    widest = int(sizes.max())
    columns = np.argpartition(-scores, widest - 1, axis=1)[:, :widest]
    within = np.argsort(-np.take_along_axis(scores, columns, 1), axis=1)
    columns = np.take_along_axis(columns, within, 1)
    rows, places = np.nonzero(np.arange(widest) < sizes[:, None])
    return rows, columns[rows, places]


def _log_popularity(population: _Population, rng: np.random.Generator) -> NDArray[np.float32]:
    """Zipf-Mandelbrot, `-a log(rank + q I)`, ranks given to items at random."""
    rank = rng.permutation(population.num_items) + 1
    shifted = rank / population.num_items + population.popularity_shift
    return (-population.popularity_exponent * np.log(shifted)).astype(np.float32)


def _tastes(
    population: _Population, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Unit vectors `[I, D]` and `[N, D]`: items near one taste, users among a few."""
    centres = _unit(rng.standard_normal((_NUM_TASTES, _TASTE_WIDTH)))
    of_item = centres[rng.integers(_NUM_TASTES, size=population.num_items)]
    mixture = rng.dirichlet(np.full(_NUM_TASTES, 0.1), population.num_users)
    spread = _TASTE_SPREAD / np.sqrt(_TASTE_WIDTH)
    items = _unit(of_item + spread * rng.standard_normal(of_item.shape))
    users = _unit(mixture @ centres)
    return items.astype(np.float32), users.astype(np.float32)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _times(users: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.int64]:
    """Seconds: users join at any time and go on in sessions, all within the period."""
    num_events = len(users)
    kind = rng.random(num_events)
    gap = rng.lognormal(*_LOG_GAP, num_events).clip(1, 3600)
    pause = 86_400 * rng.lognormal(*_LOG_BREAK_DAYS, num_events)
    step = np.where(kind < _TIE, 0.0, np.where(kind < 1 - _NEW_SESSION, gap, pause))
    first = np.append(0, np.flatnonzero(np.diff(users)) + 1)
    counts = np.diff(np.append(first, num_events))
    elapsed = np.cumsum(step)
    elapsed -= np.repeat(elapsed[first], counts)
    period = _DAYS * 86_400.0
    # Users with more than fits the period live faster.
    elapsed /= np.repeat(np.maximum(1, elapsed[first + counts - 1] / period), counts)
    spare = period - elapsed[first + counts - 1]
    joined = np.floor(spare * rng.random(len(first)))
    return np.asarray(_FIRST_TIME + np.repeat(joined, counts) + np.floor(elapsed), np.int64)


def _ratings(affinity: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """1 .. 5 in MovieLens' proportions, by standardised affinity and noise."""
    centred = (affinity - affinity.mean()) / max(float(affinity.std()), 1e-6)
    liking = 0.6 * centred + 0.8 * rng.standard_normal(len(affinity))
    return np.asarray(1 + np.searchsorted(_RATING_EDGES, liking), np.float32)
