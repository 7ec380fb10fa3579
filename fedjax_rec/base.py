"""The types every other module speaks: parts, models, clients, messages, algorithms.

Arrays live in NamedTuples (pytrees); functions and static facts live in frozen
dataclasses (not pytrees). Every parameter has a role (`shared`, `private`, `frozen`)
and a shape (`rows`, indexed by item, or `dense`); see docs/design.md.

Axes in comments: N clients, C cohort, S slice rows, L history, B batch, I items,
D width, K cut-off.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
Key = jax.Array
PyTree = Any
Support = Literal["slice", "lazy", "table"]

# ---------------------------------------------------------------- parameters


class Part(NamedTuple):
    """Parameters, or a change of parameters, split by shape.

    Attributes:
      rows: table name -> pytree whose leaves are `[I_table, ...]`, or `[S, ...]` once
        sliced to the rows a client touches.
      dense: a pytree of anything that is not indexed by item.
    """

    rows: dict[str, PyTree]
    dense: PyTree


class Private(Part):
    """A `Part` that never leaves its client.

    It is a different pytree node, so arithmetic that mixes it with a `Part` raises:

    >>> import jax, jax.numpy as jnp
    >>> shared, private = Part({}, jnp.ones(2)), Private({}, jnp.ones(2))
    >>> try:
    ...     jax.tree.map(jnp.add, shared, private)
    ... except ValueError:
    ...     print("private parameters cannot be summed with shared ones")
    private parameters cannot be summed with shared ones
    """

    __slots__ = ()


def empty() -> Part:
    """A `Part` without parameters."""
    return Part({}, ())


def nothing_private() -> Private:
    """A `Private` without parameters."""
    return Private({}, ())


RowIds = dict[str, Array | None]
"""Which rows of each table, `[S]` ids; `None` is the whole table. Ids past the end are
padding: they read zero and write nowhere."""


class View(NamedTuple):
    """What one client's functions see: every part cut to the same rows."""

    shared: Part
    private: Private
    frozen: Part
    memory: Private
    extra: Part


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Inputs:
    """What a model is asked to score.

    Attributes:
      ids: `[B]` rows of the view to score; `None` scores every row of the view.
      history: the client's past events, for models that read them; else `None`.
      table: the table that `ids` index.
    """

    ids: Array | None
    history: "History | None" = None
    table: str = field(default="item", metadata={"static": True})


# ------------------------------------------------------------- client's data


class History(NamedTuple):
    """One client's training events, oldest first, padded to the client's length class.

    Attributes:
      items: `[L]` item of each event; padding holds the number of items.
      values: `[L]` rating, count or 1.
      times: `[L]` seconds since the first event of the data set; 0 where unknown.
      num_events: `[]` how many events are real.
      excluded: `[X]` sorted distinct items that training negatives must avoid; padding
        holds the number of items. Always contains every training item.
      num_excluded: `[]` how many of `excluded` are real.
    """

    items: Array
    values: Array
    times: Array
    num_events: Array
    excluded: Array
    num_excluded: Array


class LengthClass(NamedTuple):
    """Clients whose histories are padded to the same lengths (static facts).

    Clients are ranked by falling number of events; a class is a range of ranks.
    """

    start: int
    stop: int
    num_events: int
    num_excluded: int


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ClientData:
    """Every client's history, ragged, on the device.

    Attributes:
      items, values, times: `[E]` events of all clients, client after client.
      offsets: `[N + 1]` where each client's events begin.
      excluded: `[X]` what each client's negatives avoid, client after client.
      excluded_offsets: `[N + 1]` where each client's exclusions begin.
      rank: `[N]` place of each client when sorted by falling number of events.
      classes: length classes, covering the ranks `0 .. N` in order.
      num_items: size of the catalogue.
    """

    items: Array
    values: Array
    times: Array
    offsets: Array
    excluded: Array
    excluded_offsets: Array
    rank: Array
    classes: tuple[LengthClass, ...] = field(metadata={"static": True})
    num_items: int = field(metadata={"static": True})

    @property
    def num_clients(self) -> int:
        """How many clients there are (N)."""
        return self.rank.shape[0]

    def history(self, client_id: Array, length: LengthClass) -> History:
        """One client's history, padded to `length`."""

        def read(flat: Array, offsets: Array, size: int, fill: int) -> tuple[Array, Array]:
            begin = offsets[client_id]
            count = jnp.minimum(offsets[client_id + 1] - begin, size)
            place = jnp.arange(size)
            values = flat.at[begin + place].get(mode="fill", fill_value=0)
            return jnp.where(place < count, values, fill), count

        size = length.num_events
        items, num_events = read(self.items, self.offsets, size, self.num_items)
        values, _ = read(self.values, self.offsets, size, 0)
        times, _ = read(self.times, self.offsets, size, 0)
        excluded, num_excluded = read(
            self.excluded, self.excluded_offsets, length.num_excluded, self.num_items
        )
        return History(items, values, times, num_events, excluded, num_excluded)


