"""Scores every client's held-out items on the device, a chunk of clients at a time."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

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
    ServerState,
)
from fedjax_rec.errors import UserError
from fedjax_rec.evaluation import metrics, ranking
from fedjax_rec.evaluation.personal import scores_of

SCORES_PER_CHUNK = 2**20
"""Default size of a chunk: clients times items, times the width of rows of its own."""

SEEN_PER_STEP = 2**13
"""How many seen items are struck out of the ranking at a time."""


class HeldOutSet(NamedTuple):
    """What is asked of every client, and what is left out of the ranking.

    Attributes:
      targets: `[N, R]` distinct held-out items, padded with the number of items.
      seen_offsets: `[N + 1]` where each client's seen items begin.
      seen_items: `[E]` removed from the ranking: training items, at test with the
        validation items (`data.item_lists`). A target stays even when seen.
      candidates: `[N, K]` items to rank the targets among, padded with the number of
        items, repeats allowed; `None` for the full catalogue.
    """

    targets: Array
    seen_offsets: Array
    seen_items: Array
    candidates: Array | None = None


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
      metrics: means over the clients that have a held-out item, in [0, 1], by key
        (`ndcg@10`).
      per_client: `[N]` by key; NaN where a client has no held-out item.
      ranks: `[N, R]` 1-based; `metrics.UNRANKED` for padding and non-finite scores.
      num_clients: how many clients have a held-out item.
      num_non_finite: how many of them have a candidate whose score is not finite.
    """

    metrics: dict[str, float]
    per_client: dict[str, npt.NDArray[np.float32]]
    ranks: npt.NDArray[np.int32]
    num_clients: int
    num_non_finite: int


class Ranked(NamedTuple):
    """What is found for each client.

    Attributes:
      ranks: `[N, R]`, see `Evaluation`.
      num_relevant: `[N]` how many held-out items it has.
      is_bad: `[N]` one of its candidates has a score that is not finite.
    """

    ranks: Array
    num_relevant: Array
    is_bad: Array


Splits = dict[str, HeldOutSet]
Ranker = Callable[[ServerState, Clients, Fixed, Splits], dict[str, Ranked]]
Evaluator = Callable[[ServerState, Clients, Fixed, Splits], dict[str, Evaluation]]


