"""The streaming executor: plain local SGD of one pass, without a slice of the rows.

Where every row comes once in a client's round, the client reads each as the server sent
it, and what it adds to the row is known at once: minus the learning rate times one
gradient. So nothing but the private parameters is kept for a client. Examples are
generated block by block from `objectives.stream`, and their rows' changes added to the
round's total as they arise. It computes what the general executor computes.

Reading order: `refusal`, `train_light`, `_Pass.chunk`, `_Pass.block`.
"""

from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_rec import base, tree
from fedjax_rec.base import (
    Array,
    Clients,
    Cohort,
    Entry,
    FederatedAlgorithm,
    Inputs,
    LengthClass,
    LocalSGD,
    Message,
    Objective,
    Part,
    Private,
    PyTree,
    Sampled,
    Sampler,
    Stat,
    View,
)
from fedjax_rec.clients.gradients import Loss, loss_gradients, rows_of
from fedjax_rec.objectives.permutation import Affine, least_num_places
from fedjax_rec.objectives.stream import Stream, block_of, open_stream, order_of_positives
from fedjax_rec.simulation.context import Carry, Round

CHUNK_SIZE = 32
BLOCK_SIZE = 64  # examples of a client at once: few enough to stay in the first cache


def refusal(algorithm: FederatedAlgorithm, shared: Part, private: Private) -> str:
    """Why an algorithm cannot be streamed; empty if it can.

    Args:
      algorithm: the filled slots.
      shared: the server's parameters, or their shapes.
      private: the store's, or their shapes.
    """
    objective, update = algorithm.objective, algorithm.client_update
    sampler = objective.sampler
    needed = {
        "its objective is not `sampled`": sampler is not None,
        "its clients do not train by plain SGD": update.local is not None,
        "it makes more than one local epoch": sampler is not None and sampler.local_epochs == 1,
        "its model is not row-wise": algorithm.model.is_row_wise,
        "its aggregate does more than scale updates": algorithm.aggregate.is_scaling,
        "its server sends more than the table": algorithm.broadcast is None,
        "its shared parameters are not one table of rows": sampler is not None
        and set(shared.rows) == {sampler.table}
        and not jax.tree.leaves(shared.dense),
        "its private parameters have rows": not private.rows,
        "its clients get whole tables": sampler is not None and sampler.is_sliced,
    }
    return next((reason for reason, is_met in needed.items() if not is_met), "")


def is_streamed(this: Round, clients: Clients) -> bool:
    """Whether the round streams its light clients.

    Raises:
      ValueError: the executor is `streaming` and the algorithm cannot be streamed.
    """
    reason = refusal(this.algorithm, this.state.shared, clients.private)
    if reason and this.execution.executor == "streaming":
        raise ValueError(f"the algorithm cannot be streamed: {reason}; use executor 'auto'")
    return not reason and this.execution.executor != "general" and not this.execution.is_debug


def may_recur(this: Round, length: LengthClass) -> bool:
    """Whether a row may come twice in the round of some client of a length class."""
    sampler = _sampler(this)
    pool = sampler.num_items - length.num_excluded
    num_places = least_num_places(sampler.permutation, pool)
    return not length.is_distinct or length.num_events * sampler.num_negatives > num_places


class Member(NamedTuple):
    """A cohort member, and what the stream of its examples needs.

    Attributes:
      entry: who it is.
      stream: its random choices.
      order: of its positives.
      items_at: where its events begin in the store.
      excluded_at: where its exclusions begin in the store.
      num_excluded: how many there are.
    """

    entry: Entry
    stream: Stream
    order: Affine
    items_at: Array
    excluded_at: Array
    num_excluded: Array


def open_members(this: Round, cohort: Cohort) -> tuple[Member, Array]:
    """The cohort's streams `[C]`, and which of its members are light: no row recurs."""
    data, sampler = this.fixed.data, _sampler(this)
    max_events = max(length.num_events for length in data.classes)
    max_excluded = max(length.num_excluded for length in data.classes)

    def member(entry: Entry) -> Member:
        place = entry.client_id - data.first
        items_at, excluded_at = data.offsets[place], data.excluded_offsets[place]
        num_events = data.offsets[place + 1] - items_at
        num_excluded = data.excluded_offsets[place + 1] - excluded_at
        key = this.key(entry.client_id, base.PREPARE)
        stream = open_stream(sampler, key, num_events, num_excluded, max_excluded)
        order = order_of_positives(stream, 0, max_events)
        return Member(entry, stream, order, items_at, excluded_at, num_excluded)

    members = jax.vmap(member)(cohort)
    num_negatives = members.stream.num_positives * sampler.num_negatives
    is_light = num_negatives <= members.stream.negatives.num_places
    return members, cohort.is_valid & is_light & data.is_distinct[cohort.client_id - data.first]


