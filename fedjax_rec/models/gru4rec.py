"""GRU4Rec: a recurrent network that scores the next item of a history."""

import jax.numpy as jnp

from fedjax_rec.base import Array, History, Inputs, Key, Model, PyTree, decided
from fedjax_rec.models.checks import refuse_out_of_range, refuse_share
from fedjax_rec.models.sequences import sequence_model, vectors_of


def gru4rec(
    num_items: int,
    dim: int = 64,
    *,
    max_length: int = 50,
    num_layers: int = 1,
    dropout: float = 0.0,
    init_stddev: float = 0.02,
) -> Model:
    """Gated recurrent units over a history (GRU4Rec).

    The score of item i after events `x_1 .. x_t` is `h_t . q_i`, with `h_t` the state of the
    last layer of gated recurrent units over `q_{x_1} .. q_{x_t}`, and q_i the item's own vector.

    Args:
      num_items: size of the catalogue (I).
      dim: width of vectors and states (D), at least 1.
      max_length: most events that are read, at least 1.
      num_layers: of recurrent units, at least 1.
      dropout: of the inputs of every layer, in training; from 0 to below 1.
      init_stddev: standard deviation of the normal initial item vectors, at least 0.

    Returns:
      A model with rows `{"item": [I, D]}` and dense flax parameters; see `sasrec`.

    Raises:
      ValueError: an argument is out of range; when traced: there is no history.

    Reference:
      Hidasi et al. (2016), "Session-based recommendations with recurrent neural networks",
      section 3.1; Cho et al. (2014) for the unit. Differences: item vectors are read and
      scored by one table, and the loss is the objective's.

    >>> gru4rec(num_items=5, dim=4).needs_history
    True
    """
    refuse_out_of_range(
        dim=dim, max_length=max_length, num_layers=num_layers, init_stddev=init_stddev
    )
    refuse_share(dropout=dropout)

    import flax.linen as nn  # loaded by the models that use it alone

    from fedjax_rec.models.transformer import dropped as drop
    from fedjax_rec.models.transformer import dropping

    class Layers(nn.Module):
        @nn.compact
        def __call__(self, events: Array, is_training: bool = False) -> Array:
            for _ in range(num_layers):
                events = drop(self, events, dropout, is_training)
                events = jnp.asarray(nn.RNN(nn.GRUCell(dim))(events))
            return events

    layers, drops = Layers(), decided(lambda: dropout > 0)

    def init_dense(key: Key, row: Array) -> PyTree:
        return layers.init(key, row)["params"]

    def read(dense: PyTree, table: Array, window: History, inputs: Inputs) -> Array:
        events = vectors_of(table, window.items)
        dropped = dropping(inputs.key if drops else None)
        return jnp.asarray(layers.apply({"params": dense}, events, **dropped))

    return sequence_model("gru4rec", num_items, dim, max_length, init_stddev, init_dense, read)
