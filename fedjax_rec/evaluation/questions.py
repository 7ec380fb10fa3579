"""What clients are asked about their held-out items: a question, and its answers summed up."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from fedjax_rec.base import Array
from fedjax_rec.errors import UserError
from fedjax_rec.evaluation import metrics, ranking

SEEN_PER_STEP = 2**13
"""How many seen items are struck out of the ranking at a time."""

Found = Any
"""What is known of every client: a tree of arrays `[N, ...]`."""


class HeldOutSet(NamedTuple):
    """What is asked of every client, and what is left out of the ranking.

    Attributes:
      targets: `[N, R]` distinct held-out items, padded with the number of items.
      seen_offsets: `[N + 1]` where each client's seen items begin.
      seen_items: `[E]` removed from the ranking: training items, at test with the
        validation items (`data.item_lists`). A target stays even when seen.
      candidates: `[N, K]` items to rank the targets among, padded with the number of
        items, repeats allowed; `None` for the full catalogue.
      values: `[N, R]` rating or label of each target; `None` where none is asked for.
    """

    targets: Array
    seen_offsets: Array
    seen_items: Array
    candidates: Array | None = None
    values: Array | None = None


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
      metrics: over the clients that have a held-out item, by key (`ndcg@10`, `rmse`): means
        over these clients of a ranking, over all held-out pairs of predicted values.
      per_client: `[N]` by key; NaN where a client has no held-out item.
      num_clients: how many clients have a held-out item.
      num_non_finite: how many of them have a candidate, or a held-out item where values are
        predicted, whose score is not finite.
      ranks: `[N, R]` 1-based; `metrics.UNRANKED` for padding and non-finite scores; `None`
        where values are predicted.
    """

    metrics: dict[str, float]
    per_client: dict[str, npt.NDArray[np.float32]]
    num_clients: int
    num_non_finite: int
    ranks: npt.NDArray[np.int32] | None = None


class Question(Protocol):
    """What is asked about held-out items."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of what is measured."""
        ...

    def nothing(self, held_out: HeldOutSet, num_items: int) -> Found:
        """What is known of every client before any was asked, `[N, ...]`."""
        ...

    def answers(self, scores: Array, slots: Array, held_out: HeldOutSet) -> Found:
        """What the scores `[C, I]` of the clients in `slots` `[C]` say, `[C, ...]`."""
        ...

    def summary(self, found: Found) -> Evaluation:
        """The metrics, on the host, once all were asked."""
        ...


def refuse_nothing(has_target: npt.NDArray[np.bool_]) -> None:
    """Raises `UserError` where no client has a held-out item."""
    if not has_target.any():
        raise UserError(
            "nothing to evaluate: no client has a held-out item; "
            "use data with longer histories or another split"
        )


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


class Ranking:
    """Which place held-out items have among a client's candidates."""

    def __init__(
        self, at_k: Sequence[int] = (5, 10, 20), ties: ranking.Ties = "pessimistic"
    ) -> None:
        """The metrics of `metrics.METRICS` at some cut-offs.

        Args:
          at_k: cut-offs.
          ties: the rule among equal scores, see `ranking.ranks`.

        Raises:
          UserError: for a cut-off that is not a positive integer.

        >>> Ranking(at_k=[5]).keys[:2]
        ('hit_rate@5', 'ndcg@5')
        """
        self.keys = metrics.metric_keys(at_k)
        self._ranks = jax.vmap(partial(ranking.ranks, ties=ties))
        self._at_cutoffs = jax.jit(partial(metrics.at_cutoffs, at_k=tuple(at_k)))

    def nothing(self, held_out: HeldOutSet, num_items: int) -> Ranked:
        """Nobody has a rank."""
        targets = held_out.targets
        return Ranked(
            jnp.full(targets.shape, metrics.UNRANKED, jnp.int32),
            jnp.zeros(targets.shape[0], jnp.int32),
            jnp.zeros(targets.shape[0], bool),
        )

    def answers(self, scores: Array, slots: Array, held_out: HeldOutSet) -> Ranked:
        """Ranks of the held-out items of some clients."""
        targets = held_out.targets[slots]
        is_candidate = _candidates(held_out, slots, scores.shape[1])
        return Ranked(
            self._ranks(scores, targets, is_candidate),
            (targets < scores.shape[1]).sum(axis=-1),
            jax.vmap(ranking.count_non_finite)(scores, is_candidate) > 0,
        )

    def summary(self, found: Ranked) -> Evaluation:
        """Means over the clients that have a held-out item."""
        has_target = np.asarray(found.num_relevant) > 0
        refuse_nothing(has_target)
        values = jax.device_get(self._at_cutoffs(found.ranks, found.num_relevant))
        return Evaluation(
            metrics={k: float(values[k][has_target].mean(dtype=np.float64)) for k in self.keys},
            per_client={k: np.where(has_target, values[k], np.float32(np.nan)) for k in self.keys},
            num_clients=int(has_target.sum()),
            num_non_finite=int((found.is_bad & has_target).sum()),
            ranks=np.asarray(found.ranks),
        )


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
