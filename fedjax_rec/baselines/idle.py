"""Clients of methods whose server holds every event: they do nothing and send nothing."""

import jax.numpy as jnp

from fedjax_rec.base import (
    Array,
    ClientOutput,
    ClientUpdate,
    History,
    Key,
    Objective,
    RowIds,
    Task,
    View,
    empty,
)


def _prepare(key: Key, history: History) -> tuple[RowIds, Array]:
    return {}, history.num_events


def _do_nothing(key: Key, view: View, task: Task) -> ClientOutput:
    return ClientOutput(empty(), view.private, view.memory, task.plan.astype(jnp.float32), {})


OBJECTIVE = Objective(_prepare)
"""Nothing is drawn; the plan is how many events the client has."""

CLIENT = ClientUpdate(_do_nothing)
"""An empty update, weighed by the number of events."""