# ------------------------------------------------------- what an author fills


@dataclass(frozen=True)
class Model:
    """How items are scored.

    Attributes:
      num_rows: size of each table of rows.
      init: `key -> (shared, frozen)`.
      init_private: `key -> Private`, one client's.
      score: `(view, inputs) -> scores`, higher is better; `inputs.ids` index the
        view's rows, and a whole table is a view too.
    """

    num_rows: Mapping[str, int]
    init: Callable[[Key], tuple[Part, Part]]
    score: Callable[[View, Inputs], Array]
    init_private: Callable[[Key], Private] = lambda key: nothing_private()


class Sampled(NamedTuple):
    """Examples of a sampled objective.

    Attributes:
      inputs: what to score, `[B]` ids.
      label: `[B]` 1 for a training item, 0 for a sampled negative.
      is_valid: `[B]` False for padding.
    """

    inputs: Inputs
    label: Array
    is_valid: Array


@dataclass(frozen=True)
class Objective:
    """Which examples a client draws and what it minimises.

    Attributes:
      prepare: `(key, history) -> (row_ids, plan)`. Every id inside `plan` is local to
        `row_ids`. Ids are in range or padding, and no real id occurs twice.
      num_steps: `plan -> []`, this client's own number of local steps.
      batch: `(plan, step) -> examples`, which carry `inputs: Inputs`; made when needed.
      loss: `(scores, examples) -> (loss, weight)`, per example; weight 0 is padding.

    The last two are for objectives that are trained in batches; a closed-form client
    reads its plan itself.
    """

    prepare: Callable[[Key, History], tuple[RowIds, PyTree]]
    num_steps: Callable[[PyTree], Array | int] = lambda plan: 1
    batch: Callable[[PyTree, Array], Any] | None = None
    loss: Callable[[Array, Any], tuple[Array, Array]] | None = None


class Stat(NamedTuple):
    """A sum and its weight: merged by addition, divided once, when reported.

    >>> merged = Stat(jnp.float32(6), jnp.float32(2)).merge(Stat(jnp.float32(4), jnp.float32(2)))
    >>> merged.mean()
    2.5
    """

    total: Array
    weight: Array

    def merge(self, other: "Stat") -> "Stat":
        """The statistic of both groups together."""
        return Stat(self.total + other.total, self.weight + other.weight)

    def mean(self) -> float:
        """`total / weight`, as a Python float; 0 where nothing was weighed."""
        return float(self.total) / float(self.weight) if self.weight else 0.0


class Entry(NamedTuple):
    """One cohort member; with arrays `[C]` in each field it is a cohort.

    Attributes:
      client_id: names the client: its data and its random keys.
      slot: where its state lies in the store. Apart from `client_id`, so that a store
        may be paged.
      is_valid: False for padding.
    """

    client_id: Array
    slot: Array
    is_valid: Array


Cohort = Entry


class Task(NamedTuple):
    """What one client has to do this round.

    Attributes:
      entry: who it is.
      round: `[]` the server's round.
      plan: what `Objective.prepare` planned.
      num_steps: `[]` this client's own steps.
      max_steps: `[]` the longest client's steps in the same chunk: loop to this, mask
        at `num_steps` (`clients.masked_loop` does both).
    """

    entry: Entry
    round: Array
    plan: PyTree
    num_steps: Array
    max_steps: Array


class ClientOutput(NamedTuple):
    """What one client made.

    Attributes:
      update: what leaves the client, in the tree of `FederatedAlgorithm.template`;
        for a change of the model, `local - global`.
      private: the model's new private parameters.
      memory: the algorithm's new per-client state.
      weight: `[]` the client's size, for transforms that weigh (number of examples).
      info: observations of the simulation; they are not part of the protocol.
    """

    update: Part
    private: Private
    memory: Private
    weight: Array
    info: dict[str, Stat]


