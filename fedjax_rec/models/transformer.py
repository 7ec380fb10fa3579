"""A causal transformer over a sequence, in flax; loaded when a model that uses it is made."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from fedjax_rec.base import Array


class CausalAttention(nn.Module):
    """Self-attention of each event to itself and the earlier ones.

    `softmax(Q K^T / sqrt(d)) V` for each head of width d, with Q, K and V linear in the input;
    heads are put side by side.

    Padding at the end needs no mask: no event sees a later one.
    """

    num_heads: int

    @nn.compact
    def __call__(self, events: Array) -> Array:
        """`[L, D] -> [L, D]`."""
        length, dim = events.shape
        shape = (length, self.num_heads, dim // self.num_heads)

        def project(name: str) -> Array:
            projected: Array = nn.Dense(dim, use_bias=False, name=name)(events)
            return projected.reshape(shape)

        query, key, value = project("query"), project("key"), project("value")
        logits = jnp.einsum("qhd,khd->hqk", query, key) / jnp.sqrt(shape[-1])
        is_past = jnp.tri(length, dtype=bool)
        weights = jax.nn.softmax(jnp.where(is_past, logits, -jnp.inf))
        return jnp.einsum("hqk,khd->qhd", weights, value).reshape(length, dim)


class Block(nn.Module):
    """`x + attention(norm(x))`, then `x + W_2 relu(W_1 norm(x) + b_1) + b_2`."""

    num_heads: int

    @nn.compact
    def __call__(self, events: Array) -> Array:
        """`[L, D] -> [L, D]`."""
        dim = events.shape[-1]
        events = events + CausalAttention(self.num_heads)(nn.LayerNorm()(events))
        hidden = nn.relu(nn.Dense(dim)(nn.LayerNorm()(events)))
        output: Array = events + nn.Dense(dim)(hidden)
        return output


class Encoder(nn.Module):
    """Learnt positions, blocks, a last layer norm."""

    max_length: int
    num_blocks: int
    num_heads: int

    @nn.compact
    def __call__(self, events: Array, num_events: Array) -> Array:
        """`[L, D] -> [L, D]`; real events come first and the latest has the last position."""
        positions = self.param(
            "positions", nn.initializers.normal(0.02), (self.max_length, events.shape[-1])
        )
        place = self.max_length - num_events + jnp.arange(events.shape[0])
        events = events + positions.at[place].get(mode="clip")
        for _ in range(self.num_blocks):
            events = Block(self.num_heads)(events)
        hidden: Array = nn.LayerNorm()(events)
        return hidden
