"""Streamed clients of one chunk: their examples, gradients and steps, block by block.

`descend` trains them and shows each block to a visitor: `train_chunk` adds its changes to the
totals at once, `replay.clip_chunk` keeps what it needs to add them later.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_rec import tree
from fedjax_rec.base import Array, Inputs, Private, PyTree, Sampled, Stat, View, is_zero
from fedjax_rec.clients.gradients import Loss, loss_gradients, rows_of
from fedjax_rec.objectives.stream import block_of, free_items
from fedjax_rec.simulation.context import PADDING, Round, steps_made
from fedjax_rec.simulation.members import Encoding, Member
from fedjax_rec.simulation.row_buffer import RowBuffer, push
from fedjax_rec.simulation.streamable import block_size, example_weights, local_of, sampler_of

Kept = TypeVar("Kept", bound=PyTree)


class Sums(NamedTuple):
    """What a pass over the light clients adds up, and what they keep.

    Attributes:
      rows: the table's total, or a list of changes.
      row_weight: table -> `[I]`; empty if the transform does not weigh rows.
      private: `[C, ...]` new private parameters, in the order of the members.
      is_finite: `[C]` False for a client that diverged.
      encoding: `[C]` what the aggregate makes of their messages.
      loss: `[]` of all examples.
      num_touched: `[]` rows that changed, summed over clients.
      padding: steps made and needed, see `context.steps_made`.
    """

    rows: PyTree | RowBuffer
    row_weight: dict[str, Array]
    private: Private
    is_finite: Array
    encoding: Encoding
    loss: Array
    num_touched: Array
    padding: Stat


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


class Block(NamedTuple):
    """One block of a chunk's clients, in training.

    Attributes:
      number: of the block.
      step: of local SGD that it belongs to.
      ids: `[chunk, B]` of its rows.
      private: the private parameters that it was scored with.
      by_score: `[chunk, B]` gradient of the loss by each score.
      changes: `[chunk, B, ...]` of its rows, scaled as the chunk's encoding says.
      loss: `[chunk]` of its examples.
    """

    number: Array
    step: Array
    ids: Array
    private: Private
    by_score: Array
    changes: PyTree
    loss: Array

    def num_touched(self) -> Array:
        """`[chunk]` rows that changed."""
        return jnp.sum(self.by_score != 0, axis=1).astype(jnp.float32)


class Chunk(NamedTuple):
    """Clients that train together; `num_positives` is 0 for who does not train."""

    member: Member
    encoding: Encoding
    num_positives: Array
    memory: Private


def train_chunk(
    this: Round, chunk: Chunk, private: Private, sums: Sums
) -> tuple[Private, Sums, Array]:
    """Trains a chunk's clients and adds what they change to the sums, block by block.

    Returns:
      New private parameters, the sums, and `[chunk]` who did not diverge.
    """

    def add(block: Block, kept: tuple[Sums, Array]) -> tuple[Sums, Array]:
        sums, is_finite = kept
        sums = add_rows(chunk, sums, block.ids, block.changes)
        is_finite &= are_finite(jax.tree.map(sum_of_rows, block.changes))
        sums = sums._replace(
            loss=sums.loss + jnp.sum(block.loss),
            num_touched=sums.num_touched + jnp.sum(block.num_touched()),
        )
        return sums, is_finite

    start = (sums, chunk.num_positives >= 0)
    private, (sums, is_finite) = descend(this, chunk, private, add, start)
    sums = sums._replace(padding=sums.padding.merge(padding_of(this, chunk)))
    return private, sums, is_finite & are_finite(private)


def descend(
    this: Round,
    chunk: Chunk,
    private: Private,
    visit: Callable[[Block, Kept], Kept],
    kept: Kept,
) -> tuple[Private, Kept]:
    """Trains a chunk's clients to the end of the largest, and shows each block to `visit`."""
    blocks_per_batch = sampler_of(this).batch_size // block_size(this)

    def block(number: Array, loop: tuple[Descent, Kept]) -> tuple[Descent, Kept]:
        descent, kept = loop
        step = number // blocks_per_batch
        ids, examples = _examples(this, chunk, number)
        to_rows, to_private, loss, by_score = _gradients(
            this, chunk, descent.private, ids, examples, step
        )
        changes = changes_of(this, chunk, to_rows, step)
        kept = visit(Block(number, step, ids, descent.private, by_score, changes, loss), kept)
        descent = descent._replace(gradient=jax.tree.map(jnp.add, descent.gradient, to_private))
        is_end = (number + 1) % blocks_per_batch == 0
        stepped = _step(this, chunk, descent, step)
        descent = jax.tree.map(lambda new, old: jnp.where(is_end, new, old), stepped, descent)
        return descent, kept

    zeros = tree.zeros_like(private)
    start = Descent(private, () if is_zero(local_of(this).momentum) else zeros, zeros)
    num_blocks = num_blocks_of(this, chunk)
    descent, kept = jax.lax.fori_loop(0, num_blocks, block, (start, kept))
    # the last batch may have ended before its last block
    return _step(this, chunk, descent, num_blocks // blocks_per_batch).private, kept


def num_blocks_of(this: Round, chunk: Chunk) -> Array:
    """To the end of the largest of a chunk's clients."""
    size = block_size(this)
    num_examples = chunk.num_positives * (1 + sampler_of(this).num_negatives)
    return (jnp.max(num_examples) + size - 1) // size


def padding_of(this: Round, chunk: Chunk) -> Stat:
    """Steps made and needed by a chunk, see `context.steps_made`."""
    sampler = sampler_of(this)
    num_examples = chunk.num_positives * (1 + sampler.num_negatives)
    blocks_per_batch = sampler.batch_size // block_size(this)
    made = num_blocks_of(this, chunk) * num_examples.shape[0] / blocks_per_batch
    return steps_made(made, jnp.sum(num_examples) / sampler.batch_size)[PADDING]


def sum_of_rows(change: Array) -> Array:
    """`[chunk, ...]`: finite where every term is, and much cheaper than a look at each."""
    ones = jnp.ones(change.shape[:2], change.dtype)
    return jnp.einsum("cb,cb...->c...", ones, change)  # a product of matrices: fast


def are_finite(leaves: PyTree) -> Array:
    """`[chunk]` whether each client's part of some leaves is finite."""
    return jax.vmap(tree.is_finite)(leaves)


def _examples(this: Round, chunk: Chunk, number: Array) -> tuple[Array, Sampled]:
    """Block `number` of each client: `[chunk, B]` items and what the loss reads."""
    sampler, data, member = sampler_of(this), this.fixed.data, chunk.member
    block = jax.vmap(lambda count: block_of(sampler, block_size(this), number, count))(
        chunk.num_positives
    )
    event = jax.vmap(lambda order, number: order.element(number))(member.order, block.positive)
    event = jnp.clip(event, 0, jnp.maximum(chunk.num_positives, 1)[:, None] - 1)
    rank = jax.vmap(lambda stream, number: stream.negatives.element(number))(
        member.stream, block.negative
    )
    ids = jnp.concatenate(
        [
            tree.rows_at(data.items, member.items_at[:, None] + event),
            free_items(
                rank,
                data.excluded,
                member.excluded_at[:, None],
                member.num_excluded[:, None],
                32 - jax.lax.clz(jnp.max(member.num_excluded)),
            ),
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


def _gradients(
    this: Round, chunk: Chunk, private: Private, ids: Array, examples: Sampled, step: Array
) -> tuple[PyTree, Private, Array, Array]:
    """Gradients by the rows of a block and by each client's private parameters.

    With them `[chunk]` losses, and `[chunk, B]` gradients by the scores.
    """
    algorithm, state, table = this.algorithm, this.state, sampler_of(this).table
    loss = cast(Loss, algorithm.objective.loss)

    def client(
        private: Private, memory: Private, ids: Array, examples: Sampled, divisor: Array
    ) -> tuple[PyTree, Private, Array, Array]:
        view = View(state.shared, private, this.fixed.frozen, memory, state.extra)
        # without the barrier the rows are gathered anew for each of their uses
        view = jax.lax.optimization_barrier(rows_of(view, table, ids))
        result = loss_gradients(algorithm.model, loss, view, examples, divisor)
        shared, private = result.gradients
        return shared.rows[table], private, result.total, result.by_score

    axes = Sampled(Inputs(None, table=table), 0, 0)  # type: ignore[arg-type]
    divisor = _batch_weight(this, chunk, step)
    to_rows, to_private, losses, by_score = jax.vmap(client, (0, 0, 0, axes, 0))(
        private, chunk.memory, ids, examples, divisor
    )
    return to_rows, to_private, losses.astype(jnp.float32), by_score


def _batch_weight(this: Round, chunk: Chunk, step: Array) -> Array:
    """`[chunk]` sum of the weights of a batch's examples, by which its loss is divided."""
    sampler = sampler_of(this)
    group = 1 + sampler.num_negatives
    first = step * sampler.batch_size
    end = jnp.minimum(first + sampler.batch_size, chunk.num_positives * group)
    num_positives = (end + group - 1) // group - (first + group - 1) // group
    of_positive, of_negative = example_weights(this.algorithm.objective)
    weight = of_positive * num_positives + of_negative * (end - first - num_positives)
    return jnp.where(weight > 0, weight, 1.0)


def changes_of(this: Round, chunk: Chunk, to_rows: PyTree, step: Array) -> PyTree:
    """What a block changes: `[chunk, B, ...]`, scaled as the aggregate would.

    A row that is read at step t of K moves by `learning_rate g (1 + m + ... + m^(K - t))`
    with momentum m, and is not read again.
    """
    local = local_of(this)
    factor = -local.shared_learning_rate * chunk.encoding.scale
    if not is_zero(local.momentum):
        num_left = jnp.maximum(_num_steps(this, chunk) - step, 0)
        factor *= (1 - local.momentum**num_left) / (1 - local.momentum)
    return jax.tree.map(
        lambda grad: grad * factor.reshape((-1,) + (1,) * (grad.ndim - 1)).astype(grad.dtype),
        to_rows,
    )


def add_rows(chunk: Chunk, sums: Sums, ids: Array, changes: PyTree) -> Sums:
    """Adds what a block changes to the totals."""
    if isinstance(sums.rows, RowBuffer):
        return sums._replace(rows=push(sums.rows, ids, changes))

    def add(total: Array, change: Array) -> Array:
        return tree.add_at(total, ids, change.astype(total.dtype))

    row_weight = {
        name: add(total, jax.vmap(tree.touched)(changes) * chunk.encoding.row_weight[name])
        for name, total in sums.row_weight.items()
    }
    return sums._replace(rows=jax.tree.map(add, sums.rows, changes), row_weight=row_weight)


def _step(this: Round, chunk: Chunk, descent: Descent, step: Array) -> Descent:
    """`v <- momentum v + g`, `p <- p - learning_rate v`, for whom this step is real."""
    local = local_of(this)
    velocity = descent.gradient
    if not is_zero(local.momentum):
        velocity = jax.tree.map(
            lambda v, g: local.momentum * v + g, descent.velocity, descent.gradient
        )
    is_real = step < _num_steps(this, chunk)

    def move(p: Array, v: Array) -> Array:
        moved = p - local.private_learning_rate * v
        return jnp.where(is_real.reshape((-1,) + (1,) * (p.ndim - 1)), moved, p)

    return Descent(
        jax.tree.map(move, descent.private, velocity),
        () if is_zero(local.momentum) else velocity,
        tree.zeros_like(descent.gradient),
    )


def _num_steps(this: Round, chunk: Chunk) -> Array:
    sampler = sampler_of(this)
    num_examples = chunk.num_positives * (1 + sampler.num_negatives)
    return (num_examples + sampler.batch_size - 1) // sampler.batch_size
