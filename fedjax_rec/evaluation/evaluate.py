"""Scores every client's held-out items on the device, a chunk of clients at a time."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from fedjax_rec.base import (
    Array,
    ClientData,
    Clients,
    FederatedAlgorithm,
    Fixed,
    LengthClass,
    PyTree,
    ServerState,
)
from fedjax_rec.errors import UserError
from fedjax_rec.evaluation import ranking
from fedjax_rec.evaluation.later import Later
from fedjax_rec.evaluation.personal import each_scores_of
from fedjax_rec.evaluation.questions import Evaluation, Found, HeldOutSet, Question, Ranking

SCORES_PER_CHUNK = 2**20
"""Default size of a chunk: clients times items, times the width of rows of its own."""

Splits = dict[str, HeldOutSet]
Asker = Callable[..., dict[str, Found]]
"""`(state, clients, fixed, splits, encoded=None)`, see `asker`."""

Evaluator = Callable[[ServerState, Clients, Fixed, Splits], dict[str, Evaluation]]


def build_evaluator(
    algorithm: FederatedAlgorithm,
    question: Question | None = None,
    *,
    chunk_size: int | None = None,
    over: Callable[[Asker], Asker] = jax.jit,
) -> Evaluator:
    """An evaluator, compiled at its first call and once for each shape of data.

    Each client is scored by `model.score` on the view it has as it stands: the shared
    parameters, its own private ones and its memory. A model that `needs_history` reads the
    client's training events, and behind them the `later` events of a split. A client scores
    the catalogue once for all splits, once more for each split with later events if the model
    reads a history, and not at all where it has nothing held out.

    Args:
      algorithm: supplies model and broadcast.
      question: what is asked of the scores; `Ranking()` by default.
      chunk_size: clients scored at a time, 1 to N; it changes memory and speed, not
        results. By default about a million scores.
      over: turns the function that asks the clients it is given into the one that the
        evaluator calls: compiled, or with several devices on each one's own clients.

    Returns:
      `(state, clients, fixed, {split: held_out}) -> {split: Evaluation}`. It raises
      `UserError` when no client has a held-out item.
    """
    asked = question or Ranking()
    return evaluator(over(asker(algorithm, asked, chunk_size)), asked)


def asker(algorithm: FederatedAlgorithm, asked: Question, chunk_size: int | None = None) -> Asker:
    """Puts a question to every client that holds an item out, for `build_evaluator`.

    Args:
      algorithm: whose model scores.
      asked: of the scores.
      chunk_size: clients scored at a time; by default as many as fit.

    Returns:
      `(state, clients, fixed, splits, encoded)`: what is encoded of the items, where the model
      has such a side (`personal.encodes_once`), by default computed before the first chunk.
    """

    def ask(
        state: ServerState,
        clients: Clients,
        fixed: Fixed,
        splits: Splits,
        encoded: PyTree | None = None,
    ) -> dict[str, Found]:
        num_items, num_clients = fixed.data.num_ranked, fixed.data.num_clients
        scores = each_scores_of(algorithm, state, clients, fixed, encoded)
        read = _read(algorithm, splits)
        order, groups = _groups(algorithm, fixed.data, _is_asked(splits, num_items))
        most = chunk_size or clients_at_a_time(algorithm, state, clients, num_items)
        size = -(-num_clients // -(-num_clients // most))

        def ask_group(
            begin: Array, end: Array, length: LengthClass, found: dict[str, Found]
        ) -> dict[str, Found]:
            def chunk(number: Array, found: dict[str, Found]) -> dict[str, Found]:
                place = begin + number * size + jnp.arange(size)
                slots = order.at[place].get(mode="clip")
                ids = fixed.data.first + fixed.data.stride * slots
                laters = jax.tree.map(lambda leaf: leaf[slots], list(read.values()))
                scored = _once(partial(scores, length, ids, slots, laters), begin < end)
                of_each = dict(zip(read, scored, strict=True))
                own = jnp.where(place < end, slots, num_clients)
                return {
                    split: jax.tree.map(
                        lambda whole, part: whole.at[own].set(part, mode="drop"),
                        found[split],
                        asked.answers(of_each[split if split in of_each else ""], slots, held_out),
                    )
                    for split, held_out in splits.items()
                }

            num_chunks = (end - begin + size - 1) // size
            answered: dict[str, Found] = jax.lax.fori_loop(0, num_chunks, chunk, found)
            return answered

        found = {split: asked.nothing(held_out, num_items) for split, held_out in splits.items()}
        for begin, end, length in groups:
            found = ask_group(begin, end, length, found)
        return found

    return ask


def evaluator(ask_all: Asker, asked: Question) -> Evaluator:
    """The evaluation of what `ask_all` answers."""

    def evaluate(
        state: ServerState, clients: Clients, fixed: Fixed, splits: Splits
    ) -> dict[str, Evaluation]:
        found = jax.device_get(ask_all(state, clients, fixed, splits))
        return {split: asked.summary(answered) for split, answered in found.items()}

    return evaluate


def top_k(
    algorithm: FederatedAlgorithm,
    state: ServerState,
    clients: Clients,
    fixed: Fixed,
    client_id: int,
    k: int,
    seen: npt.NDArray[np.integer] | Sequence[int] = (),
    later: Later | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The best items for one client that it has not seen.

    A model that `needs_history` reads the client's training events, whatever `seen` holds, and
    what comes later.

    Args:
      client_id: 0 to N - 1.
      k: how many items are wanted.
      seen: items to leave out.
      later: events behind the training events, of all clients (`later.later_events`).

    Returns:
      `(ids, scores)` from the best down, equal scores by id; fewer than `k` when no more
      are left. Items without a finite score are left out.

    Raises:
      UserError: when there is no such client or `k` is not positive.
    """
    num_clients = fixed.data.num_clients
    if not 0 <= client_id < num_clients:
        raise UserError(f"no client {client_id}: client ids go from 0 to {num_clients - 1}")
    if k < 1:
        raise UserError(f"cannot recommend k = {k} items; use a positive integer")
    one = jnp.array([client_id])
    longest = LengthClass.covering(fixed.data.classes)
    more = jax.tree.map(lambda leaf: leaf[one], later)
    scores = each_scores_of(algorithm, state, clients, fixed)(longest, one, one, [more])[0][0]
    unseen = scores.at[jnp.asarray(seen, jnp.int32)].set(-jnp.inf)
    best = np.asarray(ranking.best(unseen[None], min(k, scores.size))[0], np.int64)
    best = best[best < scores.size]
    return best, np.asarray(scores)[best]


