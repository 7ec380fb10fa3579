"""The streaming executor: plain local SGD of one pass, without a slice of the rows.

Where every row comes once in a client's round, the client reads each as the server sent
it, and what it adds to the row is known at once: minus the learning rate times one
gradient. So nothing but the private parameters is kept for a client. Examples are
generated block by block from `objectives.stream`, and their rows' changes added to the
round's total as they arise. It computes what the general executor computes.

Where the aggregate scales an update by its norm, which is known at the end alone, a chunk
goes over its rows twice: `replay`.

Reading order: `streamable` says who may, `members` what is known of them, `train_light`
here, and `descent` how a chunk trains.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedjax_rec import tree
from fedjax_rec.base import Array, Clients, PyTree, Stat
from fedjax_rec.objectives.stream import block_of
from fedjax_rec.simulation.context import PADDING, Carry, Round, bytes_sent
from fedjax_rec.simulation.descent import Chunk, Sums, train_chunk
from fedjax_rec.simulation.members import Encoding, Member, encode_by_weight
from fedjax_rec.simulation.replay import clip_chunk
from fedjax_rec.simulation.row_buffer import RowBuffer, new_buffer
from fedjax_rec.simulation.streamable import (
    block_size,
    chunk_size,
    is_streamed,
    may_recur,
    sampler_of,
)

LONGEST_LIST = 2  # times the table: a list costs memory, a sum of the table's shape time


def buffer_for(this: Round, clients: Clients, capacity: int) -> RowBuffer | None:
    """A list for the changes of a cohort's rows, where the table is not much shorter.

    It needs a server that adds up changes and nothing else, and no client whose rows
    recur. It holds whatever a cohort of `capacity` clients may write.
    """
    data = this.fixed.data
    if not is_streamed(this, clients) or any(may_recur(this, length) for length in data.classes):
        return None
    aggregate = this.algorithm.aggregate
    if this.algorithm.server_update.learning_rate is None or aggregate.mechanisms:
        return None
    if encode_by_weight(this, jnp.zeros(1, jnp.int32), clients).row_weight:
        return None
    sampler, num_rows = sampler_of(this), _most_rows(this, capacity)
    if num_rows > LONGEST_LIST * sampler.num_items:
        return None
    table = this.state.shared.rows[sampler.table]
    return new_buffer(table, num_rows, this.execution.num_devices)


def _most_rows(this: Round, capacity: int) -> int:
    """How many rows a cohort of `capacity` clients may write, padding included.

    Every chunk runs to the end of its largest client, which has no more events than any
    of the chunk before.
    """
    num_events, num_left = 0, capacity
    for length in this.fixed.data.classes:
        num_events += length.most_events(num_left)
        num_left -= min(num_left, length.stop - length.start)
    sampler, size, block = sampler_of(this), chunk_size(this, capacity), block_size(this)
    num_events += size * this.fixed.data.classes[0].num_events
    num_examples = num_events * (1 + sampler.num_negatives)
    num_blocks = -(-num_examples // block) + capacity + size
    return num_blocks * block_of(sampler, block, jnp.int32(0), jnp.int32(0)).is_valid.size


class _Passes(NamedTuple):
    """Passes over the light clients, until nobody diverges.

    Attributes:
      is_good: `[C]` who trains.
      is_done: nobody has diverged in the last pass.
      sums: of the last pass.
    """

    is_good: Array
    is_done: Array
    sums: Sums


def train_light(
    this: Round, members: Member, is_light: Array, carry: Carry, buffer: RowBuffer | None = None
) -> tuple[Carry, RowBuffer | None]:
    """Trains the light members of a cohort that is sorted by falling size.

    A client that diverges must not have touched the total: if one does, the pass is made
    again without it, unless updates are scaled by their norms, which tells in time.

    Args:
      this: the round.
      members: of `open_members`.
      is_light: `[C]` which of them train here.
      carry: nothing but zeros so far.
      buffer: where given, an empty one in which to list what rows change by, so that it is
        not added to the carry.
    """
    members, is_light = _padded(members, is_light, chunk_size(this, is_light.shape[0]))
    encoding = encode_by_weight(this, members.stream.num_positives, carry.clients)
    is_by_norm = this.algorithm.aggregate.scaling == "by_norm"

    def once(loop: _Passes) -> _Passes:
        sums = _train_all(this, members, carry.clients, loop)
        is_good = loop.is_good & sums.is_finite
        is_done = jnp.all(is_good == loop.is_good) | is_by_norm
        # a loop, for a branch would copy the table
        sums = jax.lax.fori_loop(0, 1 - is_done.astype(int), lambda _, sums: _emptied(sums), sums)
        return _Passes(is_good, is_done, sums)

    start = _Passes(is_light, jnp.bool_(False), _nothing(this, encoding, carry, buffer))
    is_good, _, sums = jax.lax.while_loop(lambda loop: ~loop.is_done, once, start)
    carry = _add(this, carry, members, sums, is_light, is_good)
    return carry, sums.rows if buffer else None


def _train_all(this: Round, members: Member, store: Clients, passes: _Passes) -> Sums:
    """One pass over the clients that are good so far, chunk by chunk, on empty sums."""
    is_good = passes.is_good
    size = chunk_size(this, is_good.shape[0])
    last = jnp.max(jnp.where(is_good, jnp.arange(is_good.shape[0]) + 1, 0))

    def chunk(number: Array, sums: Sums) -> Sums:
        def cut(tree: PyTree) -> PyTree:
            return jax.tree.map(
                lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, number * size, size), tree
            )

        def put(whole: PyTree, part: PyTree) -> PyTree:
            return jax.tree.map(
                lambda leaf, new: jax.lax.dynamic_update_slice_in_dim(leaf, new, number * size, 0),
                whole,
                part,
            )

        member = cut(members)
        is_running = cut(is_good)
        num_positives = jnp.where(is_running, member.stream.num_positives, 0)
        private, memory = jax.tree.map(
            lambda leaf: leaf[member.entry.slot], (store.private, store.memory)
        )
        # what a client that is left out holds may not be finite, and 0 times that is not 0
        private = jax.vmap(tree.mask)(is_running, private)
        part = Chunk(member, cut(sums.encoding), num_positives, memory)
        if this.algorithm.aggregate.scaling == "by_norm":
            private, sums, is_finite, encoding = clip_chunk(this, part, private, store, sums)
            sums = sums._replace(encoding=put(sums.encoding, encoding))
        else:
            private, sums, is_finite = train_chunk(this, part, private, sums)
        return sums._replace(
            private=put(sums.private, private), is_finite=put(sums.is_finite, is_finite)
        )

    sums: Sums = jax.lax.fori_loop(0, (last + size - 1) // size, chunk, passes.sums)
    return sums


def _nothing(this: Round, encoding: Encoding, carry: Carry, buffer: RowBuffer | None) -> Sums:
    """Before the first client; the carry's zeros become the totals."""
    total, capacity = carry.total, encoding.weight.shape[0]
    private = jax.tree.map(
        lambda leaf: jnp.zeros((capacity, *leaf.shape[1:]), leaf.dtype), carry.clients.private
    )
    return Sums(
        buffer or total.update.rows[sampler_of(this).table],
        total.row_weight,
        private,
        jnp.ones(capacity, bool),
        encoding,
        jnp.float32(0),
        jnp.float32(0),
        Stat(jnp.float32(0), jnp.float32(0)),
    )


