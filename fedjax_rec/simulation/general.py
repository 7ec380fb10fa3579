"""The general executor: any client update, on the rows that its client touches.

Reading order: `train_class`, `_train_chunk`, `_one_client`.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from fedjax_rec import base, tree
from fedjax_rec.base import (
    Array,
    ClientOutput,
    Clients,
    Cohort,
    Entry,
    LengthClass,
    Message,
    Part,
    PyTree,
    RoundInfo,
    RowIds,
    Stat,
    Task,
    View,
)
from fedjax_rec.simulation.context import Carry, Round, bytes_sent, steps_made
from fedjax_rec.simulation.lapack import refuse_lapack
from fedjax_rec.simulation.mistakes import in_words, refuse_output, refuse_slices
from fedjax_rec.simulation.sums import add_messages, stack_messages, table_shaped, write_store

CACHE_BYTES = 2**19  # of what a chunk's clients hold, on a CPU: half of a core's own cache
MEMORY_BYTES = 2**30  # likewise on an accelerator, and where a base is larger than any cache
LARGEST_CHUNK = {True: 8, False: 4096}  # on a CPU, and on an accelerator


def train_class(
    this: Round, length: LengthClass, cohort: Cohort, order: Array, ranks: Array, carry: Carry
) -> Carry:
    """Trains the members of one length class, chunk by chunk.

    Args:
      cohort: by falling size.
      order: `[C]` whose place in the cohort as it came each of them has.
      ranks: `[C]` their keys, sorted.
    """
    chunk_size = this.execution.chunk_size or _chunk_size(this, length, carry.clients, order.size)
    begin, end = jnp.searchsorted(ranks, jnp.array([length.start, length.stop]))

    def chunk(number: Array, carry: Carry) -> Carry:
        place = begin + number * chunk_size + jnp.arange(chunk_size)
        entries, places = jax.tree.map(
            lambda leaf: leaf.at[place].get(mode="clip"), (cohort, order)
        )
        entries = entries._replace(is_valid=entries.is_valid & (place < end))
        return _train_chunk(this, length, entries, places, carry)

    num_chunks = (end - begin + chunk_size - 1) // chunk_size
    trained: Carry = jax.lax.fori_loop(0, num_chunks, chunk, carry)
    return trained


def _chunk_size(this: Round, length: LengthClass, store: Clients, capacity: int) -> int:
    """How many clients of a class train at once: as many as fit, with what they change.

    What all of them read alike is there once, however many they are: whole frozen tables, and
    what is frozen or the server's and no item's. Where that base is larger than what a client
    has of its own, reading it for several clients at once pays, and no cache holds it anyway.
    Nor is a chunk larger than the class's share of a device's share of the cohort: places that
    stay empty are computed too.

    Args:
      capacity: of the cohort.
    """

    def held() -> tuple[RowIds, View, PyTree]:
        entry = Entry(jnp.int32(0), jnp.int32(0), jnp.bool_(True))
        row_ids, _, _ = _prepare(this, length, entry)
        return row_ids, *_view(this, entry, store, row_ids)

    row_ids, view, residual = jax.eval_shape(held)
    is_sent_apart = this.algorithm.broadcast is not None
    common = [_read_alike(view.frozen, row_ids)]
    common += [] if is_sent_apart else [_read_alike(view.extra, row_ids)]
    base_bytes = _num_bytes(common)
    own_bytes = _num_bytes((view, residual)) - base_bytes
    is_cpu = jax.default_backend() == "cpu"
    is_cached = is_cpu and base_bytes <= own_bytes
    fitting = (CACHE_BYTES if is_cached else MEMORY_BYTES) // max(2 * own_bytes, 1)
    places = this.fixed.data.classes[-1].stop * this.execution.num_devices
    share = -(-capacity * (length.stop - length.start) // places)
    return int(min(max(fitting, 1), LARGEST_CHUNK[is_cpu], max(share, 1)))


def _read_alike(part: Part, row_ids: RowIds) -> PyTree:
    """Of a part that no client changes: what is not cut to a client's rows."""
    whole = [tree for table, tree in part.rows.items() if row_ids.get(table) is None]
    return whole, part.dense


def _num_bytes(tree: PyTree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _train_chunk(
    this: Round, length: LengthClass, entries: Entry, places: Array, carry: Carry
) -> Carry:
    """Trains the clients of one chunk and adds what they send to the carry."""
    each = _one_by_one if this.execution.is_debug else jax.vmap
    row_ids, plans, num_steps = each(partial(_prepare, this, length))(entries)
    max_steps = jnp.max(num_steps)

    def train(
        entry: Entry, row_ids: RowIds, plan: PyTree, num_steps: Array
    ) -> tuple[Message, Clients, RoundInfo, Array]:
        task = Task(entry, this.state.round, plan, num_steps, max_steps)
        return _one_client(this, carry.clients, row_ids, task)

    messages, kept, info, is_good = each(train)(entries, row_ids, plans, num_steps)
    slots = jnp.where(is_good, entries.slot, this.fixed.data.num_clients)  # past the end: dropped
    summed = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), info)
    summed |= steps_made(max_steps * num_steps.shape[0], jnp.sum(num_steps))
    if this.algorithm.aggregate.is_stacked:
        places = jnp.where(is_good, places, carry.total.weight.size)  # likewise
        total = stack_messages(carry.total, messages, places, row_ids)
    else:
        total = add_messages(carry.total, messages, row_ids)
    return Carry(
        total,
        write_store(carry.clients, kept, slots, row_ids),
        jax.tree.map(jnp.add, carry.info, summed),
    )


