"""Popularity: everyone is recommended what most clients have. One round counts it."""

import jax.numpy as jnp

from fedjax_rec.base import (
    AggregateTransform,
    Array,
    FederatedAlgorithm,
    History,
    Inputs,
    Key,
    Model,
    Part,
    View,
    parametric,
)
from fedjax_rec.baselines.counting import counted, every_item


@parametric
def popularity(num_items: int, *, noise: AggregateTransform | None = None) -> FederatedAlgorithm:
    """Popularity: an item scores the number of clients of the last cohort that have it.

    `s_i = #{c : i in train(c)}`, for every client alike.

    Args:
      num_items: size of the catalogue (I).
      noise: for private counts: clips what a client sends, and adds noise to the total.

    Returns:
      An algorithm that is done after one round of all clients.

    Reference:
      ItemPop in He et al. (2017), "Neural collaborative filtering", section 4.1.

    >>> popularity(num_items=3).model.num_rows
    {'item': 3}
    """

    def init(key: Key) -> tuple[Part, Part]:
        return Part({"item": jnp.zeros(num_items)}, ()), Part({}, ())

    def score(view: View, inputs: Inputs) -> Array:
        counts: Array = view.shared.rows["item"]
        return counts if inputs.ids is None else counts[inputs.ids]

    def count(history: History) -> Part:
        # an item counts once however often it recurs; padding ids fall off the end
        return Part({"item": jnp.zeros(num_items).at[history.items].set(1.0, mode="drop")}, ())

    model = Model({"item": num_items}, init, score)
    return counted(model, count, lambda counts: counts, plan=every_item, noise=noise)