def build_evaluator(
    algorithm: FederatedAlgorithm,
    *,
    at_k: Sequence[int] = (5, 10, 20),
    ties: ranking.Ties = "pessimistic",
    chunk_size: int | None = None,
    over: Callable[[Ranker], Ranker] = jax.jit,
) -> Evaluator:
    """An evaluator, compiled at its first call and once for each shape of data.

    Each client is scored by `model.score` on the view it has as it stands: the shared
    parameters, its own private ones and its memory. A model that `needs_history` reads the
    client's training events; at test, the validation item is left out of the ranking and
    is no part of that history. A client scores the catalogue once for all splits.

    Args:
      algorithm: supplies model and broadcast.
      at_k: cut-offs.
      ties: the rule among equal scores, see `ranking.ranks`.
      chunk_size: clients scored at a time, 1 to N; it changes memory and speed, not
        results. By default about a million scores.
      over: turns the function that ranks the clients it is given into the one that the
        evaluator calls: compiled, or with several devices on each one's own clients.

    Returns:
      `(state, clients, fixed, {split: held_out}) -> {split: Evaluation}`. It raises
      `UserError` when no client has a held-out item.

    Raises:
      UserError: for a cut-off that is not a positive integer.
    """
    keys = metrics.metric_keys(at_k)

    def rank(
        state: ServerState, clients: Clients, fixed: Fixed, splits: Splits
    ) -> dict[str, Ranked]:
        num_items, num_clients = fixed.data.num_ranked, fixed.data.num_clients
        scores = scores_of(algorithm, state, clients, fixed)
        order, groups = _groups(algorithm, fixed.data)
        most = chunk_size or _chunk_size(algorithm, state, clients, num_items)
        size = -(-num_clients // -(-num_clients // most))

        def rank_group(
            begin: Array, end: Array, length: LengthClass, found: dict[str, Ranked]
        ) -> dict[str, Ranked]:
            def chunk(number: Array, found: dict[str, Ranked]) -> dict[str, Ranked]:
                place = begin + number * size + jnp.arange(size)
                slots = order.at[place].get(mode="clip")
                of_all = scores(length, fixed.data.first + fixed.data.stride * slots, slots)
                return {
                    split: _ranked(of_all, slots, place < end, held_out, found[split], ties)
                    for split, held_out in splits.items()
                }

            num_chunks = (end - begin + size - 1) // size
            ranked: dict[str, Ranked] = jax.lax.fori_loop(0, num_chunks, chunk, found)
            return ranked

        found = {
            split: Ranked(
                jnp.full(held_out.targets.shape, metrics.UNRANKED, jnp.int32),
                (held_out.targets < num_items).sum(axis=-1),
                jnp.zeros(num_clients, bool),
            )
            for split, held_out in splits.items()
        }
        for begin, end, length in groups:
            found = rank_group(begin, end, length, found)
        return found

    rank_all = over(rank)
    at_cutoffs = jax.jit(partial(metrics.at_cutoffs, at_k=tuple(at_k)))

    def summarise(found: Ranked) -> Evaluation:
        has_target = found.num_relevant > 0
        if not has_target.any():
            raise UserError(
                "nothing to evaluate: no client has a held-out item; "
                "use data with longer histories or another split"
            )
        values = jax.device_get(at_cutoffs(found.ranks, found.num_relevant))
        return Evaluation(
            metrics={k: float(values[k][has_target].mean(dtype=np.float64)) for k in keys},
            per_client={k: np.where(has_target, values[k], np.float32(np.nan)) for k in keys},
            ranks=np.asarray(found.ranks),
            num_clients=int(has_target.sum()),
            num_non_finite=int((found.is_bad & has_target).sum()),
        )

    def evaluate(
        state: ServerState, clients: Clients, fixed: Fixed, splits: Splits
    ) -> dict[str, Evaluation]:
        found = jax.device_get(rank_all(state, clients, fixed, splits))
        return {split: summarise(ranked) for split, ranked in found.items()}

    return evaluate


def _ranked(
    scores: Array,
    slots: Array,
    is_real: Array,
    held_out: HeldOutSet,
    found: Ranked,
    ties: ranking.Ties,
) -> Ranked:
    """What was found so far and the ranks of a chunk of clients."""
    num_clients, num_items = held_out.targets.shape[0], scores.shape[1]
    is_candidate = _candidates(held_out, slots, num_items)
    ranks = jax.vmap(partial(ranking.ranks, ties=ties))(
        scores, held_out.targets[slots], is_candidate
    )
    is_bad = jax.vmap(ranking.count_non_finite)(scores, is_candidate) > 0
    slots = jnp.where(is_real, slots, num_clients)
    return found._replace(
        ranks=found.ranks.at[slots].set(ranks, mode="drop"),
        is_bad=found.is_bad.at[slots].set(is_bad, mode="drop"),
    )


def top_k(
    algorithm: FederatedAlgorithm,
    state: ServerState,
    clients: Clients,
    fixed: Fixed,
    client_id: int,
    k: int,
    seen: npt.NDArray[np.integer] | Sequence[int] = (),
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The best items for one client that it has not seen.

    A model that `needs_history` reads the client's training events, whatever `seen` holds.

    Args:
      client_id: 0 to N - 1.
      k: how many items are wanted.
      seen: items to leave out.

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
    scores = np.asarray(scores_of(algorithm, state, clients, fixed)(longest, one, one)[0])
    is_wanted = np.isfinite(scores)
    is_wanted[np.asarray(seen, dtype=np.int64)] = False
    ids = np.flatnonzero(is_wanted)
    best = ids[np.argsort(-scores[ids], kind="stable")[:k]]
    return best, scores[best]


def _groups(
    algorithm: FederatedAlgorithm, data: ClientData
) -> tuple[Array, list[tuple[Array, Array, LengthClass]]]:
    """Clients that are scored together: the order of slots, and ranges of it.

    Who adapts is grouped by size: clients of a chunk take as many steps as its largest.
    """
    if algorithm.adapt is None:
        everyone = jnp.int32(0), jnp.int32(data.num_clients), LengthClass.covering(data.classes)
        return jnp.arange(data.num_clients), [everyone]
    order = jnp.argsort(data.rank)
    ranks = data.rank[order]
    return order, [
        (*jnp.searchsorted(ranks, jnp.array([length.start, length.stop])), length)
        for length in data.classes
    ]


def _chunk_size(
    algorithm: FederatedAlgorithm, state: ServerState, clients: Clients, num_items: int
) -> int:
    """How many clients are scored at a time."""
    own: list[tuple[int, ...]] = [leaf.shape[2:] for leaf in jax.tree.leaves(clients.private.rows)]
    if algorithm.adapt is not None:  # then each holds tables of its own
        own += [leaf.shape[1:] for leaf in jax.tree.leaves(state.shared.rows)]
    width = 1 + sum(math.prod(shape) for shape in own)
    return max(1, SCORES_PER_CHUNK // (num_items * width))


def _candidates(held_out: HeldOutSet, slots: Array, num_items: int) -> Array:
    """`[C, I]` which items a chunk of clients is asked about, the targets included."""
    is_candidate, rows = jnp.ones((slots.size, num_items), bool), jnp.arange(slots.size)[:, None]
    if held_out.candidates is not None:
        is_candidate = ~is_candidate.at[rows, held_out.candidates[slots]].set(False, mode="drop")
    begins, ends = held_out.seen_offsets[slots], held_out.seen_offsets[slots + 1]
    is_candidate = _strike_out(is_candidate, begins, ends - begins, held_out.seen_items)
    return is_candidate.at[rows, held_out.targets[slots]].set(True, mode="drop")


def _strike_out(is_candidate: Array, begins: Array, counts: Array, seen_items: Array) -> Array:
    """`[C, I]` without the items `seen_items[begins[c] : begins[c] + counts[c]]` in row `c`.

    The lists are read as one, in steps: no client's list is padded to the longest one.
    """
    if not seen_items.shape[0]:
        return is_candidate
    ends = jnp.cumsum(counts)

    def step(index: Array, is_candidate: Array) -> Array:
        # Places past the lists belong to row C, and are dropped.
        place = index * SEEN_PER_STEP + jnp.arange(SEEN_PER_STEP)
        row = jnp.searchsorted(ends, place, side="right")
        before = (ends - counts).at[row].get(mode="clip")
        item = seen_items.at[begins.at[row].get(mode="clip") + place - before].get(mode="clip")
        return is_candidate.at[row, item].set(False, mode="drop")

    num_steps = (ends[-1] + SEEN_PER_STEP - 1) // SEEN_PER_STEP
    left: Array = jax.lax.fori_loop(0, num_steps, step, is_candidate)
    return left
