"""Which silo holds which event: for work across a few silos with many users each."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedjax_rec.data.hashing import hash_events
from fedjax_rec.data.interactions import Interactions
from fedjax_rec.errors import UserError


def silos(
    interactions: Interactions,
    num_silos: int,
    seed: int = 0,
    *,
    by: Literal["event", "user"] = "event",
) -> NDArray[np.int32]:
    """Gives every silo an equal share of the events, or of the users, at random.

    Sizes differ by one at most, in what is dealt. Events are dealt in the order of their
    hashes, users in a random order of their numbers: the order of the file does not matter,
    but for an event that occurs twice.

    Args:
      interactions: all events.
      num_silos: K, from 1 to the number of events or users.
      seed: of the hash or the order, `0 .. 2**64 - 1`.
      by: `event` parts a user's events among silos, as where people use several shops;
        `user` gives a silo all events of its users.

    Returns:
      `[E]` the silo of each event, `0 .. K - 1`.

    Raises:
      UserError: a number of silos or a seed out of range, or an unknown `by`.

    >>> from fedjax_rec.data.interactions import from_events
    >>> events = from_events([1, 1, 2, 2, 3, 3], [5, 6, 5, 6, 5, 6])
    >>> np.bincount(silos(events, 2)).tolist(), np.bincount(silos(events, 2, by="user")).tolist()
    ([3, 3], [4, 2])
    """
    if by not in ("event", "user"):
        raise UserError(f"silos by {by!r} are not known (choose from: event, user)")
    if not 0 <= seed < 2**64:
        raise UserError(f"seed {seed} of the silos is out of range; choose one below 2**64")
    num_dealt = interactions.num_events if by == "event" else interactions.num_users
    _check_num_silos(num_silos, num_dealt, f"{by}s")
    if by == "user":
        order = np.random.default_rng(seed).permutation(num_dealt)
    else:
        order = np.lexsort((interactions.times, hash_events(interactions, seed)))
    silo = np.empty(num_dealt, np.int32)
    silo[order] = np.arange(num_dealt) % num_silos
    return silo if by == "event" else silo[interactions.users]


def dirichlet(labels: ArrayLike, num_silos: int, alpha: float, seed: int = 0) -> NDArray[np.int32]:
    """Parts events among silos of equal size whose mixtures of labels differ.

    `q_k ~ Dirichlet(alpha p)`, with `p` the share of each label among all events: silo `k`
    draws its events without replacement, their labels by `q_k`. So the share of label `l`
    in a silo has mean `p_l` and variance `p_l (1 - p_l) / (alpha + 1)`: a small `alpha`
    gives a silo few labels, a large one the common mixture. Silos draw one after another.
    Where the labels that a silo wants are used up it takes what is left, in proportion, so
    late silos differ less from one another than their own draws would.

    Args:
      labels: `[E]` label of each event: a rating, a genre, the item's popularity class.
      num_silos: K, from 1 to E; sizes differ by one at most.
      alpha: concentration, above 0.
      seed: of all draws.

    Returns:
      `[E]` the silo of each event, `0 .. K - 1`.

    Raises:
      UserError: a number of silos or a concentration out of range.

    Reference: Hsu, Qi and Brown, "Measuring the effects of non-identical data distribution
    for federated visual classification", 2019, https://arxiv.org/abs/1909.06335

    >>> labels = np.repeat([0, 1], 50)
    >>> silo = dirichlet(labels, num_silos=2, alpha=1e-3)
    >>> np.bincount(silo).tolist(), [len(set(labels[silo == k])) for k in range(2)]
    ([50, 50], [1, 1])
    """
    distinct, label = np.unique(np.asarray(labels), return_inverse=True)
    _check_num_silos(num_silos, label.size, "events")
    if not 0 < alpha < np.inf:
        raise UserError(f"alpha {alpha} is out of range; choose a finite number above 0")
    rng = np.random.default_rng(seed)
    num_left = np.bincount(label, minlength=len(distinct))
    concentration = alpha * num_left / label.size
    # The events of each label in a random order: a silo takes the next ones.
    order = np.lexsort((rng.random(label.size), label))
    next_place = np.cumsum(num_left) - num_left
    silo = np.empty(label.size, np.int32)
    for k in range(num_silos):
        size = label.size // num_silos + (k < label.size % num_silos)
        taken = _draw_labels(_dirichlet(concentration, rng), num_left, size, rng)
        for start, count in zip(next_place, taken, strict=True):
            silo[order[start : start + count]] = k
        num_left = num_left - taken
        next_place = next_place + taken
    return silo


def _dirichlet(concentration: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """A draw that stays a distribution where all the gamma variates underflow.

    `log G(a) = log G(a + 1) + log(U) / a`, Marsaglia and Tsang, "A simple method for
    generating gamma variables", 2000.
    """
    uniform = 1 - rng.random(len(concentration))
    logarithm = np.log(rng.standard_gamma(concentration + 1)) + np.log(uniform) / concentration
    weights = np.exp(logarithm - logarithm.max())
    return np.asarray(weights / weights.sum())


def _draw_labels(
    mixture: NDArray[np.float64],
    num_left: NDArray[np.int64],
    size: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """How many events of each label a silo takes."""
    taken = np.zeros_like(num_left)
    while (num_missing := size - int(taken.sum())) > 0:
        is_left = num_left > taken
        weights = np.where(is_left, mixture, 0.0)
        if weights.sum() < 1e-12:  # what is wanted is used up
            weights = (num_left - taken).astype(np.float64)
        drawn = rng.multinomial(num_missing, weights / weights.sum())
        taken = np.minimum(taken + drawn, num_left)
    return taken


def _check_num_silos(num_silos: int, num_dealt: int, what: str) -> None:
    if not 1 <= num_silos <= num_dealt:
        raise UserError(f"{num_silos} silos for {num_dealt} {what}: choose from 1 to {num_dealt}")
