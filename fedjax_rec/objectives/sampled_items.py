"""Items of a sequence against sampled ones, on the rows that a client touches."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array, History, Inputs, Key, Objective, RowIds, Sampler, decided
from fedjax_rec.objectives.implicit import draw_negatives
from fedjax_rec.objectives.next_item import at_step, refuse_below_one, refuse_improbable
from fedjax_rec.objectives.stream import open_stream
from fedjax_rec.objectives.windows import Window, hidden_events, next_events

SampledLoss = Literal["softmax", "plain_softmax", "bce", "gbce"]
LOSSES = ("softmax", "plain_softmax", "bce", "gbce")


class Drawn(NamedTuple):
    """One client's sequence and the negatives of its round.

    Attributes:
      history: items are rows of the view.
      key: of the round.
      ids: `[X + M]` rows: the client's own items, then the negatives.
      log_weight: `[X + M]` by how much a column's score stands for more than itself; minus
        infinity for padding.
    """

    history: History
    key: Key
    ids: Array
    log_weight: Array


class Asked(NamedTuple):
    """Examples of one step.

    Attributes:
      inputs: events to read, and the columns to score at each.
      column: `[W]` of the item that is asked for.
      is_valid: `[W]` False where nothing is asked.
      log_weight: `[B]` or `[W, B]`, see `Drawn`.
      is_negative: likewise, which columns are negatives.
    """

    inputs: Inputs
    column: Array
    is_valid: Array
    log_weight: Array
    is_negative: Array


def sampled_item(
    num_items: int,
    max_length: int = 50,
    *,
    num_negatives: int = 256,
    loss: SampledLoss = "softmax",
    is_by_position: bool = False,
    calibration: float = 0.75,
    mask_probability: float = 0.0,
    local_epochs: int = 1,
    is_sliced: bool = True,
) -> Objective:
    """The next item, or hidden ones, against negatives that a client draws for its round.

    With s+ the score of the item that is asked for, s_j those of M negatives, drawn without
    replacement from the n items that the client has not met:

    - `softmax`: `log sum_own exp(s_i) + (n / M) sum_j exp(s_j)) - s+`: the client's own items
      count as they are and the negatives for all others, by logQ. The sum is an unbiased
      estimate of that over the catalogue.
    - `plain_softmax`: `log(exp(s+) + sum_j exp(s_j)) - s+`, as much published code has it.
    - `bce`: `softplus(-s+) + sum_j softplus(s_j)`.
    - `gbce`: `beta softplus(-s+) + sum_j softplus(s_j)`, `beta = a (t (1 - 1/a) + 1/a)`,
      `a = M / (I - 1)`; `bce` at t = 0.

    Args:
      num_items: size of the catalogue (I).
      max_length: most events that are read (W is this or the length class), at least 1.
      num_negatives: M, at least 1: of the client's round, or of each place.
      loss: which of the above.
      is_by_position: each place has M negatives of its own; False: all share M.
      calibration: t of `gbce`, from 0 to 1.
      mask_probability: 0 asks for the next item at each place; else events are hidden with
        this probability and asked for, as `masked_item` does.
      local_epochs: local steps in a round, at least 1, all with the same negatives.
      is_sliced: False gives every client the whole table.

    Returns:
      An objective whose examples are `Asked`, for models that read a history.

    Raises:
      ValueError: a number out of its range, an unknown loss, or `softmax` with negatives of
        each place, which the client's own items would come to dominate.

    Reference:
      Bengio and Senecal (2008), "Adaptive importance sampling to accelerate training of a
      neural probabilistic language model", for logQ; Klenitskiy and Vasilev (2023) for
      `plain_softmax` (SASRec+ with negatives); Kang and McAuley (2018), equation 5, for
      `bce` (one negative by position); Petrov and Macdonald (2023), "gSASRec: reducing
      overconfidence in sequential recommendation trained with negative sampling", equation 9.

    >>> objective = sampled_item(90, num_negatives=8)
    >>> items = jnp.array([7, 2, 5, 90])
    >>> history = History(items, items, items, jnp.int32(3), jnp.sort(items), jnp.int32(3))
    >>> rows, plan = objective.prepare(jax.random.key(0), history)
    >>> examples = objective.batch(plan, jnp.int32(0))
    >>> rows["item"][examples.column[:2]].tolist(), rows["item"].shape
    ([2, 5], (12,))
    """
    refuse_below_one(
        num_items=num_items,
        max_length=max_length,
        num_negatives=num_negatives,
        local_epochs=local_epochs,
    )
    decided(lambda: _refuse_numbers(calibration, mask_probability))
    if loss not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}")
    if loss == "softmax" and is_by_position:
        raise ValueError("loss softmax shares its negatives: set is_by_position to false")
    hides = decided(lambda: mask_probability > 0)

    def is_slice(rows: Array) -> bool:
        return is_sliced and rows.shape[0] < num_items

    def choose(key: Key, history: History, padding: int) -> Window:
        if hides:
            return hidden_events(key, history, max_length, padding, mask_probability)
        return next_events(history, max_length, padding)

    def prepare(key: Key, history: History) -> tuple[RowIds, Drawn]:
        key_negatives, key_steps = jax.random.split(key)
        num_excluded = history.excluded.shape[0]
        stream = open_stream(
            Sampler(num_items, num_negatives=1),
            key_negatives,
            history.num_events,
            history.num_excluded,
            num_excluded,
        )
        width = min(history.items.shape[0], max_length)
        wanted = num_negatives * width if is_by_position else num_negatives
        num_places = min(wanted, num_items)
        rows = jnp.concatenate(
            [history.excluded, draw_negatives(stream, history, num_items, num_places)]
        )
        num_free = num_items - history.num_excluded
        num_drawn = jnp.maximum(jnp.minimum(num_places, stream.negatives.num_places), 1)
        log_weight = jnp.log(num_free / num_drawn)
        is_cut, place = is_slice(rows), jnp.arange(rows.shape[0])
        items = jnp.searchsorted(history.excluded, history.items) if is_cut else history.items
        is_event = jnp.arange(items.shape[0]) < history.num_events
        padding = rows.shape[0] if is_cut else num_items
        plan = Drawn(
            history._replace(items=jnp.where(is_event, items, padding)),
            key_steps,
            place if is_cut else rows,
            jnp.where(rows < num_items, jnp.where(place < num_excluded, 0, log_weight), -jnp.inf),
        )
        return {"item": rows if is_cut else None}, plan

    def num_steps(plan: Drawn) -> Array:
        return jnp.where(plan.history.num_events >= (1 if hides else 2), local_epochs, 0)

    def batch(plan: Drawn, step: Array) -> Asked:
        num_own = plan.history.excluded.shape[0]
        padding = plan.ids.shape[0] if is_slice(plan.ids) else num_items
        window = at_step(lambda key, history: choose(key, history, padding), *plan[1::-1], step)
        is_negative = jnp.arange(plan.ids.shape[0]) >= num_own
        if is_by_position:
            return _by_position(plan, window, num_negatives, num_own)
        own = jnp.where(is_negative, -1, plan.ids)
        column = jnp.argmax(own == window.label[:, None], axis=1)
        inputs = replace(window.inputs, ids=jnp.minimum(plan.ids, num_items - 1))
        return Asked(inputs, column, window.is_valid, plan.log_weight, is_negative)

    beta = _beta(num_negatives, num_items, calibration) if loss == "gbce" else 1.0
    return Objective(prepare, num_steps, batch, _loss(loss, beta), window=max_length + 1)


def _by_position(plan: Drawn, window: Window, num_negatives: int, num_own: int) -> Asked:
    """The item that is asked for, then the place's own negatives."""
    num_drawn, width = plan.ids.shape[0] - num_own, window.label.shape[0]
    number = jnp.arange(width)[:, None] * num_negatives + jnp.arange(num_negatives)
    # where there are fewer free items than places they come again
    num_there = jnp.sum(jnp.isfinite(plan.log_weight[num_own:]))
    chosen = num_own + jnp.minimum(number % jnp.maximum(num_there, 1), num_drawn - 1)
    ids = jnp.concatenate([window.label[:, None], plan.ids[chosen]], axis=1)
    log_weight = jnp.pad(plan.log_weight[chosen], ((0, 0), (1, 0)))
    is_negative = jnp.broadcast_to(jnp.arange(1 + num_negatives) > 0, ids.shape)
    column = jnp.zeros(width, jnp.int32)
    inputs = replace(window.inputs, ids=jnp.where(jnp.isfinite(log_weight), ids, 0))
    return Asked(inputs, column, window.is_valid, log_weight, is_negative)