@dataclass(frozen=True)
class ClientUpdate:
    """How one client trains.

    Attributes:
      run: `(key, view, task) -> ClientOutput`, a pure function written for one client.
      support: `slice` if rows the client does not touch stay untouched by exactness
        (a whole table gives the same update); `lazy` if rows act only when touched,
        which is another algorithm than the dense one; `table` if it needs every row.
    """

    run: Callable[[Key, View, Task], ClientOutput]
    support: Support = "slice"


# --------------------------------------------- what happens on the way up


class Message(NamedTuple):
    """What is summed over clients.

    Attributes:
      update: a client's is slice-shaped `[S, ...]`, the total is table-shaped.
      weight: `[]`.
      row_weight: table -> `[S]`, or `[I]` in the total; empty unless a transform fills it.
      stats: anything else a transform needs summed.
    """

    update: Part
    weight: Array
    row_weight: dict[str, Array]
    stats: dict[str, Array]


@dataclass(frozen=True)
class AggregateTransform:
    """What happens to an update between the client and the server; two-sided.

    `encode` runs on the client, left to right in a chain; messages are summed;
    `decode` runs on the server, right to left.

    Attributes:
      init: `template -> state`, the server's.
      init_residual: `template -> Private`, one client's (error feedback).
      encode: `(key, message, state, residual, bound) -> (message, residual)`.
      decode: `(key, total, state, bound) -> (total, state)`.
      bound: `(bound, state) -> bound`: L2 norm of what leaves `encode` given that of
        what enters; `state` is `None` when the chain is built.
      support: as in `ClientUpdate`.
      needs_bound: refused behind links that leave the update unbounded.
      is_noise: adds noise for privacy.
      releases_counts: its divisor depends on private data.
    """

    init: Callable[[Part], PyTree] = lambda template: ()
    init_residual: Callable[[Part], PyTree] = lambda template: ()
    encode: Callable[[Key, Message, PyTree, PyTree, Array], tuple[Message, PyTree]] = (
        lambda key, message, state, residual, bound: (message, residual)
    )
    decode: Callable[[Key, Message, PyTree, Array], tuple[Message, PyTree]] = (
        lambda key, total, state, bound: (total, state)
    )
    bound: Callable[[Any, PyTree], Any] = lambda bound, state: bound
    support: Support = "slice"
    needs_bound: bool = False
    is_noise: bool = False
    releases_counts: bool = False


# ------------------------------------------------------------------- states


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
    """

    init: Callable[[Part], PyTree]
    apply: Callable[[ServerState, Message, Cohort], ServerState]


@dataclass(frozen=True)
class FederatedAlgorithm:
    """The filled slots of a federated algorithm; it holds parts, not a loop.

    Attributes:
      broadcast: `(state, entry, row_ids) -> (shared, extra)`: what the server sends
        this client; `None` sends the table's rows.
      template: `shared -> Part`: the tree of `ClientOutput.update`.
      init_memory: `shared -> Private`, one client's memory between rounds.
      init_extra: `(key, shared) -> Part`, the server's own further state.
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


# ------------------------------------------------------------------ cohorts


@dataclass(frozen=True)
class SamplingEvent:
    """How a cohort was drawn, as plain data for a privacy accountant.

    Attributes:
      kind: `all`, `uniform` (fixed size, without replacement) or `poisson`.
      num_clients: the population.
      expected_size: expected cohort size.
      capacity: most clients a round can hold; a larger Poisson draw is truncated.
    """

    kind: Literal["all", "uniform", "poisson"]
    num_clients: int
    expected_size: float
    capacity: int


class CohortSampler(Protocol):
    """Draws the clients of a round and says how it drew them."""

    @property
    def event(self) -> SamplingEvent:
        """How the cohort is drawn."""
        ...

    def draw(self, seed: int, round: int) -> np.ndarray:
        """Distinct client ids, at most `event.capacity`, a function of its arguments."""
        ...


# ------------------------------------------------------------------ random keys

PREPARE, TRAIN, ENCODE, DECODE, INIT, INIT_EXTRA = range(6)
"""What a random key is for."""

SERVER = 0xFFFFFFFF
"""The server's client id in `derive_key`."""


def derive_key(root: Key, round: Array | int, client_id: Array | int, purpose: int) -> Key:
    """The key of one purpose of one client in one round; never of a position."""
    for part in (round, client_id, purpose):
        root = jax.random.fold_in(root, part)
    return root
