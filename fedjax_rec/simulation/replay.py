"""Streamed clients whose updates are scaled by their norms: a pass for the norm, one for the rows.

A light client's rows are distinct, so the squared norm of its update is a running sum. The first
pass trains the client and keeps two words an example: its row's id and the gradient of the loss
by its score; and the private parameters at each block. From these the second pass asks the
model's pullback for the rows' changes again, scales them and adds them to the totals. Who
diverged is known in between, and adds nothing.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedjax_rec import tree
from fedjax_rec.base import Array, Clients, Inputs, Private, PyTree, View
from fedjax_rec.clients.gradients import autodiff, rows_of
from fedjax_rec.simulation.context import Round
from fedjax_rec.simulation.descent import (
    Block,
    Chunk,
    Sums,
    add_rows,
    are_finite,
    changes_of,
    descend,
    num_blocks_of,
    padding_of,
    sum_of_rows,
)
from fedjax_rec.simulation.members import Encoding, encode
from fedjax_rec.simulation.streamable import block_size, lanes, sampler_of


class Tape(NamedTuple):
    """What the second pass needs of each block, `[blocks, chunk, ...]`."""

    ids: Array
    by_score: Array
    private: Private


class _Seen(NamedTuple):
    """What the first pass keeps, `[chunk]` each beside the tape."""

    tape: Tape
    squares: Array
    is_finite: Array
    loss: Array
    num_touched: Array


def clip_chunk(
    this: Round, chunk: Chunk, private: Private, store: Clients, sums: Sums
) -> tuple[Private, Sums, Array, Encoding]:
    """Trains a chunk's clients, and adds what they change, scaled by the norm of all of it.

    Returns:
      New private parameters, the sums, `[chunk]` who did not diverge, and what the aggregate
      made of their messages.
    """
    plain = chunk._replace(encoding=jax.tree.map(jnp.ones_like, chunk.encoding))

    def record(block: Block, seen: _Seen) -> _Seen:
        entry = Tape(block.ids, block.by_score, block.private)
        return _Seen(
            jax.tree.map(lambda tape, new: tape.at[block.number].set(new), seen.tape, entry),
            seen.squares + _squares(block.changes),
            seen.is_finite & are_finite(jax.tree.map(sum_of_rows, block.changes)),
            seen.loss + block.loss,
            seen.num_touched + block.num_touched(),
        )

    private, seen = descend(this, plain, private, record, _nothing_seen(this, chunk, private))
    is_good = seen.is_finite & are_finite(private)
    encoding = encode(this, chunk.num_positives, jnp.sqrt(seen.squares), store)
    scaled = chunk._replace(encoding=encoding)

    def add(number: Array, sums: Sums) -> Sums:
        tape: Tape = jax.tree.map(lambda leaf: leaf[number], seen.tape)
        # 0 times what is not finite is not 0
        tape = tape._replace(
            by_score=jnp.where(is_good[:, None], tape.by_score, 0),
            private=jax.vmap(tree.mask)(is_good, tape.private),
        )
        step = number // (sampler_of(this).batch_size // block_size(this))
        changes = changes_of(this, scaled, _to_rows(this, chunk, tape), step)
        return add_rows(scaled, sums, tape.ids, changes)

    sums = jax.lax.fori_loop(0, num_blocks_of(this, chunk), add, sums)
    sums = sums._replace(
        padding=sums.padding.merge(padding_of(this, chunk)),
        loss=sums.loss + jnp.sum(jnp.where(is_good, seen.loss, 0)),
        num_touched=sums.num_touched + jnp.sum(jnp.where(is_good, seen.num_touched, 0)),
    )
    return private, sums, is_good, encoding


def _nothing_seen(this: Round, chunk: Chunk, private: Private) -> _Seen:
    """Before the first block, with a tape for the largest client of all."""
    size = chunk.num_positives.shape[0]
    num_examples = this.fixed.data.classes[0].num_events * (1 + sampler_of(this).num_negatives)
    num_blocks = -(-num_examples // block_size(this))
    tape = Tape(
        jnp.zeros((num_blocks, size, lanes(this)), jnp.int32),
        jnp.zeros((num_blocks, size, lanes(this)), jnp.float32),
        jax.tree.map(lambda leaf: jnp.zeros((num_blocks, *leaf.shape), leaf.dtype), private),
    )
    zeros = jnp.zeros(size)
    return _Seen(tape, zeros, jnp.ones(size, bool), zeros, zeros)


def _squares(changes: PyTree) -> Array:
    """`[chunk]` of some rows' changes, in float32."""
    return sum(
        (
            jnp.sum(leaf.astype(jnp.float32) ** 2, axis=tuple(range(1, leaf.ndim)))
            for leaf in jax.tree.leaves(changes)
        ),
        start=jnp.float32(0),
    )


def _to_rows(this: Round, chunk: Chunk, tape: Tape) -> PyTree:
    """The gradients of a block's rows, `[chunk, B, ...]`, from what the first pass kept."""
    state, table, model = this.state, sampler_of(this).table, this.algorithm.model

    def client(private: Private, memory: Private, ids: Array, by_score: Array) -> PyTree:
        view = View(state.shared, private, this.fixed.frozen, memory, state.extra)
        view = jax.lax.optimization_barrier(rows_of(view, table, ids))
        _, pullback = (model.score_vjp or autodiff(model))(view, Inputs(None, table=table))
        return pullback(by_score)[0].rows[table]

    return jax.vmap(client)(tape.private, chunk.memory, tape.ids, tape.by_score)
