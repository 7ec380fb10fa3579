"""SASRec: a causal transformer that scores the next item of a history."""

from typing import Literal

import jax.numpy as jnp

from fedjax_rec.base import Array, History, Inputs, Key, Model, PyTree, decided
from fedjax_rec.models.checks import refuse_heads, refuse_out_of_range, refuse_share
from fedjax_rec.models.sequences import sequence_model, vectors_of


def sasrec(
    num_items: int,
    dim: int = 64,
    *,
    max_length: int = 50,
    num_blocks: int = 2,
    num_heads: int = 1,
    dropout: float = 0.0,
    init_stddev: float = 0.02,
    is_rematerialised: bool = False,
    precision: Literal["float32", "bfloat16"] = "float32",
) -> Model:
    """Self-attentive sequential recommendation (SASRec).

    The score of item i after events `x_1 .. x_t` is `f_t . q_i`: f is the output of causal
    transformer blocks over `sqrt(D) q_{x_t}` plus a learnt position, and q_i is the item's own
    vector. There is no user vector: all is shared. Only the last `max_length` events are
    read, and positions count back from the latest one.

    Args:
      num_items: size of the catalogue (I).
      dim: width of a vector (D), at least 1 and a multiple of `num_heads`.
      max_length: most events that are read, at least 1.
      num_blocks: transformer blocks, at least 1.
      num_heads: heads of attention, at least 1.
      dropout: of inputs and of what blocks add, in training; from 0 to below 1.
      init_stddev: standard deviation of the normal initial item vectors, at least 0.
      is_rematerialised: activations are made again for the gradient: less memory, more time.
      precision: of activations; parameters are float32.

    Returns:
      A model with rows `{"item": [I, D]}` and dense flax parameters. It needs
      `inputs.history`, whose items are rows of the view; it scores `inputs.ids` (or
      all) after the last event, `[B]`, or after each, `[L, B]`, if `is_every_position`. For a
      client without events the scores are finite and the same for all such clients.

    Raises:
      ValueError: an argument is out of range; when traced: there is no history, or it is
        longer than `max_length` and scores are wanted after every event.

    Reference:
      Kang and McAuley (2018), "Self-attentive sequential recommendation", section III, with
      scores from the item embedding itself. As in the authors' released code, and unlike
      their equation, keys and values read events that are not normalised, and both halves of a
      block add to what is. Differences: with several heads, no projection behind them; what
      attention adds is dropped, and not its weights; padding is not read at all.

    >>> model = sasrec(num_items=5, dim=4)
    >>> model.needs_history, model.is_row_wise
    (True, False)
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

    from fedjax_rec.models.transformer import Encoder, dropping  # loads flax

    encoder = Encoder(
        max_length,
        num_blocks,
        num_heads,
        hidden_dim=dim,
        dropout=dropout,
        is_rematerialised=is_rematerialised,
        dtype=jnp.dtype(precision),
    )
    drops = decided(lambda: dropout > 0)

    def init_dense(key: Key, row: Array) -> PyTree:
        return encoder.init(key, row, jnp.int32(1))["params"]

    def read(dense: PyTree, table: Array, window: History, inputs: Inputs) -> Array:
        events = jnp.sqrt(dim) * vectors_of(table, window.items)
        dropped = dropping(inputs.key if drops else None)
        hidden = encoder.apply({"params": dense}, events, window.num_events, **dropped)
        return jnp.asarray(hidden)

    return sequence_model("sasrec", num_items, dim, max_length, init_stddev, init_dense, read)