def _prepare(this: Round, length: LengthClass, entry: Entry) -> tuple[RowIds, PyTree, Array]:
    """Which rows this client touches, its plan, and its number of steps (0 if padding)."""
    history = this.fixed.data.history(entry.client_id, length)
    objective = this.algorithm.objective
    with in_words("Objective.prepare"):
        row_ids, plan = objective.prepare(this.key(entry.client_id, base.PREPARE), history)
    num_steps = jnp.asarray(objective.num_steps(plan), jnp.int32)
    return row_ids, plan, jnp.where(entry.is_valid, num_steps, 0)


def _one_client(
    this: Round, store: Clients, row_ids: RowIds, task: Task
) -> tuple[Message, Clients, RoundInfo, Array]:
    """One client's round: what it sends, what it keeps, what was seen, whether it counts.

    A client that diverges sends nothing and keeps its old state.
    """
    algorithm, entry = this.algorithm, task.entry
    view, residual = _view(this, entry, store, row_ids)
    with in_words("ClientUpdate.run"):
        output = algorithm.client_update.run(this.key(entry.client_id, base.TRAIN), view, task)
    refuse_output(algorithm.template(this.state.shared), view, row_ids, output)

    is_good = entry.is_valid & tree.is_finite(
        (output.update, output.weight, output.private, output.memory)
    )
    message, residual = algorithm.aggregate.encode(
        this.key(entry.client_id, base.ENCODE),
        tree.mask(is_good, Message(output.update, output.weight, {}, {})),
        this.state.aggregate_state,
        jax.tree.map(lambda part: tree.take(part, row_ids), residual, is_leaf=tree.is_part),
        jnp.float32(jnp.inf),
    )
    is_good &= tree.is_finite((message, residual))
    kept = Clients(output.private, output.memory, residual)
    info = _observe(output, entry, is_good) | bytes_sent(this, entry)
    return tree.mask(is_good, message), kept, info, is_good


def _view(this: Round, entry: Entry, store: Clients, row_ids: RowIds) -> tuple[View, PyTree]:
    """What a client gets to see, and its transforms' residual."""
    private, memory, residual = jax.tree.map(lambda leaf: leaf[entry.slot], store)
    view = tree.client_view(
        this.algorithm, this.state, this.fixed.frozen, entry, private, memory, row_ids
    )
    return view, residual


def _observe(output: ClientOutput, entry: Entry, is_good: Array) -> RoundInfo:
    """The author's observations and the engine's own; a bad client adds to one only."""
    one = is_good.astype(jnp.float32)
    seen = output.info | {"clients": Stat(one, one), "examples": Stat(output.weight, one)}
    for table, rows in output.update.rows.items():
        num_touched = jnp.sum(tree.touched(rows)).astype(jnp.float32)
        seen[f"rows_touched/{table}"] = Stat(num_touched, one)
    bad = Stat((entry.is_valid & ~is_good).astype(jnp.float32), one)
    observed: RoundInfo = tree.mask(is_good, seen)
    return observed | {"bad_clients": bad}


def _one_by_one(fun: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """`jax.vmap` as a Python loop."""

    def looped(*args: PyTree) -> PyTree:
        size = jax.tree.leaves(args)[0].shape[0]
        members = [jax.tree.map(lambda leaf, i=i: leaf[i], args) for i in range(size)]
        results = [fun(*member) for member in members]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)

    return looped


def empty_carry(this: Round, clients: Clients, capacity: int) -> Carry:
    """Zeros in the shape of everything that the clients of a cohort add up."""

    def probe() -> tuple[RowIds, Message, RoundInfo]:
        entry = Entry(jnp.int32(0), jnp.int32(0), jnp.bool_(True))
        row_ids, plan, num_steps = _prepare(this, this.fixed.data.classes[-1], entry)
        task = Task(entry, this.state.round, plan, num_steps, num_steps)
        message, _, info, _ = _one_client(this, clients, row_ids, task)
        return row_ids, message, info

    traced, shapes = jax.make_jaxpr(probe, return_shape=True)()
    refuse_lapack(traced.jaxpr, this.execution.num_devices)
    row_ids, message, info = shapes
    algorithm = this.algorithm
    refuse_slices(algorithm, row_ids)
    total = table_shaped(message, algorithm.model.num_rows)
    if algorithm.aggregate.is_stacked:
        total = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((capacity, *leaf.shape), leaf.dtype), total
        )
    info |= steps_made(jnp.int32(0), jnp.int32(0))
    return Carry(tree.zeros_like(total), clients, tree.zeros_like(info))