def _loss(kind: str, beta: Array | float) -> Callable[[Array, Asked], tuple[Array, Array]]:
    """`(scores [W, B], examples) -> (loss [W], weight [W])`."""

    def loss(scores: Array, asked: Asked) -> tuple[Array, Array]:
        positive = jnp.take_along_axis(scores, asked.column[:, None], axis=1)[:, 0]
        weight = asked.is_valid.astype(scores.dtype)
        log_weight = jnp.broadcast_to(asked.log_weight, scores.shape)
        if kind == "softmax":
            return jax.nn.logsumexp(scores + log_weight, axis=1) - positive, weight
        is_there = asked.is_negative & jnp.isfinite(log_weight)
        if kind == "plain_softmax":
            negatives = jnp.where(is_there, scores, -jnp.inf)
            every = jnp.concatenate([positive[:, None], negatives], axis=1)
            return jax.nn.logsumexp(every, axis=1) - positive, weight
        refused = jnp.where(is_there, jax.nn.softplus(scores), 0).sum(axis=1)
        return beta * jax.nn.softplus(-positive) + refused, weight

    return loss


def _beta(num_negatives: int, num_items: int, calibration: float) -> float:
    share = num_negatives / (num_items - 1)
    return share * (calibration * (1 - 1 / share) + 1 / share)


def _refuse_numbers(calibration: float, mask_probability: float) -> None:
    if not 0 <= calibration <= 1:
        raise ValueError(f"calibration must be from 0 to 1, got {calibration}")
    if mask_probability:
        refuse_improbable(mask_probability)
