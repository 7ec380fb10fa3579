"""A perceptron over the features of a record, for clients that hold records."""

from itertools import pairwise

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array, Inputs, Key, Model, Part, View
from fedjax_rec.models.checks import refuse_out_of_range
from fedjax_rec.models.ncf import Layer
from fedjax_rec.models.rows import gather


def perceptron(features: Array, num_hidden: int = 10) -> Model:
    """A multi-layer perceptron with one hidden layer over each record's features.

    `s_r = w . relu(x_r W + b) + c`, a logit: the sigmoid is in the loss. W, b, w and c are
    shared. The features x_r are frozen rows, looked up by the record's number: a client's
    view holds those of its own records, and nothing that is frozen is ever sent.

    Args:
      features: `[I, F]` of all clients' records, those that are held out included.
      num_hidden: units of the hidden layer (H), at least 1.

    Returns:
      A row-wise model with shared dense `(Layer([F, H], [H]), Layer([H, 1], [1]))` and frozen
      rows `{"item": [I, F]}`.

    Raises:
      ValueError: `num_hidden` is below 1.

    Reference:
      Rumelhart, Hinton and Williams (1986), "Learning representations by back-propagating
      errors". Differences: rectified units, and weights that start Glorot uniform with
      biases 0 (Glorot and Bengio, 2010, equation 16).

    >>> shared, frozen = perceptron(jnp.ones((7, 3))).init(jax.random.key(0))
    >>> [layer.weight.shape for layer in shared.dense], frozen.rows["item"].shape
    ([(3, 10), (10, 1)], (7, 3))
    """
    refuse_out_of_range(num_hidden=num_hidden)
    num_records, num_features = features.shape

    def init(key: Key) -> tuple[Part, Part]:
        glorot = jax.nn.initializers.glorot_uniform()
        sides = list(pairwise((num_features, num_hidden, 1)))
        keys = jax.random.split(key, len(sides))
        layers = tuple(
            Layer(glorot(key, side), jnp.zeros(side[1]))
            for key, side in zip(keys, sides, strict=True)
        )
        return Part({}, layers), Part({"item": features}, ())

    def score(view: View, inputs: Inputs) -> Array:
        hidden, output = view.shared.dense
        records = gather(view.frozen.rows["item"], inputs.ids)
        activity = jax.nn.relu(records @ hidden.weight + hidden.bias)
        scores: Array = (activity @ output.weight + output.bias)[:, 0]
        return scores

    return Model({"item": num_records}, init, score, is_row_wise=True)
