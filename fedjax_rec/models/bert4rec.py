"""BERT4Rec: a bidirectional transformer that finds hidden items of a history."""

from typing import Literal

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array, History, Inputs, Key, Model, PyTree, decided
from fedjax_rec.models.checks import refuse_heads, refuse_out_of_range, refuse_share
from fedjax_rec.models.sequences import sequence_model, vectors_of


def bert4rec(
    num_items: int,
    dim: int = 64,
    *,
    max_length: int = 50,
    num_blocks: int = 2,
    num_heads: int = 2,
    dropout: float = 0.0,
    init_stddev: float = 0.02,
    is_rematerialised: bool = False,
    precision: Literal["float32", "bfloat16"] = "float32",
) -> Model:
    """A transformer that reads both sides of a hidden event (BERT4Rec).

    The score of item i at a hidden event t is `norm(gelu(f_t W + b)) . q_i`: f is the output
    of bidirectional blocks over `norm(q_{x_t} + position)`, in which a learnt vector stands in
    the place of a hidden item. Asked for what follows the last event, the model hides one
    behind it, and reads the last `max_length - 1`.

    Args:
      num_items: size of the catalogue (I).
      dim: width of a vector (D), at least 1 and a multiple of `num_heads`.
      max_length: most events that are read, the hidden one included, at least 1.
      num_blocks: transformer blocks, at least 1; their inner layers have width 4 D.
      num_heads: heads of attention, at least 1.
      dropout: of inputs and of what blocks add, in training; from 0 to below 1.
      init_stddev: standard deviation of the normal initial item vectors, at least 0.
      is_rematerialised: activations are made again for the gradient: less memory, more time.
      precision: of activations; parameters are float32.

    Returns:
      A model with rows `{"item": [I, D]}` and dense parameters; it reads `inputs.is_hidden`.

    Raises:
      ValueError: an argument is out of range; when traced: there is no history, or scores are
        wanted at every place and none is hidden.

    Reference:
      Sun et al. (2019), "BERT4Rec: sequential recommendation with bidirectional encoder
      representations from transformer", section 3. Differences: no bias by item in the
      output; what attention adds is dropped, and not its weights.

    >>> bert4rec(num_items=5, dim=4).needs_history
    True
    """
    refuse_out_of_range(
        dim=dim,
        max_length=max_length,
        num_blocks=num_blocks,
        num_heads=num_heads,
        init_stddev=init_stddev,
    )
    refuse_heads(dim, num_heads)
    refuse_share(dropout=dropout)

    import flax.linen as nn  # loaded by the models that use it alone

    from fedjax_rec.models.transformer import Encoder, dropping

    encoder = Encoder(
        max_length,
        num_blocks,
        num_heads,
        hidden_dim=4 * dim,
        dropout=dropout,
        is_bidirectional=True,
        is_rematerialised=is_rematerialised,
        dtype=jnp.dtype(precision),
    )
    head = nn.Sequential([nn.Dense(dim), nn.gelu, nn.LayerNorm()])
    drops = decided(lambda: dropout > 0)

    def init_dense(key: Key, row: Array) -> PyTree:
        key_encoder, key_head, key_mask = jax.random.split(key, 3)
        return {
            "encoder": encoder.init(key_encoder, row, jnp.int32(1))["params"],
            "head": head.init(key_head, row)["params"],
            "mask": init_stddev * jax.random.normal(key_mask, (dim,)),
        }

    def read(dense: PyTree, table: Array, window: History, inputs: Inputs) -> Array:
        vectors = vectors_of(table, window.items)
        assert inputs.is_hidden is not None
        events = jnp.where(inputs.is_hidden[:, None], dense["mask"], vectors)
        hidden = encoder.apply(
            {"params": dense["encoder"]},
            events,
            window.num_events,
            **dropping(inputs.key if drops else None),
        )
        return jnp.asarray(head.apply({"params": dense["head"]}, hidden))

    return sequence_model(
        "bert4rec", num_items, dim, max_length, init_stddev, init_dense, read, appends=True
    )
