"""Neural collaborative filtering: a small network over a user's and an item's vector."""

from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array, Inputs, Key, Model, Part, Private, View
from fedjax_rec.models.checks import refuse_out_of_range
from fedjax_rec.models.rows import gather


class Layer(NamedTuple):
    """An affine layer, `x @ weight + bias`."""

    weight: Array
    bias: Array


class Tower(NamedTuple):
    """A tower of layers over `[p; q]`.

    Attributes:
      user: `[D, H]` the part of the first layer that meets the user's vector.
      item: `[D, H]` the part that meets the item's.
      bias: `[H]` of the first layer.
      hidden: the further hidden layers.
      output: `[H_last]` weights and `[]` bias of the score.
    """

    user: Array
    item: Array
    bias: Array
    hidden: tuple[Layer, ...]
    output: Layer


def ncf(num_items: int, dim: int = 32, num_layers: int = 3, *, init_stddev: float = 0.1) -> Model:
    """The multi-layer perceptron of neural collaborative filtering (MLP).

    `z_1 = relu(W_1 [p_u; q_i] + b_1)`, `z_l = relu(W_l z_{l-1} + b_l)`, score `h . z_last + b`,
    a logit; p_u is private, all else is shared. Layers halve in width: for D = 32 the tower
    is 64-32-16-8-1.

    Args:
      num_items: size of the catalogue (I).
      dim: width of a vector (D), at least 1; also that of the first hidden layer.
      num_layers: hidden layers, at least 1, of widths D, D / 2, D / 4, ... (at least 1).
      init_stddev: standard deviation of the normal initial values of p and q, at least 0.

    Returns:
      A row-wise model with rows `{"item": [I, D]}`, dense `Tower`, private dense `[D]`.

    Raises:
      ValueError: `dim`, `num_layers` or `init_stddev` is out of range.

    The user's half of the first layer, `W_user p_u + b_1`, is computed once a call and not
    once an item.

    Reference:
      He et al. (2017), "Neural collaborative filtering", equation 10. The sigmoid is in the
      loss. Differences: the output has a bias, and the tower starts Glorot uniform with
      biases 0 (Glorot and Bengio, 2010, equation 16) in place of normal with deviation 0.01,
      which lets almost no gradient through four layers.

    >>> shared, frozen = ncf(num_items=5, dim=32).init(jax.random.key(0))
    >>> [layer.weight.shape for layer in (*shared.dense.hidden, shared.dense.output)]
    [(32, 16), (16, 8), (8,)]
    """
    refuse_out_of_range(dim=dim, num_layers=num_layers, init_stddev=init_stddev)

    def init(key: Key) -> tuple[Part, Part]:
        key_table, key_tower = jax.random.split(key)
        table = init_stddev * jax.random.normal(key_table, (num_items, dim))
        return Part({"item": table}, init_tower(key_tower, dim, num_layers)), Part({}, ())

    def init_private(key: Key) -> Private:
        return Private({}, init_stddev * jax.random.normal(key, (dim,)))

    def score(view: View, inputs: Inputs) -> Array:
        items = gather(view.shared.rows["item"], inputs.ids)
        return tower_scores(view.shared.dense, view.private.dense, items)

    return Model({"item": num_items}, init, score, init_private, is_row_wise=True)


def init_tower(key: Key, dim: int, num_layers: int) -> Tower:
    """Glorot uniform weights, biases 0; layers halve in width from `dim`."""
    glorot = jax.nn.initializers.glorot_uniform()
    widths = [2 * dim] + [max(1, dim >> depth) for depth in range(num_layers)] + [1]
    keys = jax.random.split(key, len(widths) - 1)
    first, *hidden, output = (
        Layer(glorot(key, sides), jnp.zeros(sides[1]))
        for key, sides in zip(keys, pairwise(widths), strict=True)
    )
    user, item = jnp.split(first.weight, 2)
    return Tower(user, item, first.bias, tuple(hidden), Layer(output.weight[:, 0], output.bias[0]))


def tower_scores(tower: Tower, user: Array, items: Array) -> Array:
    """`[B]` scores of `[B, D]` item vectors for a user's vector `[D]`."""
    hidden = jax.nn.relu(items @ tower.item + (user @ tower.user + tower.bias))
    for layer in tower.hidden:
        hidden = jax.nn.relu(hidden @ layer.weight + layer.bias)
    scores: Array = hidden @ tower.output.weight + tower.output.bias
    return scores
