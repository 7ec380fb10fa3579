"""A clip that follows a quantile of the clients' norms."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from fedjax_rec.base import AggregateTransform, Array, Key, Mechanism, Message, PyTree, decided
from fedjax_rec.transforms.clip import clipped

BELOW = "clip_by_quantile"
"""The name of the count among a message's stats."""


def clip_by_quantile(
    clip_norm: float = 0.1,
    *,
    cohort_size: float,
    largest: float,
    quantile: float = 0.5,
    learning_rate: float = 0.2,
    count_stddev: float = 0.0,
) -> AggregateTransform:
    """Clips to a norm C_t that moves to a quantile of the norms of the clients' updates.

    Each client tells whether its norm is at most C_t, b_i in {0, 1}; the server counts with
    noise, `b = (sum_i (b_i - 1/2) + N(0, s^2)) / m + 1/2`, and moves
    `C_(t+1) = min(C_t exp(-eta (b - gamma)), largest)`.

    The count is a release of its own: its noise has the multiplier 2 s, for one client moves
    the sum by 1/2, and the accountant composes it with that on the update. Noise makes norms
    grow, and a norm that grows makes noise: hence `largest`.

    Args:
      clip_norm: C_0, positive.
      cohort_size: m, the public expected number of clients in a round, positive.
      largest: what C_t never passes.
      quantile: gamma, between 0 and 1.
      learning_rate: eta, positive.
      count_stddev: s; Andrew et al. suggest m / 20. 0: the count is exact, and no noise on
        the update may stand beside it.

    Returns:
      A transform whose bound changes from round to round.

    Raises:
      ValueError: a number is out of its range.

    Reference:
      Andrew et al. (2021), "Differentially private learning with adaptive clipping",
      Algorithm 1.

    Differences: the noise of the update is not raised to make up for the count's; both are
    told to the accountant.

    >>> from fedjax_rec.base import Part
    >>> clip = clip_by_quantile(4.0, cohort_size=2, largest=8.0)
    >>> norm = clip.init(jax.random.key(0), Part({}, jnp.zeros(2)))
    >>> message = Message(Part({}, jnp.array([3.0, 0.0])), jnp.float32(1), {}, {})
    >>> sent, _ = clip.encode(None, message, norm, (), 0.0)
    >>> total = jax.tree.map(lambda leaf: 2 * leaf, sent)
    >>> round(float(clip.decode(jax.random.key(1), total, norm, 0.0)[1]), 3)
    3.619
    """
    decided(lambda: _check(clip_norm, cohort_size, largest, quantile, learning_rate, count_stddev))
    is_exact = decided(lambda: count_stddev == 0)

    def encode(
        key: Key, message: Message, norm: Array, residual: PyTree, bound: Array
    ) -> tuple[Message, PyTree]:
        update, own_norm = clipped(message.update, norm)
        is_below = (own_norm <= norm).astype(jnp.float32)
        stats = message.stats | {BELOW: is_below - 0.5}
        return message._replace(update=update, stats=stats), residual

    def decode(key: Key, total: Message, norm: Array, bound: Array) -> tuple[Message, Array]:
        noise = count_stddev * jax.random.normal(key)
        share = (total.stats[BELOW] + noise) / cohort_size + 0.5
        moved = norm * jnp.exp(-learning_rate * (share - quantile))
        return total, jnp.minimum(moved, largest).astype(jnp.float32)

    return AggregateTransform(
        init=lambda key, template: jnp.float32(clip_norm),
        encode=encode,
        decode=decode,
        bound=lambda bound, norm: _smaller(bound, largest if norm is None else norm),
        scaling="by_norm",
        mechanisms=() if is_exact else (Mechanism("gaussian", 2 * count_stddev, "count"),),
        is_bound_static=False,
        releases_counts=is_exact,
        public_size=cohort_size,
    )


def _check(
    clip_norm: float,
    cohort_size: float,
    largest: float,
    quantile: float,
    learning_rate: float,
    count_stddev: float,
) -> None:
    ranges = {
        "clip_norm must be above 0": clip_norm > 0,
        "largest must be finite and no less than clip_norm": clip_norm <= largest < math.inf,
        "cohort_size must be above 0": 0 < cohort_size < math.inf,
        "quantile must be between 0 and 1": 0 < quantile < 1,
        "learning_rate must be above 0": 0 < learning_rate < math.inf,
        "count_stddev must be at least 0": 0 <= count_stddev < math.inf,
    }
    for words, is_met in ranges.items():
        if not is_met:
            raise ValueError(f"clip_by_quantile: {words}")


def _smaller(bound: Any, norm: Any) -> Any:
    are_numbers = all(isinstance(one, int | float) for one in (bound, norm))
    return min(bound, norm) if are_numbers else jnp.minimum(bound, norm)
