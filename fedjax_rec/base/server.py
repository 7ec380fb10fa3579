"""States, the server's step, and the algorithm that holds all slots."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from fedjax_rec.base.aggregation import AggregateTransform
from fedjax_rec.base.histories import ClientData
from fedjax_rec.base.parts import (
    Array,
    Key,
    Part,
    Private,
    PyTree,
    RowIds,
    View,
    empty,
    nothing_private,
)
from fedjax_rec.base.recipes import Recipe
from fedjax_rec.base.slots import ClientUpdate, Entry, Model, Objective, Stat, Task


class Clients(NamedTuple):
    """The store: every client's state, leaves `[N, ...]`, by slot. Three owners.

    Attributes:
      private: the model's.
      memory: the algorithm's.
      residual: the transforms'.
    """

    private: Private
    memory: Private
    residual: PyTree


class ServerState(NamedTuple):
    """What the next round needs. The round is the only clock."""

    key: Key
    round: Array
    shared: Part
    opt_state: PyTree
    aggregate_state: PyTree
    extra: Part


class Fixed(NamedTuple):
    """Arguments of a round that no round changes: never carried nor checkpointed."""

    frozen: Part
    data: ClientData


RoundInfo = dict[str, Stat]
"""What was observed in a round (by the simulation, not by the modelled server)."""


@dataclass(frozen=True)
class ServerUpdate:
    """How the server moves.

    Attributes:
      init: `shared -> opt_state`.
      apply: `(state, total, cohort) -> state`, given the decoded total.
      learning_rate: a promise that `apply` is `shared + learning_rate * total.update` and
        nothing else, so that only rows that change need to be visited.
      takes_changes: a promise that clients send changes of the shared part, so that a client
        without a server may keep its own instead.
      needs_frozen: `apply` takes the frozen parameters as a fourth argument: a server that
        trains by itself.
      working_bytes: memory that `apply` takes beside states and message, where that is much:
        a run that it does not fit is refused before it starts.
    """

    init: Callable[[Part], PyTree]
    apply: Callable[..., ServerState]
    learning_rate: float | None = None
    takes_changes: bool = False
    needs_frozen: bool = False
    working_bytes: int = 0


@dataclass(frozen=True)
class FederatedAlgorithm:
    """The filled slots of a federated algorithm; it holds parts, not a loop.

    Attributes:
      broadcast: `(state, entry, row_ids) -> (shared, extra)`: what the server sends
        this client; `None` sends the table's rows.
      template: `shared -> Part`: the tree of `ClientOutput.update`.
      init_memory: `shared -> Private`, one client's memory between rounds.
      init_extra: `(key, shared) -> Part`, the server's own further state.
      adapt: `(key, view, task) -> view`: what a client does with what it receives before it
        is asked for recommendations; `None`: nothing.
      sent: `(state, entry) -> (down, up)`: bytes that this client receives and sends in this
        round, for algorithms in which they differ by client or round (ranks of its own, factors
        that alternate). It is traced for one client, whose name is `entry.client_id`. `None`:
        the bytes of what `broadcast` and `template` show, the same for all.
      without_own: `view -> view` of what all clients share, for methods that also give each
        client item parameters of its own: they are evaluated with and without.
      recipe: how a factory made it; `dataclasses.replace` leaves it behind, for what it
        returns was made otherwise.
    """

    model: Model
    objective: Objective
    client_update: ClientUpdate
    aggregate: AggregateTransform
    server_update: ServerUpdate
    broadcast: Callable[[ServerState, Entry, RowIds], tuple[Part, Part]] | None = None
    template: Callable[[Part], Part] = lambda shared: shared
    init_memory: Callable[[Part], Private] = lambda shared: nothing_private()
    init_extra: Callable[[Key, Part], Part] = lambda key, shared: empty()
    sent: Callable[[ServerState, Entry], tuple[Array | float, Array | float]] | None = None
    adapt: Callable[[Key, View, Task], View] | None = None
    without_own: Callable[[View], View] | None = None
    recipe: Recipe | None = field(default=None, init=False, compare=False, repr=False)
