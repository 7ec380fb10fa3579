"""Popularity: everyone is recommended what most clients have. One round counts it."""

import jax.numpy as jnp

from fedjax_rec.base import (
    Array,
    ClientOutput,
    ClientUpdate,
    Cohort,
    FederatedAlgorithm,
    History,
    Inputs,
    Key,
    Message,
    Model,
    Objective,
    Part,
    RowIds,
    ServerState,
    ServerUpdate,
    Task,
    View,
    parametric,
)
from fedjax_rec.transforms import total


@parametric
def popularity(num_items: int) -> FederatedAlgorithm:
    """Popularity: an item scores the number of clients of the last cohort that have it.

    `s_i = #{c : i in train(c)}`, for every client alike.

    Args:
      num_items: size of the catalogue (I).

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

    def prepare(key: Key, history: History) -> tuple[RowIds, History]:
        return {"item": None}, history

    def count(key: Key, view: View, task: Task) -> ClientOutput:
        history: History = task.plan
        # an item counts once however often it recurs; padding ids fall off the end
        has_item = jnp.zeros(num_items).at[history.items].set(1.0, mode="drop")
        weight = history.num_events.astype(jnp.float32)
        return ClientOutput(Part({"item": has_item}, ()), view.private, view.memory, weight, {})

    def replace_counts(state: ServerState, total: Message, cohort: Cohort) -> ServerState:
        return state._replace(shared=total.update)

    return FederatedAlgorithm(
        Model({"item": num_items}, init, score),
        Objective(prepare),
        ClientUpdate(count),
        total(),
        ServerUpdate(lambda shared: (), replace_counts),
    )
