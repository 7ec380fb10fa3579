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
from fedjax_rec.evaluation import catalogue, fairness, metrics, ranking
from fedjax_rec.evaluation.later import Later
from fedjax_rec.evaluation.seen import Seen
from fedjax_rec.registry import METRICS

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
        items, repeats allowed; `[K]` where they are the same for all clients; `None` for the
        full catalogue.
      values: `[N, R]` rating or label of each target; `None` where none is asked for.
      is_listed: `[N]` whose best items are listed beside the ranks; `None`: nobody's.
      later: events that a model with `needs_history` reads behind a client's training events
        before it answers; `None`: none.
    """

    targets: Array
    seen_offsets: Array
    seen_items: Array
    candidates: Array | None = None
    values: Array | None = None
    is_listed: Array | None = None
    later: Later | None = None


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
      metrics: over the clients that have a held-out item, by key (`ndcg@10`, `rmse`): means
        over these clients of a ranking (of `worst_decile_ndcg@10` over the tenth of them that
        is served worst), over all held-out pairs of predicted values.
      per_client: `[N]` by key; NaN where a client has no held-out item, and of `auc` where
        nothing competes with it.
      num_clients: how many clients have a held-out item.
      num_non_finite: how many of them have a candidate, or a held-out item where values are
        predicted, whose score is not finite.
      ranks: `[N, R]` 1-based; `metrics.UNRANKED` for padding and non-finite scores; `None`
        where values are predicted.
      lists: `[N, L]` the best unseen items of the whole catalogue, whatever held-out items
        are ranked among, best first; L is the largest cut-off. Padded with the number of
        items; `None` where nobody's are asked for.
    """

    metrics: dict[str, float]
    per_client: dict[str, npt.NDArray[np.float32]]
    num_clients: int
    num_non_finite: int
    ranks: npt.NDArray[np.int32] | None = None
    lists: npt.NDArray[np.int32] | None = None


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
      num_candidates: `[N]` what they are ranked among, themselves included.
      lists: `[N, L]` or `None`, see `Evaluation`.
      is_bad: `[N]` one of its candidates has a score that is not finite.
    """

    ranks: Array
    num_relevant: Array
    num_candidates: Array
    lists: Array | None
    is_bad: Array


class Ranking:
    """Which place held-out items have among a client's candidates.

    Lists, where they are asked for, take one more pass over a chunk's scores; scores of more
    clients are never on the device.
    """

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
        self._at_k = tuple(at_k)
        self._ties = ties

    def nothing(self, held_out: HeldOutSet, num_items: int) -> Ranked:
        """Nobody has a rank."""
        targets, num_clients = held_out.targets, held_out.targets.shape[0]
        no_list = jnp.full((num_clients, self._length(num_items)), num_items, jnp.int32)
        return Ranked(
            jnp.full(targets.shape, metrics.UNRANKED, jnp.int32),
            jnp.zeros(num_clients, jnp.int32),
            jnp.zeros(num_clients, jnp.int32),
            None if held_out.is_listed is None else no_list,
            jnp.zeros(num_clients, bool),
        )

    def answers(self, scores: Array, slots: Array, held_out: HeldOutSet) -> Ranked:
        """Ranks of the held-out items of some clients, and their lists."""
        targets, num_items = held_out.targets[slots], scores.shape[1]
        placed = (self._in_catalogue if held_out.candidates is None else self._in_lists)(
            scores, slots, held_out
        )
        lists = None
        if held_out.is_listed is not None:
            best = ranking.best(_listed(scores, slots, held_out), self._length(num_items))
            lists = jnp.where(held_out.is_listed[slots][:, None], best, num_items)
        return Ranked(
            placed.ranks,
            (targets < num_items).sum(axis=-1),
            placed.num_candidates,
            lists,
            placed.is_bad,
        )

    def _in_catalogue(self, scores: Array, slots: Array, held_out: HeldOutSet) -> catalogue.Placed:
        """Places among all unseen items."""
        seen = Seen(held_out.seen_offsets, held_out.seen_items)
        return catalogue.place(scores, held_out.targets[slots], seen, slots, self._ties)

    def _in_lists(self, scores: Array, slots: Array, held_out: HeldOutSet) -> catalogue.Placed:
        """Places among the unseen items of each client's list."""
        num_items = scores.shape[1]
        is_candidate = _unseen(held_out, slots, num_items) & _among(held_out, slots, num_items)
        ranks = jax.vmap(partial(ranking.ranks, ties=self._ties))
        is_bad = jax.vmap(ranking.count_non_finite)(scores, is_candidate) > 0
        found = ranks(scores, held_out.targets[slots], is_candidate)
        return catalogue.Placed(found, is_candidate.sum(axis=-1), is_bad)

    def summary(self, found: Ranked) -> Evaluation:
        """Means over the clients that have a held-out item."""
        has_target = np.asarray(found.num_relevant) > 0
        refuse_nothing(has_target)
        found_values = jax.device_get(
            _measured(found._replace(lists=None), self._at_k, tuple(METRICS))
        )
        values = {
            key: np.where(has_target, found_values[key], np.float32(np.nan))
            for key in metrics.client_keys(self._at_k)
        }
        worst = metrics.worst_keys(values)
        return Evaluation(
            metrics={key: fairness.mean(of_all) for key, of_all in values.items()}
            | {key: fairness.worst_mean(values[of]) for key, of in worst.items()},
            per_client=values,
            num_clients=int(has_target.sum()),
            num_non_finite=int((found.is_bad & has_target).sum()),
            ranks=np.asarray(found.ranks),
            lists=None if found.lists is None else np.asarray(found.lists),
        )

    def _length(self, num_items: int) -> int:
        return min(max(self._at_k, default=0), num_items)