def _once(scores: Callable[[], list[Array]], is_true: Array) -> list[Array]:
    """What `scores` gives, in memory.

    XLA may compute a score again for each of its readers and round it otherwise, so that it
    would not equal itself. What comes out of a branch that depends on data is computed once.
    """
    traced, closed_over = jax.closure_convert(scores)  # once, though its shapes are asked for too
    shapes = jax.eval_shape(traced, *closed_over)

    def nothing(*closed_over: Array) -> list[Array]:
        return [jnp.zeros(one.shape, one.dtype) for one in shapes]

    found: list[Array] = jax.lax.cond(is_true, traced, nothing, *closed_over)
    return found


def _is_asked(splits: Splits, num_items: int) -> Array:
    """`[N]` which clients have a held-out item in any split."""
    has_target = [(held_out.targets < num_items).any(axis=-1) for held_out in splits.values()]
    return jnp.stack(has_target).any(axis=0)


def _read(algorithm: FederatedAlgorithm, splits: Splits) -> dict[str, Later | None]:
    """What is read beside training events, by the split it is read for; "" is all others."""
    reads = algorithm.model.needs_history
    own: dict[str, Later | None]
    own = {split: held.later for split, held in splits.items() if reads and held.later is not None}
    return own if len(own) == len(splits) else {"": None, **own}


def _groups(
    algorithm: FederatedAlgorithm, data: ClientData, is_asked: Array
) -> tuple[Array, list[tuple[Array, Array, LengthClass]]]:
    """Clients that are scored together: the order of slots, and ranges of it.

    Who is not asked comes last and is in no range. Who adapts is grouped by size: clients of
    a chunk take as many steps as its largest.
    """
    if algorithm.adapt is None:
        everyone = jnp.int32(0), is_asked.sum(), LengthClass.covering(data.classes)
        return jnp.argsort(~is_asked), [everyone]
    ranks = jnp.where(is_asked, data.rank, data.classes[-1].stop)
    order = jnp.argsort(ranks)
    ranks = ranks[order]
    return order, [
        (*jnp.searchsorted(ranks, jnp.array([length.start, length.stop])), length)
        for length in data.classes
    ]


def clients_at_a_time(
    algorithm: FederatedAlgorithm, state: ServerState, clients: Clients, num_items: int
) -> int:
    """How many clients are scored at a time."""
    own: list[tuple[int, ...]] = [leaf.shape[2:] for leaf in jax.tree.leaves(clients.private.rows)]
    if algorithm.adapt is not None:  # then each holds tables of its own
        own += [leaf.shape[1:] for leaf in jax.tree.leaves(state.shared.rows)]
    width = 1 + sum(math.prod(shape) for shape in own)
    return max(1, SCORES_PER_CHUNK // (num_items * width))