class Sums(NamedTuple):
    """What a pass over the light clients adds up, and what they keep.

    Attributes:
      rows: the table's total.
      row_weight: table -> `[I]`; empty if the transform does not weigh rows.
      private: `[C, ...]` new private parameters, in the order of the members.
      is_finite: `[C]` False for a client that diverged.
      loss: `[]` of all examples.
      num_touched: `[]` rows that changed, summed over clients.
    """

    rows: PyTree
    row_weight: dict[str, Array]
    private: Private
    is_finite: Array
    loss: Array
    num_touched: Array


class Encoding(NamedTuple):
    """What the aggregate makes of each member's message, `[C]` each.

    Attributes:
      weight: of its examples, before encoding.
      scale: by which its update is multiplied.
      message_weight: after encoding.
      row_weight: table -> weight of a row that it changed; empty if the transform does
        not weigh rows.
    """

    weight: Array
    scale: Array
    message_weight: Array
    row_weight: dict[str, Array]


class Descent(NamedTuple):
    """A chunk's clients between two blocks; leaves `[chunk, ...]`.

    Attributes:
      private: as it stands.
      velocity: of the private parameters, where there is momentum.
      gradient: of the private parameters, over the blocks of this batch so far.
    """

    private: Private
    velocity: PyTree
    gradient: Private


class _Passes(NamedTuple):
    """Passes over the light clients, until nobody diverges.

    Attributes:
      is_good: `[C]` who trains.
      is_careful: whether each row's change is looked at. At first only the parameters that
        a client keeps and the total are: enough unless a change alone overflows.
      is_done: nobody has diverged in the last pass.
      sums: of the last pass.
    """

    is_good: Array
    is_careful: Array
    is_done: Array
    sums: Sums


def train_light(this: Round, members: Member, is_light: Array, carry: Carry) -> Carry:
    """Trains the light members of a cohort that is sorted by falling size.

    A client that diverges must not have touched the total: if one does, the pass is made
    again without it.
    """
    members, is_light = _padded(members, is_light, _chunk_size(this, is_light.shape[0]))
    encoding = _encode(this, members, carry)

    def once(loop: _Passes) -> _Passes:
        sums = _train_all(this, members, encoding, carry.clients, loop)
        is_good, is_sound = loop.is_good & sums.is_finite, tree.is_finite(sums.rows)
        is_done = jnp.all(is_good == loop.is_good) & (is_sound | loop.is_careful)
        return _Passes(is_good, loop.is_careful | ~is_sound, is_done, sums)

    never = jnp.bool_(False)
    start = _Passes(is_light, never, never, _zeros(this, encoding, carry.clients))
    is_good, _, _, sums = jax.lax.while_loop(lambda loop: ~loop.is_done, once, start)
    return _add(this, carry, members, encoding, sums, is_light, is_good)


def _train_all(
    this: Round, members: Member, encoding: Encoding, store: Clients, passes: _Passes
) -> Sums:
    """One pass over the clients that are good so far, chunk by chunk."""
    is_good = passes.is_good
    size = _chunk_size(this, is_good.shape[0])
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
        num_positives = jnp.where(cut(is_good), member.stream.num_positives, 0)
        private, memory = jax.tree.map(
            lambda leaf: leaf[member.entry.slot], (store.private, store.memory)
        )
        part = _Chunk(member, cut(encoding), num_positives, memory, passes.is_careful)
        private, sums, is_finite = _train_chunk(this, part, private, sums)
        return sums._replace(
            private=put(sums.private, private), is_finite=put(sums.is_finite, is_finite)
        )

    sums: Sums = jax.lax.fori_loop(
        0, (last + size - 1) // size, chunk, _zeros(this, encoding, store)
    )
    return sums


class _Chunk(NamedTuple):
    """Clients that train together; `num_positives` is 0 for who does not train."""

    member: Member
    encoding: Encoding
    num_positives: Array
    memory: Private
    is_careful: Array


