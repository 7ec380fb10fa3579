"""Gaussian noise of which later rounds take back a part of that of earlier ones."""

from typing import Any

import jax
import jax.numpy as jnp

from fedjax_rec.base import (
    AggregateTransform,
    Array,
    Key,
    Mechanism,
    Message,
    Part,
    PyTree,
    is_concrete,
)
from fedjax_rec.privacy import buffered
from fedjax_rec.transforms.noise import noised
from fedjax_rec.tree import zeros_like


def correlated_noise(
    noise_multiplier: float, *, rounds: int, min_separation: int, participations: int
) -> AggregateTransform:
    """Adds noise whose sum over rounds is smaller than that of noise drawn anew.

    `sum_c delta_c + z S (C^-1 Z)_t`: Z is normal and new in each round, S the bound that
    reaches this link, C a buffered linear Toeplitz matrix. A model is the sum of its rounds,
    and so is its noise; the price is that a client's part in C x is larger, the more often it
    takes part. It asks for no random cohorts: only that a client takes part seldom.

    With buffers b_s that start at 0: `x_t = Z_t - sum_s scale_s b_s`, then
    `b_s <- decay_s b_s + x_t`.

    Args:
      noise_multiplier: z, above 0; the accountant divides it by the sensitivity of C.
      rounds: of the run, n; behind them nothing is claimed.
      min_separation: a client takes part again after at least so many rounds, as the sampler's
        event states it.
      participations: in so many rounds at most.

    Returns:
      A transform that needs one bound for the whole run, and keeps as many tables as C has
      buffers.

    Raises:
      ValueError: `noise_multiplier` is out of its range.
      UserError: there is no strategy for such a run, see `privacy.buffered`.

    Reference:
      McMahan, Xu and Zhang (2024), arXiv 2408.08868, algorithm 3; Denisov et al. (2022),
      "Improved differential privacy for SGD via optimal private linear operators on adaptive
      streams".

    >>> from fedjax_rec.base import Part
    >>> noise = correlated_noise(1.0, rounds=100, min_separation=10, participations=10)
    >>> noise.mechanisms[0].kind, len(noise.mechanisms[0].strategy)
    ('correlated', 100)
    """
    if is_concrete(noise_multiplier) and not 0 < noise_multiplier < float("inf"):
        raise ValueError(f"noise_multiplier must be above 0, got {noise_multiplier}")
    strategy = buffered(rounds, min_separation, participations)
    decays, scales = (jnp.asarray(leaf, jnp.float32) for leaf in strategy)

    def init(key: Key, template: Part) -> PyTree:
        return jax.tree.map(
            lambda leaf: jnp.zeros(
                (len(strategy.decays), *leaf.shape), jnp.promote_types(leaf.dtype, "float32")
            ),
            template,
        )

    def decode(key: Key, total: Message, buffers: PyTree, bound: Array) -> tuple[Message, PyTree]:
        fresh = noised(key, zeros_like(total.update), 1.0)

        def taken_back(fresh: Array, buffer: Array) -> Array:
            return fresh - jnp.tensordot(scales, buffer, axes=1)

        noise = jax.tree.map(taken_back, fresh, buffers)

        def moved(buffer: Array, noise: Array) -> Any:
            return jax.vmap(jnp.multiply)(decays, buffer) + noise

        stddev = noise_multiplier * bound
        update = jax.tree.map(lambda leaf, x: leaf + stddev * x, total.update, noise)
        return total._replace(update=update), jax.tree.map(moved, buffers, noise)

    return AggregateTransform(
        init=init,
        decode=decode,
        scaling="by_weight",
        needs_bound=True,
        needs_static_bound=True,
        mechanisms=(Mechanism("correlated", noise_multiplier, strategy=strategy.column(rounds)),),
    )
