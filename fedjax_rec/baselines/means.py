"""Means of ratings: what a model of ratings has to beat. One round computes them."""

import jax.numpy as jnp

from fedjax_rec.base import (
    Array,
    FederatedAlgorithm,
    History,
    Inputs,
    Key,
    Model,
    Part,
    View,
    is_concrete,
    parametric,
)
from fedjax_rec.baselines.counting import counted, every_item


@parametric
def rating_means(
    num_items: int, *, item_damping: float = 25.0, user_damping: float = 10.0
) -> FederatedAlgorithm:
    """The mean rating, with biases of items and users.

    `r_ui = mu + b_i + b_u`: mu is the mean of all ratings of the last cohort,
    `b_i = sum_{u in R(i)} (r_ui - mu) / (lambda_i + |R(i)|)` and
    `b_u = sum_{i in R(u)} (r_ui - mu - b_i) / (lambda_u + |R(u)|)`. A client sends how many
    ratings it gave each item and their sum, and works b_u out itself when it is asked.

    Args:
      num_items: size of the catalogue (I).
      item_damping: lambda_i, at least 0; with both very large all that is left is mu.
      user_damping: lambda_u, at least 0.

    Returns:
      An algorithm that is done after one round of all clients.

    Raises:
      ValueError: a damping is negative or not finite.

    Reference:
      Koren (2010), "Factor in the neighbors: scalable and accurate collaborative filtering",
      section 2.1.

    >>> rating_means(num_items=3).model.num_rows
    {'item': 3}
    """
    for name, damping in (("item_damping", item_damping), ("user_damping", user_damping)):
        if is_concrete(damping) and not 0 <= damping < float("inf"):
            raise ValueError(f"{name} must be at least 0 and finite, got {damping}")

    def init(key: Key) -> tuple[Part, Part]:
        return Part({"item": jnp.zeros(num_items)}, jnp.zeros(())), Part({}, ())

    def score(view: View, inputs: Inputs) -> Array:
        history = inputs.history
        assert history is not None
        by_item = view.shared.dense + view.shared.rows["item"]
        is_real = history.items < num_items
        error = jnp.where(is_real, history.values - by_item.at[history.items].get(mode="clip"), 0)
        scores: Array = by_item + error.sum() / _at_least_one(user_damping + history.num_events)
        return scores if inputs.ids is None else scores[inputs.ids]

    def add_up(history: History) -> Part:
        nothing = jnp.zeros(num_items)  # padding ids fall off its end
        sums = nothing.at[history.items].add(history.values, mode="drop")
        counts = nothing.at[history.items].add(1.0, mode="drop")
        return Part({"item": (sums, counts)}, ())

    def divide(added: Part) -> Part:
        sums, counts = added.rows["item"]
        mean = sums.sum() / _at_least_one(counts.sum())
        return Part({"item": (sums - counts * mean) / _at_least_one(item_damping + counts)}, mean)

    return counted(
        Model({"item": num_items}, init, score, needs_history=True),
        add_up,
        divide,
        plan=every_item,
        template=lambda shared: Part({"item": (jnp.zeros(num_items), jnp.zeros(num_items))}, ()),
    )


def _at_least_one(count: Array) -> Array:
    return jnp.maximum(count, 1.0)
