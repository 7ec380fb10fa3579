"""Gaussian noise on the sum of clipped updates."""

import jax

from fedjax_rec.base import AggregateTransform, Array, Key, Message, PyTree, is_concrete


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
    cohorts it is the subsampled Gaussian mechanism; an accountant turns that into a
    guarantee, and this package does not have one yet.

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
        leaves, structure = jax.tree.flatten(total.update)
        keys = jax.random.split(key, max(len(leaves), 1))
        noised = [
            leaf + noise_multiplier * bound * jax.random.normal(leaf_key, leaf.shape, leaf.dtype)
            for leaf_key, leaf in zip(keys, leaves, strict=False)
        ]
        return total._replace(update=jax.tree.unflatten(structure, noised)), state

    return AggregateTransform(decode=decode, needs_bound=True, is_noise=True)