def _emptied(sums: Sums) -> Sums:
    """After a pass that does not count."""
    emptied: Sums = tree.zeros_like(sums._replace(rows=()))
    is_listed = isinstance(sums.rows, RowBuffer)
    rows = sums.rows._replace(used=jnp.int32(0)) if is_listed else tree.zeros_like(sums.rows)
    return emptied._replace(
        rows=rows, is_finite=jnp.ones_like(sums.is_finite), encoding=sums.encoding
    )


def _add(
    this: Round,
    carry: Carry,
    members: Member,
    sums: Sums,
    is_light: Array,
    is_good: Array,
) -> Carry:
    """The carry with the light clients' messages, parameters and observations."""
    table, total, encoding = sampler_of(this).table, carry.total, sums.encoding
    update = total.update
    if not isinstance(sums.rows, RowBuffer):
        update = update._replace(rows={table: sums.rows})
    total = total._replace(
        update=update,
        weight=jnp.sum(jnp.where(is_good, encoding.message_weight, 0)),
        row_weight=sums.row_weight,
        stats=jax.tree.map(
            lambda leaf: jnp.sum(leaf, axis=0), jax.vmap(tree.mask)(is_good, encoding.stats)
        ),
    )
    slots = jnp.where(is_good, members.entry.slot, this.fixed.data.num_clients)
    private = jax.tree.map(
        lambda leaf, new: leaf.at[slots].set(new, mode="drop"), carry.clients.private, sums.private
    )
    num_good = jnp.sum(is_good).astype(jnp.float32)
    num_bad = jnp.sum(is_light & ~is_good).astype(jnp.float32)
    weight = jnp.sum(jnp.where(is_good, encoding.weight, 0))
    seen = {
        "loss": Stat(sums.loss, weight),
        "clients": Stat(num_good, num_good),
        "examples": Stat(weight, num_good),
        f"rows_touched/{table}": Stat(sums.num_touched, num_good),
        "bad_clients": Stat(num_bad, num_good),
        PADDING: sums.padding,
    }
    light = members.entry._replace(is_valid=is_light)
    counted = jax.vmap(lambda entry: bytes_sent(this, entry))(light)
    seen |= jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), counted)
    return Carry(total, carry.clients._replace(private=private), carry.info | seen)


def _padded(members: Member, is_light: Array, size: int) -> tuple[Member, Array]:
    """Members that do not train behind the others, to a multiple of the chunk."""
    padding = -is_light.shape[0] % size

    def pad(leaf: Array) -> Array:
        return jnp.concatenate([leaf, jnp.repeat(leaf[-1:], padding, axis=0)])

    return jax.tree.map(pad, members), jnp.concatenate([is_light, jnp.zeros(padding, bool)])
