"""A decoder in the form of Llama, in flax; loaded when a model that uses it is made."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fedjax_rec.base import Array, PyTree


@dataclass(frozen=True)
class LlamaConfig:
    """The sizes of a decoder.

    Attributes:
      num_layers: transformer layers (L).
      num_heads: heads of queries (H).
      num_kv_heads: heads of keys and values, each read by `H / num_kv_heads` heads of queries.
      dim: width of a vector (D).
      hidden_dim: of the layers on each token.
      vocabulary_size: tokens that are known (V).
      rope_base: of the angles of positions.
      epsilon: of the norms.
      has_head: what predicts a token has a matrix of its own, and not that of the embedding.
    """

    num_layers: int
    num_heads: int
    num_kv_heads: int
    dim: int
    hidden_dim: int
    vocabulary_size: int
    rope_base: float = 10_000.0
    epsilon: float = 1e-5
    has_head: bool = False


def turned(vectors: Array, base: float) -> Array:
    """Rotary positions: of `[T, H, d]`, numbers j and j + d/2 are turned by `t base^(-2j/d)`.

    Reference:
      Su et al. (2024), "RoFormer: enhanced transformer with rotary position embedding",
      equation 34. Difference: halves are turned, and not neighbours, as in released weights.
    """
    half = vectors.shape[-1] // 2
    angle = jnp.arange(len(vectors))[:, None] * base ** (-jnp.arange(half) / half)
    cos, sin = jnp.cos(angle)[:, None], jnp.sin(angle)[:, None]
    one, other = jnp.split(vectors.astype(jnp.float32), 2, axis=-1)
    both = jnp.concatenate([one * cos - other * sin, other * cos + one * sin], axis=-1)
    return both.astype(vectors.dtype)


class LlamaLayer(nn.Module):
    """`y = x + attention(norm(x))`, then `y + W_down (silu(W_gate z) * W_up z)`, `z = norm(y)`."""

    config: LlamaConfig
    dtype: Any

    @nn.compact
    def __call__(self, tokens: Array, _: None) -> tuple[Array, None]:
        """`[T, D] -> [T, D]`, in the form of a step of a scan; a token reads earlier ones."""
        size = self.config
        head_dim = size.dim // size.num_heads

        def dense(width: int, name: str, inputs: Array) -> Array:
            found: Array = nn.Dense(width, use_bias=False, dtype=self.dtype, name=name)(inputs)
            return found

        def norm(inputs: Array, name: str) -> Array:
            normed: Array = nn.RMSNorm(epsilon=size.epsilon, dtype=self.dtype, name=name)(inputs)
            return normed

        def heads(name: str, count: int) -> Array:
            return dense(count * head_dim, name, normed).reshape(-1, count, head_dim)

        normed = norm(tokens, "attention_norm")
        query = turned(heads("query", size.num_heads), size.rope_base)
        key = turned(heads("key", size.num_kv_heads), size.rope_base)
        value = heads("value", size.num_kv_heads)
        read = jax.nn.dot_product_attention(query, key, value, is_causal=True)
        tokens = tokens + dense(size.dim, "output", read.reshape(tokens.shape))
        normed = norm(tokens, "norm")
        gate, up = (dense(size.hidden_dim, name, normed) for name in ("gate", "up"))
        return tokens + dense(size.dim, "down", nn.silu(gate) * up), None


class LlamaLayers(nn.Module):
    """Layers whose parameters are stacked: compilation does not grow with them.

    Attributes:
      config: sizes.
      is_rematerialised: activations are made again for the gradient.
      dtype: of activations and products.
    """

    config: LlamaConfig
    is_rematerialised: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Array) -> Array:
        """`[T, D] -> [T, D]`."""
        layer = nn.remat(LlamaLayer, prevent_cse=False) if self.is_rematerialised else LlamaLayer
        layers = nn.scan(
            layer,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=self.config.num_layers,
        )(self.config, self.dtype, name="layers")
        read, _ = layers(tokens.astype(self.dtype), None)
        return jnp.asarray(read)


def last_vectors(
    config: LlamaConfig,
    params: PyTree,
    tokens: Array,
    lengths: Array,
    *,
    is_rematerialised: bool = False,
    dtype: Any = jnp.float32,
) -> Array:
    """What several texts read at their last tokens, `[B, T] -> [B, D]`, behind the last norm.

    Texts are padded at their ends, which no earlier token reads.

    Args:
      config: sizes.
      params: `embedding [V, D]`, stacked `layers`, and `norm` with its `scale`.
      tokens: numbers of tokens.
      lengths: `[B]` of each text, at least 1.
      is_rematerialised: activations are made again for the gradient.
      dtype: of activations.

    Returns:
      In float32.

    Reference:
      Touvron et al. (2023), "LLaMA: open and efficient foundation language models", section 2.2;
      heads that share keys and values: Ainslie et al. (2023), "GQA", section 2.2.
    """
    module = LlamaLayers(config, is_rematerialised, dtype)
    embedding = jnp.asarray(params["embedding"])

    def one(tokens: Array, length: Array) -> Array:
        read = module.apply({"params": {"layers": params["layers"]}}, embedding[tokens])
        return jnp.asarray(read)[length - 1]

    last = jax.vmap(one)(tokens, lengths).astype(jnp.float32)
    norm = nn.RMSNorm(epsilon=config.epsilon)
    return jnp.asarray(norm.apply({"params": params["norm"]}, last), jnp.float32)


def shapes_of(config: LlamaConfig, dtype: Any = jnp.float32) -> PyTree:
    """The parameters as `jax.ShapeDtypeStruct`: nothing is allocated.

    Returns:
      The tree of `last_vectors`, with `head [V, D]` where the model has one.
    """

    def shape(*sides: int) -> Any:
        return jax.ShapeDtypeStruct(sides, dtype)

    depth, width = config.num_layers, config.dim
    keys = config.num_kv_heads * (width // config.num_heads)
    sides = {"query": (width, width), "key": (width, keys), "value": (width, keys)}
    sides |= {"output": (width, width), "down": (config.hidden_dim, width)}
    sides |= dict.fromkeys(("gate", "up"), (width, config.hidden_dim))
    layers = {name: {"kernel": shape(depth, *side)} for name, side in sides.items()}
    layers |= {name: {"scale": shape(depth, width)} for name in ("attention_norm", "norm")}
    table = shape(config.vocabulary_size, width)
    head = {"head": table} if config.has_head else {}
    return {"embedding": table, "layers": layers, "norm": {"scale": shape(width)}} | head