@partial(jax.jit, static_argnames=("at_k", "names"))
def _measured(found: Ranked, at_k: tuple[int, ...], names: tuple[str, ...]) -> dict[str, Array]:
    # one program for each set of `names`: a plug-in may register more
    values = metrics.at_cutoffs(found.ranks, found.num_relevant, at_k)
    area = metrics.auc(found.ranks, found.num_relevant, found.num_candidates)
    return values | {"auc": area}


def _unseen(held_out: HeldOutSet, slots: Array, num_items: int) -> Array:
    """`[C, I]` which items a chunk of clients has not seen, the targets included."""

    def strike_out(is_unseen: Array, row: Array, item: Array) -> Array:
        return is_unseen.at[row, item].set(False, mode="drop")

    seen = Seen(held_out.seen_offsets, held_out.seen_items)
    is_unseen = seen.fold(slots, strike_out, jnp.ones((slots.size, num_items), bool))
    return _with(is_unseen, held_out.targets[slots])


def _listed(scores: Array, slots: Array, held_out: HeldOutSet) -> Array:
    """`[C, I]` scores, minus infinity where an item is seen and no target."""
    targets = held_out.targets[slots]

    def strike_out(listed: Array, row: Array, item: Array) -> Array:
        is_target = (targets.at[row].get(mode="clip") == item[:, None]).any(axis=1)
        return listed.at[jnp.where(is_target, slots.size, row), item].set(-jnp.inf, mode="drop")

    return Seen(held_out.seen_offsets, held_out.seen_items).fold(slots, strike_out, scores)


def _among(held_out: HeldOutSet, slots: Array, num_items: int) -> Array:
    """`[C, I]` which items a chunk of clients is asked about, the targets included."""
    if held_out.candidates is None:
        return jnp.ones((slots.size, num_items), bool)
    nothing, listed = jnp.zeros((slots.size, num_items), bool), held_out.candidates
    if listed.ndim == 1:
        return _with(nothing.at[:, listed].set(True, mode="drop"), held_out.targets[slots])
    asked = jnp.concatenate([listed[slots], held_out.targets[slots]], axis=1)
    return _with(nothing, asked)


def _with(is_in: Array, items: Array) -> Array:
    """`[C, I]` sets with each one's `items [C, K]` in them; ids past the end are dropped."""
    return is_in.at[jnp.arange(items.shape[0])[:, None], items].set(True, mode="drop")