def _train_chunk(
    this: Round, chunk: _Chunk, private: Private, sums: Sums
) -> tuple[Private, Sums, Array]:
    """Trains a chunk's clients, block by block, to the end of the largest."""
    sampler = _sampler(this)
    size = _block_size(this)
    num_examples = chunk.num_positives * (1 + sampler.num_negatives)
    num_blocks = (jnp.max(num_examples) + size - 1) // size
    blocks_per_batch = sampler.batch_size // size

    def block(number: Array, loop: PyTree) -> PyTree:
        descent, sums, is_finite = loop
        step = number // blocks_per_batch
        ids, examples = _examples(this, chunk, number)
        to_rows, to_private, loss, is_touched = _gradients(
            this, chunk, descent.private, ids, examples, step
        )
        changes = _changes(this, chunk, to_rows, step)
        sums = _add_rows(chunk, sums, ids, changes)
        is_finite &= jax.lax.cond(chunk.is_careful, _are_finite, lambda _: is_finite, changes)
        sums = sums._replace(
            loss=sums.loss + loss, num_touched=sums.num_touched + jnp.sum(is_touched)
        )
        descent = descent._replace(gradient=jax.tree.map(jnp.add, descent.gradient, to_private))
        is_end = (number + 1) % blocks_per_batch == 0
        stepped = _step(this, chunk, descent, step)
        descent = jax.tree.map(lambda new, old: jnp.where(is_end, new, old), stepped, descent)
        return descent, sums, is_finite

    zeros = tree.zeros_like(private)
    start = Descent(private, zeros if _local(this).momentum else (), zeros)
    loop = (start, sums, chunk.num_positives >= 0)
    descent, sums, is_finite = jax.lax.fori_loop(0, num_blocks, block, loop)
    # the last batch may have ended before its last block
    private = _step(this, chunk, descent, num_blocks // blocks_per_batch).private
    return private, sums, is_finite & _are_finite(private)


def _are_finite(leaves: PyTree) -> Array:
    """`[chunk]` whether each client's part of some leaves is finite."""
    return jax.vmap(tree.is_finite)(leaves)


def _examples(this: Round, chunk: _Chunk, number: Array) -> tuple[Array, Sampled]:
    """Block `number` of each client: `[chunk, B]` items and what the loss reads."""
    sampler, data, member = _sampler(this), this.fixed.data, chunk.member
    block = jax.vmap(lambda count: block_of(sampler, _block_size(this), number, count))(
        chunk.num_positives
    )
    event = jax.vmap(lambda order, number: order.element(number))(member.order, block.positive)
    event = jnp.clip(event, 0, jnp.maximum(chunk.num_positives, 1)[:, None] - 1)
    rank = jax.vmap(lambda stream, number: stream.negatives.element(number))(
        member.stream, block.negative
    )
    ids = jnp.concatenate(
        [
            data.items.at[member.items_at[:, None] + event].get(mode="clip"),
            rank + _num_excluded_below(this, member, rank),
        ],
        axis=1,
    )
    is_positive, is_valid = np.arange(ids.shape[1]) < block.positive.shape[1], block.is_valid
    if not this.algorithm.objective.is_pointwise:  # each positive before its negatives
        lane = np.arange(ids.shape[1])
        negatives = lane[~is_positive].reshape(-1, sampler.num_negatives)
        order = np.concatenate([lane[is_positive][:, None], negatives], axis=1).ravel()
        ids, is_positive, is_valid = ids[:, order], is_positive[order], is_valid[:, order]
    label = jnp.asarray(is_positive, jnp.float32) * is_valid
    return jnp.where(is_valid, ids, 0), Sampled(Inputs(None, table=sampler.table), label, is_valid)


def _num_excluded_below(this: Round, member: Member, rank: Array) -> Array:
    """`#{j : x_j - j <= rank}` in the client's exclusions; see `stream.free_item`.

    A binary search without branches, bit by bit of the count. It is a loop, for unrolled
    it would be fused into steps that each compute all steps before them anew.
    """
    excluded, begin = this.fixed.data.excluded, member.excluded_at[:, None]

    def halve_twice(number: Array, count: Array) -> Array:
        for half in (1 << (2 * number + 1), 1 << (2 * number)):
            last = jnp.minimum(count + half, end) - 1
            gap = excluded.at[begin + last].get(mode="promise_in_bounds") - last
            count = jnp.where((count + half <= end) & (gap <= rank), count + half, count)
        return count

    end = member.num_excluded[:, None]
    num_bits = 32 - jax.lax.clz(jnp.max(member.num_excluded))
    num_loops = (num_bits + 1) // 2
    count: Array = jax.lax.fori_loop(
        0,
        num_loops,
        lambda number, count: halve_twice(num_loops - 1 - number, count),
        jnp.zeros_like(rank),
    )
    return count


def _gradients(
    this: Round, chunk: _Chunk, private: Private, ids: Array, examples: Sampled, step: Array
) -> tuple[PyTree, Private, Array, Array]:
    """Gradients by the rows of a block and by each client's private parameters.

    With them the loss, and `[chunk, B]` which examples had one.
    """
    algorithm, state, table = this.algorithm, this.state, _sampler(this).table
    loss = cast(Loss, algorithm.objective.loss)

    def client(
        private: Private, memory: Private, ids: Array, examples: Sampled, divisor: Array
    ) -> tuple[PyTree, Private, Array, Array]:
        view = View(state.shared, private, this.fixed.frozen, memory, state.extra)
        # without the barrier the rows are gathered anew for each of their uses
        view = jax.lax.optimization_barrier(rows_of(view, table, ids))
        result = loss_gradients(algorithm.model, loss, view, examples, divisor)
        shared, private = result.gradients
        return shared.rows[table], private, result.total, result.by_score != 0

    axes = Sampled(Inputs(None, table=table), 0, 0)  # type: ignore[arg-type]
    divisor = _batch_weight(this, chunk, step)
    to_rows, to_private, losses, is_touched = jax.vmap(client, (0, 0, 0, axes, 0))(
        private, chunk.memory, ids, examples, divisor
    )
    return to_rows, to_private, jnp.sum(losses), is_touched


def _batch_weight(this: Round, chunk: _Chunk, step: Array) -> Array:
    """`[chunk]` sum of the weights of a batch's examples, by which its loss is divided."""
    sampler = _sampler(this)
    group = 1 + sampler.num_negatives
    first = step * sampler.batch_size
    end = jnp.minimum(first + sampler.batch_size, chunk.num_positives * group)
    num_positives = (end + group - 1) // group - (first + group - 1) // group
    of_positive, of_negative = example_weights(this.algorithm.objective)
    weight = of_positive * num_positives + of_negative * (end - first - num_positives)
    return jnp.where(weight > 0, weight, 1.0)


def _changes(this: Round, chunk: _Chunk, to_rows: PyTree, step: Array) -> PyTree:
    """What a block changes: `[chunk, B, ...]`, scaled as the aggregate would.

    A row that is read at step t of K moves by `learning_rate g (1 + m + ... + m^(K - t))`
    with momentum m, and is not read again.
    """
    local = _local(this)
    factor = -local.shared_learning_rate * chunk.encoding.scale
    if local.momentum:
        num_left = jnp.maximum(_num_steps(this, chunk) - step, 0)
        factor *= (1 - local.momentum**num_left) / (1 - local.momentum)
    return jax.tree.map(
        lambda grad: grad * factor.reshape((-1,) + (1,) * (grad.ndim - 1)).astype(grad.dtype),
        to_rows,
    )


def _add_rows(chunk: _Chunk, sums: Sums, ids: Array, changes: PyTree) -> Sums:
    """Adds what a block changes to the totals."""

    def add(total: Array, change: Array) -> Array:
        return total.at[ids].add(change, mode="promise_in_bounds")

    row_weight = {
        name: add(total, jax.vmap(tree.touched)(changes) * chunk.encoding.row_weight[name])
        for name, total in sums.row_weight.items()
    }
    return sums._replace(rows=jax.tree.map(add, sums.rows, changes), row_weight=row_weight)


def _step(this: Round, chunk: _Chunk, descent: Descent, step: Array) -> Descent:
    """`v <- momentum v + g`, `p <- p - learning_rate v`, for whom this step is real."""
    local = _local(this)
    velocity = descent.gradient
    if local.momentum:
        velocity = jax.tree.map(
            lambda v, g: local.momentum * v + g, descent.velocity, descent.gradient
        )
    is_real = step < _num_steps(this, chunk)

    def move(p: Array, v: Array) -> Array:
        moved = p - local.private_learning_rate * v
        return jnp.where(is_real.reshape((-1,) + (1,) * (p.ndim - 1)), moved, p)

    return Descent(
        jax.tree.map(move, descent.private, velocity),
        velocity if local.momentum else (),
        tree.zeros_like(descent.gradient),
    )


def _num_steps(this: Round, chunk: _Chunk) -> Array:
    sampler = _sampler(this)
    num_examples = chunk.num_positives * (1 + sampler.num_negatives)
    return (num_examples + sampler.batch_size - 1) // sampler.batch_size


# ------------------------------------------------------- what clients send


def example_weights(objective: Objective) -> tuple[Array, Array]:
    """The weight of a positive and of a negative in the loss."""
    size = 1 + cast(Sampler, objective.sampler).num_negatives
    group = Sampled(Inputs(None), (jnp.arange(size) == 0).astype(jnp.float32), jnp.ones(size, bool))
    _, weight = cast(Loss, objective.loss)(jnp.zeros(size), group)
    return weight[0], weight[1]


def _encode(this: Round, members: Member, carry: Carry) -> Encoding:
    """What the aggregate makes of each member's message, tried on an update of ones."""
    aggregate, state = this.algorithm.aggregate, this.state
    probe = jax.tree.map(lambda leaf: jnp.ones((1, *leaf.shape[1:]), leaf.dtype), state.shared)
    residual = jax.tree.map(lambda leaf: leaf[0], carry.clients.residual)
    key = this.key(base.SERVER, base.ENCODE)
    of_positive, of_negative = example_weights(this.algorithm.objective)
    sampler = _sampler(this)

    def member(num_positives: Array) -> Encoding:
        weight = num_positives * (of_positive + sampler.num_negatives * of_negative)
        message, _ = aggregate.encode(
            key,
            Message(probe, weight, {}, {}),
            state.aggregate_state,
            residual,
            jnp.float32(jnp.inf),
        )
        scale = jax.tree.leaves(message.update)[0].ravel()[0]
        return Encoding(weight, scale, message.weight, message.row_weight)

    encoding: Encoding = jax.vmap(member)(members.stream.num_positives)
    return encoding


def _zeros(this: Round, encoding: Encoding, store: Clients) -> Sums:
    """Before the first client."""
    sampler, capacity = _sampler(this), encoding.weight.shape[0]
    private = jax.tree.map(
        lambda leaf: jnp.zeros((capacity, *leaf.shape[1:]), leaf.dtype), store.private
    )
    return Sums(
        tree.zeros_like(this.state.shared.rows[sampler.table]),
        {name: jnp.zeros(sampler.num_items) for name in encoding.row_weight},
        private,
        jnp.ones(capacity, bool),
        jnp.float32(0),
        jnp.float32(0),
    )


def _add(
    this: Round,
    carry: Carry,
    members: Member,
    encoding: Encoding,
    sums: Sums,
    is_light: Array,
    is_good: Array,
) -> Carry:
    """The carry with the light clients' messages, parameters and observations."""
    table, total = _sampler(this).table, carry.total
    rows = jax.tree.map(jnp.add, total.update.rows[table], sums.rows)
    row_weight = {name: weight + sums.row_weight[name] for name, weight in total.row_weight.items()}
    total = total._replace(
        update=total.update._replace(rows={table: rows}),
        weight=total.weight + jnp.sum(jnp.where(is_good, encoding.message_weight, 0)),
        row_weight=row_weight,
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
    }
    info = jax.tree.map(jnp.add, carry.info, seen)
    return Carry(total, carry.clients._replace(private=private), info)


def _padded(members: Member, is_light: Array, size: int) -> tuple[Member, Array]:
    """Members that do not train behind the others, to a multiple of the chunk."""
    padding = -is_light.shape[0] % size

    def pad(leaf: Array) -> Array:
        return jnp.concatenate([leaf, jnp.repeat(leaf[-1:], padding, axis=0)])

    return jax.tree.map(pad, members), jnp.concatenate([is_light, jnp.zeros(padding, bool)])


# ------------------------------------------------------------------ promises


def _chunk_size(this: Round, capacity: int) -> int:
    return min(this.execution.chunk_size or CHUNK_SIZE, capacity)


def _sampler(this: Round) -> Sampler:
    return cast(Sampler, this.algorithm.objective.sampler)


def _local(this: Round) -> LocalSGD:
    return cast(LocalSGD, this.algorithm.client_update.local)


def _block_size(this: Round) -> int:
    """The largest divisor of the batch up to `BLOCK_SIZE`, of whole groups if need be.

    A batch without a divisor of use is one block.
    """
    sampler = _sampler(this)
    group = 1 if this.algorithm.objective.is_pointwise else 1 + sampler.num_negatives
    sizes = [n for n in range(group, sampler.batch_size + 1, group) if sampler.batch_size % n == 0]
    return max((n for n in sizes if BLOCK_SIZE // 4 <= n <= BLOCK_SIZE), default=sampler.batch_size)
