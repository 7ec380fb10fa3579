"""One round as one program: train the cohort, decode the sum, step the server.

Clients train in `streaming` where their rows come once, else in `general`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy.typing as npt

from fedjax_rec import base
from fedjax_rec.base import (
    AggregateTransform,
    Array,
    Clients,
    Cohort,
    Entry,
    FederatedAlgorithm,
    Fixed,
    Key,
    LengthClass,
    Message,
    Objective,
    Part,
    PyTree,
    RoundInfo,
    ServerState,
)
from fedjax_rec.simulation.context import Carry, Round
from fedjax_rec.simulation.devices import (
    BY_CLIENT,
    EVERYWHERE,
    FIXED_SPECS,
    by_rows,
    over_devices,
    own,
    total_over_devices,
)
from fedjax_rec.simulation.execution import Execution
from fedjax_rec.simulation.general import empty_carry, train_class
from fedjax_rec.simulation.members import open_members
from fedjax_rec.simulation.mistakes import checked_state, in_words
from fedjax_rec.simulation.row_buffer import RowBuffer, add_to_table
from fedjax_rec.simulation.streamable import is_streamed, may_recur
from fedjax_rec.simulation.streaming import buffer_for, train_light
from fedjax_rec.tree import with_named

CARRY_SPECS: Any = Carry(EVERYWHERE, BY_CLIENT, EVERYWHERE)  # type: ignore[arg-type]
BUFFER_SPECS: Any = RowBuffer(BY_CLIENT, BY_CLIENT, EVERYWHERE)  # type: ignore[arg-type]
NOTHING: Mapping[str, Array] = MappingProxyType({})
INIT_BATCH = 256  # clients initialised at once: bounds the memory, not the result


class Now(NamedTuple):
    """The arrays of a round: as they stand before it, and what no round changes.

    Attributes:
      state: the server's.
      clients: the store.
      cohort: who takes part; of a stretch of rounds, `[rounds, C]`.
      fixed: frozen parameters and data.
    """

    state: ServerState
    clients: Clients
    cohort: Cohort
    fixed: Fixed


NOW_SPECS: Any = Now(EVERYWHERE, BY_CLIENT, EVERYWHERE, FIXED_SPECS)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Method:
    """An algorithm and how it is run: what is fixed before any array is there."""

    algorithm: FederatedAlgorithm
    execution: Execution

    def round(self, now: Now) -> Round:
        """What stays the same while the clients of this round train."""
        return Round(self.algorithm, self.execution, now.state, now.fixed)


class Engine(NamedTuple):
    """The pure functions that `build` returns."""

    init: Callable[..., tuple[ServerState, Clients, Part]]
    step: Callable[[ServerState, Clients, Cohort, Fixed], tuple[ServerState, Clients, RoundInfo]]
    rounds: Callable[[ServerState, Clients, Cohort, Fixed], tuple[ServerState, Clients, RoundInfo]]


def build(algorithm: FederatedAlgorithm, execution: Execution = Execution()) -> Engine:
    """Turns an algorithm into functions that start and advance it.

    Args:
      algorithm: the filled slots.
      execution: how to run it.

    Returns:
      `init(key, num_clients) -> (state, clients, frozen)`, which may be given leaves of the state
      by name, see `simulation.start`,
      `step(state, clients, cohort, fixed) -> (state, clients, info)`, and `rounds`, the
      same for a stretch of rounds, with cohorts and info `[rounds, ...]`. All are pure and
      to be jitted; donate state and clients.

    Raises:
      ValueError: the aggregate adds noise to updates without a bound; when traced: a part
        needs whole tables and the objective slices them.
      TypeError: when traced: an update does not have the declared tree.
      UserError: when traced: clients would hang, see `lapack.refuse_lapack`.

    `step` sorts the cohort by size itself, so that its order cannot matter.
    """
    if algorithm.aggregate.needs_bound:
        raise ValueError(
            "noise needs a bounded update: make the aggregate chain(clip_by_norm(...), ..., noise)"
        )
    method = Method(algorithm, execution)
    return Engine(
        partial(_init, algorithm),
        lambda *arrays: _step(method, Now(*arrays)),
        lambda *arrays: _rounds(method, Now(*arrays)),
    )


def pad_cohort(client_ids: npt.ArrayLike, capacity: int) -> Cohort:
    """Entries of these clients, padded to `capacity`; a client's slot is its id.

    >>> pad_cohort(jnp.array([4, 2]), 3).is_valid.tolist()
    [True, True, False]
    """
    ids = jnp.asarray(client_ids, jnp.int32)
    padded = jnp.zeros(capacity, jnp.int32).at[: ids.shape[0]].set(ids)
    return Entry(padded, padded, jnp.arange(capacity) < ids.shape[0])


def _init(
    algorithm: FederatedAlgorithm, key: Key, num_clients: int, given: Mapping[str, Array] = NOTHING
) -> tuple[ServerState, Clients, Part]:
    """What a run begins with; leaves of the state are drawn unless they are `given` by name."""
    server_key = partial(base.derive_key, key, 0, base.SERVER)
    drawn, frozen = algorithm.model.init(server_key(base.INIT))
    shared = with_named({"shared": drawn}, given)["shared"]
    template = algorithm.template(shared)

    def one_client(client_id: Array) -> Clients:
        client_key = base.derive_key(key, 0, client_id, base.INIT)
        return Clients(
            algorithm.model.init_private(client_key),
            algorithm.init_memory(shared),
            algorithm.aggregate.init_residual(template),
        )

    state = ServerState(
        key=key,
        round=jnp.int32(0),
        shared=shared,
        opt_state=algorithm.server_update.init(shared),
        aggregate_state=algorithm.aggregate.init(server_key(base.INIT_AGGREGATE), template),
        extra=algorithm.init_extra(server_key(base.INIT_EXTRA), shared),
    )
    state = with_named(state, given)
    clients = jax.lax.map(one_client, jnp.arange(num_clients), batch_size=INIT_BATCH)
    return state, clients, frozen


def _rounds(
    method: Method,
    now: Now,
) -> tuple[ServerState, Clients, RoundInfo]:
    """A stretch of rounds; a buffer, where one is used, is made once for all."""
    buffer = buffer_for(method.round(now), now.clients, now.cohort.client_id.shape[-1])

    def one_round(carry: PyTree, cohort: Cohort) -> tuple[PyTree, RoundInfo]:
        state, clients, buffer = carry
        here = Now(state, clients, cohort, now.fixed)
        if buffer is None:
            state, clients, info = _step_summed(method, here)
        else:
            state, clients, info, buffer = _step_listed(method, here, buffer)
        return (state, clients, buffer), info

    start = now.state, now.clients, buffer
    (state, clients, _), info = jax.lax.scan(one_round, start, now.cohort)
    return state, clients, info


def _step(
    method: Method,
    now: Now,
) -> tuple[ServerState, Clients, RoundInfo]:
    """One round."""
    buffer = buffer_for(method.round(now), now.clients, now.cohort.client_id.shape[0])
    if buffer is None:
        return _step_summed(method, now)
    return _step_listed(method, now, buffer)[:3]


def _step_summed(
    method: Method,
    now: Now,
) -> tuple[ServerState, Clients, RoundInfo]:
    """A round whose changes are summed in the shape of the tables."""
    algorithm, num_devices = method.algorithm, method.execution.num_devices
    train = partial(_train, method)
    if num_devices > 1:
        train = over_devices(
            partial(_train_own, method), num_devices, in_specs=(NOW_SPECS,), out_specs=CARRY_SPECS
        )
    total, clients, info = train(now)
    total, state = _decode(method, now.state, total)
    total, cohort = _released(algorithm.aggregate, total, now.cohort)
    server = algorithm.server_update
    further = (now.fixed.frozen,) if server.needs_frozen else ()
    with in_words("ServerUpdate.apply"):
        state = checked_state(state, server.apply(state, total, cohort, *further))
    return state._replace(round=state.round + 1), clients, info


def _step_listed(
    method: Method,
    now: Now,
    buffer: RowBuffer,
) -> tuple[ServerState, Clients, RoundInfo, RowBuffer]:
    """A round whose changes are listed, and added to the table row by row."""
    step, num_devices = partial(_step_listed_own, method), method.execution.num_devices
    if num_devices > 1:
        step = over_devices(
            step,
            num_devices,
            in_specs=(NOW_SPECS, BUFFER_SPECS),
            out_specs=(EVERYWHERE, BY_CLIENT, EVERYWHERE, BUFFER_SPECS),
        )
    return step(now, buffer)


def _step_listed_own(
    method: Method,
    now: Now,
    buffer: RowBuffer,
) -> tuple[ServerState, Clients, RoundInfo, RowBuffer]:
    """The step of one device; all come to the same state.

    Aggregate and server only scale, so they are tried on a message of ones.
    """
    algorithm, num_devices = method.algorithm, method.execution.num_devices
    if num_devices > 1:
        now = _own(now)
    this, state = method.round(now), now.state
    members, is_light = open_members(this, now.cohort)
    order, _ = _by_size(now, is_light)
    empty = empty_carry(this, now.clients, order.size)
    carry, listed = train_light(this, _at(members, order), is_light[order], empty, buffer)
    buffer = cast(RowBuffer, listed)
    total, info = carry.total._replace(update=Part({}, ())), carry.info
    if num_devices > 1:
        total, info = total_over_devices((total, info))
    ones = jax.tree.map(lambda leaf: jnp.ones((1, *leaf.shape[1:]), leaf.dtype), state.shared)
    scaled, state = _decode(method, state, total._replace(update=ones))
    factor = jax.tree.leaves(scaled.update)[0].ravel()[0] * algorithm.server_update.learning_rate
    rows = {
        table: add_to_table(buffer, leaves, factor, num_devices)
        for table, leaves in state.shared.rows.items()
    }
    state = state._replace(shared=state.shared._replace(rows=rows), round=state.round + 1)
    return state, carry.clients, info, buffer._replace(used=jnp.int32(0))


def _decode(method: Method, state: ServerState, total: Message) -> tuple[Message, ServerState]:
    aggregate = method.algorithm.aggregate
    key = base.derive_key(state.key, state.round, base.SERVER, base.DECODE)
    total, aggregate_state = aggregate.decode(
        key, total, state.aggregate_state, jnp.float32(jnp.inf)
    )
    if aggregate.mechanisms:
        # each device draws the noise of its own rows, and not that of the whole table
        total = total._replace(update=by_rows(total.update, method.execution.num_devices))
    return total, state._replace(aggregate_state=aggregate_state)


def _released(
    aggregate: AggregateTransform, total: Message, cohort: Cohort
) -> tuple[Message, Cohort]:
    """What the server gets to see: behind noise the update and public numbers alone."""
    if not aggregate.mechanisms:
        return total, cohort
    size = jnp.asarray(1 if aggregate.public_size is None else aggregate.public_size, jnp.float32)
    return Message(total.update, size, {}, {}), jax.tree.map(jnp.zeros_like, cohort)


def _train_own(
    method: Method,
    now: Now,
) -> Carry:
    """Trains the members of the cohort that live on this device; the sum is everyone's.

    So is a stack: each place of it is written on one device and zero on the others.
    """
    carry = _train(method, _own(now))
    total, info = total_over_devices((carry.total, carry.info))
    return Carry(total, carry.clients, info)


def _own(now: Now) -> Now:
    """The members of the cohort that live on this device, with their slots here."""
    data, cohort = own(now.fixed.data), now.cohort
    is_own = data.is_here(cohort.client_id)
    client_id = jnp.where(is_own, cohort.client_id, data.first)
    cohort = Entry(client_id, data.place(client_id), cohort.is_valid & is_own)
    return now._replace(cohort=cohort, fixed=Fixed(now.fixed.frozen, data))


def _train(
    method: Method,
    now: Now,
) -> Carry:
    """Trains the cohort, whoever can in `streaming` and the others in `general`."""
    this, cohort = method.round(now), now.cohort
    carry = empty_carry(this, now.clients, cohort.is_valid.size)
    classes = _alike(list(now.fixed.data.classes), this.algorithm.objective)
    is_light = jnp.zeros_like(cohort.is_valid)
    if is_streamed(this, now.clients):
        members, is_light = open_members(this, cohort)
        order, _ = _by_size(now, is_light)
        carry, _ = train_light(this, _at(members, order), is_light[order], carry)
        left = [length for length in classes if may_recur(this, length)]
        # they are few: one program for all of them compiles faster and costs no time
        classes = [LengthClass.covering(left)] if left else []
    order, ranks = _by_size(now, is_light)
    by_size = _at(cohort, order)
    for length in classes:
        carry = train_class(this, length, by_size, order, ranks, carry)
    return carry


def _alike(classes: list[LengthClass], objective: Objective) -> list[LengthClass]:
    """The length classes, those as one whose clients make as many steps of the same size.

    A chunk of such clients wastes nothing, and one program takes the place of several.
    """
    sampler, window = objective.sampler, objective.window
    if sampler and sampler.max_positives:
        return [LengthClass.covering(classes)]
    long = [length for length in classes if window and length.num_events > window]
    rest = [length for length in classes if length not in long]
    return [LengthClass.covering(long), *rest] if long else rest


def _by_size(now: Now, is_light: Array) -> tuple[Array, Array]:
    """The order of the cohort, whatever order it came in, and the sorted keys.

    First who is not light by falling size, whose key is the rank; then the light by
    falling size; then padding.
    """
    data, cohort = now.fixed.data, now.cohort
    num_clients = data.classes[-1].stop
    rank = data.rank[cohort.slot] + jnp.where(is_light, num_clients, 0)
    key = jnp.where(cohort.is_valid, rank, 2 * num_clients)
    order = jnp.argsort(key)
    return order, key[order]


def _at(tree: PyTree, places: Array) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[places], tree)
