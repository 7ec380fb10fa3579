"""A text encoder in the form of BERT, in flax; loaded when a model that uses it is made."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fedjax_rec.base import Array, PyTree
from fedjax_rec.models.transformer import Attention


@dataclass(frozen=True)
class TextConfig:
    """The sizes of an encoder.

    Attributes:
      num_layers: transformer layers (L).
      num_heads: heads of attention.
      dim: width of a vector (D).
      hidden_dim: of the two layers on each token.
      max_length: positions that are known.
      epsilon: of layer norms.
    """

    num_layers: int
    num_heads: int
    dim: int
    hidden_dim: int
    max_length: int = 512
    epsilon: float = 1e-12


class TextLayer(nn.Module):
    """`y = norm(x + attention(x))`, then `norm(y + W_2 gelu(W_1 y + b_1) + b_2)`, gelu exact."""

    num_heads: int
    hidden_dim: int
    epsilon: float
    dtype: Any

    @nn.compact
    def __call__(self, tokens: Array, is_real: Array) -> tuple[Array, None]:
        """`[T, D] -> [T, D]`, in the form of a step of a scan."""
        dim = tokens.shape[-1]

        def norm(inputs: Array, name: str) -> Array:
            layer = nn.LayerNorm(epsilon=self.epsilon, dtype=self.dtype, name=name)
            normed: Array = layer(inputs)
            return normed

        attend = Attention(self.num_heads, False, True, self.dtype, name="attention")
        attended = norm(tokens + attend(tokens, tokens, is_real), "attention_norm")
        inner = nn.Dense(self.hidden_dim, dtype=self.dtype, name="inner")
        outer = nn.Dense(dim, dtype=self.dtype, name="outer")
        hidden = outer(nn.gelu(inner(attended), approximate=False))
        return norm(attended + hidden, "norm"), None


class TextLayers(nn.Module):
    """Layers whose parameters are stacked: compilation does not grow with them.

    Attributes:
      config: sizes; `num_layers` of them may be fewer than the encoder has.
      is_rematerialised: activations are made again for the gradient.
      dtype: of activations and products.
    """

    config: TextConfig
    is_rematerialised: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Array, is_real: Array) -> Array:
        """`[T, D] -> [T, D]`; what is not real is not read."""
        layer = nn.remat(TextLayer, prevent_cse=False) if self.is_rematerialised else TextLayer
        size = self.config
        layers = nn.scan(
            layer,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=size.num_layers,
        )(size.num_heads, size.hidden_dim, size.epsilon, self.dtype, name="layers")
        read, _ = layers(tokens.astype(self.dtype), is_real)
        return jnp.asarray(read)


def embedded(params: PyTree, tokens: Array, epsilon: float) -> Array:
    """`norm(word_t + position_t)`, `[..., T] -> [..., T, D]`.

    Args:
      params: `word [V, D]`, `position [P, D]` and `norm` of `scale` and `bias`.
      tokens: numbers of words.
      epsilon: of the norm.
    """
    vectors = params["word"][tokens] + params["position"][: tokens.shape[-1]]
    normed = nn.LayerNorm(epsilon=epsilon).apply({"params": params["norm"]}, vectors)
    return jnp.asarray(normed)


def run_layers(
    config: TextConfig,
    layers: PyTree,
    vectors: Array,
    is_real: Array,
    *,
    is_rematerialised: bool = False,
    dtype: Any = jnp.float32,
) -> Array:
    """Some of an encoder's layers on several texts, `[B, T, D] -> [B, T, D]`.

    Args:
      config: sizes of the encoder.
      layers: stacked parameters, as many as are to run.
      vectors: what comes in.
      is_real: `[B, T]`.
      is_rematerialised: activations are made again for the gradient.
      dtype: of activations.
    """
    depth = jax.tree.leaves(layers)[0].shape[0]
    size = TextConfig(depth, config.num_heads, config.dim, config.hidden_dim, 0, config.epsilon)
    module = TextLayers(size, is_rematerialised, dtype)

    def one(tokens: Array, is_real: Array) -> Array:
        return jnp.asarray(module.apply({"params": {"layers": layers}}, tokens, is_real))

    return jax.vmap(one)(vectors, is_real)


def pooled(vectors: Array, is_real: Array) -> Array:
    """The mean over a text's real tokens, brought to length 1; `[..., T, D] -> [..., D]`."""
    weight = is_real[..., None].astype(jnp.float32)
    total = jnp.sum(vectors.astype(jnp.float32) * weight, axis=-2)
    mean = total / jnp.maximum(jnp.sum(weight, axis=-2), 1)
    return mean * jax.lax.rsqrt(jnp.maximum(jnp.sum(mean**2, axis=-1, keepdims=True), 1e-24))


def projected(params: PyTree, vectors: Array) -> Array:
    """`x W` by an `nn.Dense`, so that it can be adapted.

    Args:
      params: `kernel [D_in, D_out]`.
      vectors: `[..., D_in]`.
    """
    layer = nn.Dense(params["kernel"].shape[-1], use_bias=False, name="projection")
    return jnp.asarray(layer.apply({"params": params}, vectors))
