"""Baselines computed in one round: clients send counts or sums, the server uses their total."""

from collections.abc import Callable
from typing import Any

from fedjax_rec.base import (
    AggregateTransform,
    Array,
    ClientOutput,
    ClientUpdate,
    Cohort,
    FederatedAlgorithm,
    History,
    Key,
    Message,
    Model,
    Objective,
    Part,
    PyTree,
    RowIds,
    ServerState,
    ServerUpdate,
    Task,
    View,
)
from fedjax_rec.transforms import total


def counted(
    model: Model,
    count: Callable[[PyTree], Part],
    conclude: Callable[[Part], Part],
    *,
    plan: Callable[[History], tuple[RowIds, Any]],
    template: Callable[[Part], Part] = lambda shared: shared,
    noise: AggregateTransform | None = None,
) -> FederatedAlgorithm:
    """One round of all clients: each counts its history, and the server concludes.

    Args:
      model: scores from what the server concluded.
      count: what a client sends, from its plan.
      conclude: the new shared parameters, from the total of what was sent.
      plan: the rows that a client sends, and what `count` gets, from its history.
      template: the shape of what is sent; by default that of the shared parameters.
      noise: clips what clients send and adds noise to its total; by default nothing does.
    """

    def prepare(key: Key, history: History) -> tuple[RowIds, tuple[Any, Array]]:
        rows, planned = plan(history)
        return rows, (planned, history.num_events)

    def update(key: Key, view: View, task: Task) -> ClientOutput:
        planned, num_events = task.plan
        weight = num_events.astype("float32")
        return ClientOutput(count(planned), view.private, view.memory, weight, {})

    def replace(state: ServerState, message: Message, cohort: Cohort) -> ServerState:
        return state._replace(shared=conclude(message.update))

    return FederatedAlgorithm(
        model,
        Objective(prepare),
        ClientUpdate(update),
        noise or total(),
        ServerUpdate(lambda shared: (), replace),
        template=template,
    )


def every_item(history: History) -> tuple[RowIds, History]:
    """A plan that sends a row for every item."""
    return {"item": None}, history
