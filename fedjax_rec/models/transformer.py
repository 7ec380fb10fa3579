"""A transformer over a sequence, in flax; loaded when a model that uses it is made."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fedjax_rec.base import Array, Key

START = nn.initializers.normal(0.02)
"""Of weights, as released code of transformers over sequences has it."""


class Attention(nn.Module):
    """Attention: `softmax(Q K^T / sqrt(d)) V` for each head of width d.

    Q is linear in the queries, K and V in the events; heads are put side by side. With
    `is_causal` an event reads itself and the earlier ones: padding at the end needs no mask, for
    no event sees a later one.
    """

    num_heads: int
    is_causal: bool
    has_output: bool
    dtype: Any

    @nn.compact
    def __call__(self, queries: Array, events: Array, is_real: Array) -> Array:
        """`[L, D], [L, D] -> [L, D]`."""
        length, dim = events.shape
        shape = (length, self.num_heads, dim // self.num_heads)

        def project(name: str, inputs: Array) -> Array:
            dense = nn.Dense(
                dim, use_bias=self.has_output, dtype=self.dtype, kernel_init=START, name=name
            )
            projected: Array = dense(inputs)
            return projected.reshape(shape)

        mask = None if self.is_causal else jnp.broadcast_to(is_real, (1, length, length))
        attended = jax.nn.dot_product_attention(
            project("query", queries),
            project("key", events),
            project("value", events),
            mask=mask,
            is_causal=self.is_causal,
        ).reshape(length, dim)
        if self.has_output:
            output = nn.Dense(dim, dtype=self.dtype, kernel_init=START, name="output")
            attended = output(attended)
        return attended


class Block(nn.Module):
    """Attention, then two layers on each event, both added to their queries.

    One way: `q = norm(x)`, `z = norm(q + attention(q, x))`, then `z + W_2 relu(W_1 z + b_1) + b_2`.
    Both ways: `z = norm(x + attention(x, x))`, then `norm(z + W_2 gelu(W_1 z + b_1) + b_2)`.
    """

    num_heads: int
    hidden_dim: int
    dropout: float
    is_bidirectional: bool
    dtype: Any
    is_training: bool

    @nn.compact
    def __call__(self, events: Array, is_real: Array) -> tuple[Array, None]:
        """`[L, D] -> [L, D]`, in the form of a step of a scan."""
        dim, after = events.shape[-1], self.is_bidirectional

        def norm(inputs: Array) -> Array:
            normed: Array = nn.LayerNorm(dtype=self.dtype)(inputs)
            return normed

        def drop(inputs: Array) -> Array:
            return dropped(self, inputs, self.dropout, self.is_training)

        def dense(width: int, name: str) -> nn.Dense:
            return nn.Dense(width, dtype=self.dtype, kernel_init=START, name=name)

        attention = Attention(self.num_heads, not after, after, self.dtype, name="attention")
        activation = nn.gelu if after else nn.relu
        queries = events if after else norm(events)
        attended = norm(queries + drop(attention(queries, events, is_real)))
        hidden = activation(dense(self.hidden_dim, "inner")(attended))
        output = attended + drop(dense(dim, "outer")(drop(hidden)))
        return (norm(output) if after else output), None


class Encoder(nn.Module):
    """Learnt positions, blocks, and a last layer norm where blocks have none at their end.

    Attributes:
      max_length: most events that are read.
      num_blocks: whose parameters are stacked: compilation does not grow with them.
      num_heads: of attention.
      hidden_dim: of the layers on each event.
      dropout: share of numbers that are dropped in training.
      is_bidirectional: each event reads all others, norms stand after the layers.
      is_rematerialised: activations are made again for the gradient.
      dtype: of activations and products; parameters stay in float32.
    """

    max_length: int
    num_blocks: int
    num_heads: int
    hidden_dim: int
    dropout: float = 0.0
    is_bidirectional: bool = False
    is_rematerialised: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, events: Array, num_events: Array, is_training: bool = False) -> Array:
        """`[L, D] -> [L, D]`; real events come first and the latest has the last position."""
        positions = self.param(
            "positions", nn.initializers.normal(0.02), (self.max_length, events.shape[-1])
        )
        place = jnp.arange(events.shape[0])
        events = events + positions.at[self.max_length - num_events + place].get(mode="clip")
        events = dropped(self, events, self.dropout, is_training)
        block = nn.remat(Block, prevent_cse=False) if self.is_rematerialised else Block
        blocks = nn.scan(
            block,
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=nn.broadcast,
            length=self.num_blocks,
        )(
            self.num_heads,
            self.hidden_dim,
            self.dropout,
            self.is_bidirectional,
            self.dtype,
            is_training,
            name="blocks",
        )
        events, _ = blocks(events.astype(self.dtype), place < num_events)
        hidden: Array = events if self.is_bidirectional else nn.LayerNorm(dtype=self.dtype)(events)
        return hidden.astype(jnp.float32)


def dropped(module: nn.Module, inputs: Array, share: float, is_training: bool) -> Array:
    """The inputs with a share of them dropped in training; the share may be a tracer.

    Reference:
      Srivastava et al. (2014), "Dropout: a simple way to prevent neural networks from
      overfitting", with numbers that are kept scaled in training and not at test.
    """
    if not is_training:
        return inputs
    is_kept = jax.random.bernoulli(module.make_rng("dropout"), 1 - share, inputs.shape)
    return jnp.where(is_kept, inputs / (1 - share), 0).astype(inputs.dtype)


def dropping(key: Key | None) -> dict[str, Any]:
    """The arguments by which a module drops in training, and does not without a key."""
    return {"is_training": True, "rngs": {"dropout": key}} if key is not None else {}
