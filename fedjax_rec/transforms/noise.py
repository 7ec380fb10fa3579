"""Gaussian noise: on the sum of clipped updates, or on each of them."""

from typing import Any

import jax
import jax.numpy as jnp

from fedjax_rec.base import AggregateTransform, Array, Key, Mechanism, Message, PyTree, is_concrete


def gaussian_noise(noise_multiplier: float) -> AggregateTransform:
    """Adds normal noise, scaled to the bound, to the sum of updates.

    `sum_c delta_c + N(0, (z S)^2 I)`; S is the bound that reaches this link. Every row of
    every table gets noise, touched or not: noise on touched rows only would tell which.

    Args:
      noise_multiplier: z, the standard deviation in units of the bound; at least 0.

    Returns:
      A transform that needs a bound and decodes before whatever divides.

    Raises:
      ValueError: `noise_multiplier` is negative or not finite.

    Formal guarantee: none by itself. With a clipped update, a public divisor and Poisson
    cohorts it is the subsampled Gaussian mechanism; `fedjax_rec.privacy` turns the rounds
    that were run into an epsilon.

    Reference:
      McMahan et al. (2018), "Learning differentially private recurrent language models",
      Algorithm 1.

    >>> import jax.numpy as jnp
    >>> from fedjax_rec.base import Part
    >>> noisy = gaussian_noise(2.0)
    >>> total = Message(Part({"item": jnp.zeros((1000, 10))}, ()), jnp.float32(0), {}, {})
    >>> noised, _ = noisy.decode(jax.random.key(0), total, (), jnp.float32(0.5))
    >>> round(float(noised.update.rows["item"].std()), 1)
    1.0
    """
    if is_concrete(noise_multiplier) and not 0 <= noise_multiplier < float("inf"):
        raise ValueError(f"noise_multiplier must be at least 0, got {noise_multiplier}")

    def decode(key: Key, total: Message, state: PyTree, bound: Array) -> tuple[Message, PyTree]:
        return total._replace(update=noised(key, total.update, noise_multiplier * bound)), state

    return AggregateTransform(
        decode=decode,
        scaling="by_weight",
        needs_bound=True,
        mechanisms=(Mechanism("gaussian", noise_multiplier),),
    )


def local_noise(noise_multiplier: float) -> AggregateTransform:
    """Adds normal noise to each client's own message, before anybody reads it.

    `delta_c + N(0, (z S)^2 I)` on every number of the update; S is the bound that reaches
    this link. A client needs the whole table for it, for noise on touched rows only would
    tell which.

    Args:
      noise_multiplier: z, the standard deviation in units of the bound; above 0.

    Returns:
      A transform that needs a bound and whole tables.

    Raises:
      ValueError: `noise_multiplier` is not positive and finite.

    Formal guarantee: the Gaussian mechanism of sensitivity 2 S, for the server knows who
    sends, in each round that a client takes part in: `fedjax_rec.privacy`.

    Reference:
      Dwork and Roth (2014), "The algorithmic foundations of differential privacy", appendix A;
      the noise that an epsilon asks for is that of Balle and Wang (2018).

    >>> local_noise(2.0).support
    'table'
    """
    if is_concrete(noise_multiplier) and not 0 < noise_multiplier < float("inf"):
        raise ValueError(f"noise_multiplier must be above 0, got {noise_multiplier}")

    def encode(
        key: Key, message: Message, state: PyTree, residual: PyTree, bound: Array
    ) -> tuple[Message, PyTree]:
        update = noised(key, message.update, noise_multiplier * bound)
        return message._replace(update=update), residual

    return AggregateTransform(
        encode=encode,
        support="table",
        needs_bound=True,
        mechanisms=(Mechanism("local", noise_multiplier),),
    )


def noised(key: Key, update: PyTree, stddev: Any) -> PyTree:
    """An update with independent normal noise on every number of it, in float32 or better.

    Raises:
      TypeError: a leaf holds whole numbers.
    """
    leaves, structure = jax.tree.flatten(update)
    if any(not jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
        raise TypeError("noise is real: an update of whole numbers cannot take it; send floats")
    keys = jax.random.split(key, max(len(leaves), 1))

    def noise(leaf: Array, key: Key) -> Array:
        kind = jnp.promote_types(leaf.dtype, "float32")
        noisy: Array = leaf + stddev * jax.random.normal(key, leaf.shape, kind)
        return noisy

    return jax.tree.unflatten(structure, list(map(noise, leaves, keys)))
