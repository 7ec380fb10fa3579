"""Canary clients: an audit of a privacy claim in one run, through the run's own code.

A canary is a made-up client whose update points in a random direction of its own. Whether it
takes part is the toss of a fair coin; how well the released updates give the coins away bounds
epsilon from below.
"""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.flatten_util import ravel_pytree

from fedjax_rec.base import (
    AggregateTransform,
    Array,
    Key,
    Message,
    Part,
    PyTree,
    decided,
    is_concrete,
)
from fedjax_rec.errors import UserError

PURPOSE = 0x0CA7A121
"""Sets the canaries' key apart from what the wrapped transform makes of the run's."""

COIN, DIRECTION, PRESENCE, ENCODE = range(4)
"""What a canary's random key is for."""

WORD = 32  # bits, each the sign of one coordinate


class CanaryState(NamedTuple):
    """The state of `with_canaries`: in every checkpoint, so that an audit can be gone on with.

    Attributes:
      aggregate: of the transform that is audited.
      key: of everything that is random about canaries.
      round: `[]` rounds done.
      scores: `[m]` sum over rounds of `<direction_i, released update>`.
    """

    aggregate: PyTree
    key: Key
    round: Array
    scores: Array

    @property
    def included(self) -> Array:
        """`[m]` the canaries' coins: who takes part in the run at all."""
        return jax.random.bernoulli(jax.random.fold_in(self.key, COIN), 0.5, self.scores.shape)


def canaries_of(aggregate_state: PyTree) -> CanaryState:
    """The canaries in a server's `aggregate_state`, wherever they are in a chain.

    Raises:
      ValueError: there are none, or those of two audits.
    """
    nodes = jax.tree.leaves(aggregate_state, is_leaf=_is_canaries)
    found = [node for node in nodes if _is_canaries(node)]
    if len(found) != 1:
        raise ValueError(f"an aggregate with canaries has one CanaryState; {len(found)} are here")
    state: CanaryState = found[0]
    return state


def _is_canaries(node: object) -> bool:
    return isinstance(node, CanaryState)


def with_canaries(
    aggregate: AggregateTransform, num_canaries: int, probability: float, *, scale: float = 1.0
) -> AggregateTransform:
    """A transform whose rounds canaries take part in, beside the cohort.

    Canary i has the direction `c_i`, uniform in `{-1, 1}^d / sqrt(d)` over all coordinates of
    an update. Where its coin says that it takes part, it is in each round with `probability`,
    as a client is, and sends `scale S c_i`, S the bound of the transform, through the
    transform's own `encode`. The sum with the canaries goes through its own `decode`, with the
    round's own key. Every round adds `<c_i, released update>` to the score of canary i, be it
    there or not: who was sampled stays secret, as amplification by sampling asks.

    Args:
      aggregate: what is audited, with a bound on each client's update.
      num_canaries: m, at least 2. All of them are weighed against each other, so the table
        should have many more coordinates than there are canaries.
      probability: of a canary that takes part to be in a round: the sampler's, in (0, 1].
      scale: a canary's norm before `encode`, in bounds; above 1 the clip is put to the test.

    Returns:
      The transform with a `CanaryState`. Its `scaling` is `no`: the general executor runs it.

    Raises:
      ValueError: the update has no bound, messages are stacked, or a number is out of range.

    References:
      Steinke, Nasr and Jagielski (2023), "Privacy auditing with one (1) training run",
      Algorithm 1: many independent coins in one run. Andrew et al. (2024), "One-shot empirical
      privacy estimation for federated learning", Algorithm 2: canary clients with random unit
      directions, scored by inner products. Differences: directions are random signs, which
      cost one random bit a coordinate; scores add up over rounds, where Andrew et al. take the
      largest cosine; canaries toss coins, where all of theirs take part and fresh directions
      stand for those who do not.

    >>> from fedjax_rec.transforms import chain, clip_by_norm, gaussian_noise, mean
    >>> sound = chain(clip_by_norm(1.0), mean(divisor=10), gaussian_noise(1.0))
    >>> audited = with_canaries(sound, num_canaries=8, probability=0.5)
    >>> table = Part({"item": jnp.zeros((50, 4))}, ())
    >>> state = audited.init(jax.random.key(0), table)
    >>> total = Message(table, jnp.float32(0), {}, {})
    >>> released, state = audited.decode(jax.random.key(1), total, state, jnp.float32(jnp.inf))
    >>> int(state.round), state.scores.shape
    (1, (8,))
    """
    _refuse_numbers(num_canaries, probability, scale)
    decided(lambda: _refuse_unbounded(aggregate))

    def init(key: Key, template: Part) -> CanaryState:
        own_key = jax.random.fold_in(key, PURPOSE)
        scores = jnp.zeros(num_canaries, jnp.float32)
        return CanaryState(aggregate.init(key, template), own_key, jnp.int32(0), scores)

    def encode(
        key: Key, message: Message, state: CanaryState, residual: PyTree, bound: Array
    ) -> tuple[Message, PyTree]:
        return aggregate.encode(key, message, state.aggregate, residual, bound)

    def decode(
        key: Key, total: Message, state: CanaryState, bound: Array
    ) -> tuple[Message, CanaryState]:
        total = _with_those_present(total, state, bound)
        released, inner = aggregate.decode(key, total, state.aggregate, bound)
        scores = state.scores + _inner_products(released.update, state)
        return released, CanaryState(inner, state.key, state.round + 1, scores)

    def _with_those_present(total: Message, state: CanaryState, bound: Array) -> Message:
        round_key = jax.random.fold_in(jax.random.fold_in(state.key, PRESENCE), state.round)
        is_sampled = jax.random.bernoulli(round_key, probability, state.scores.shape)
        is_present = state.included & is_sampled
        size = scale * aggregate.bound(bound, state.aggregate)

        def add(canary: Array, total: Message) -> Message:
            message = encoded(canary, total.update, state, size, bound)
            added: Message = jax.tree.map(jnp.add, total, message)
            return added

        def add_if_present(canary: Array, total: Message) -> Message:
            joined: Message = jax.lax.cond(
                is_present[canary], lambda total: add(canary, total), lambda total: total, total
            )
            return joined

        summed: Message = jax.lax.fori_loop(0, num_canaries, add_if_present, total)
        return summed

    def encoded(
        canary: Array, like: Part, state: CanaryState, size: Array, bound: Array
    ) -> Message:
        """What the server gets of one canary."""
        key = state.key
        for part in (ENCODE, state.round, canary):
            key = jax.random.fold_in(key, part)
        flat, as_update = ravel_pytree(like)
        update = as_update((size * _direction(state, canary, flat.size)).astype(flat.dtype))
        message, _ = aggregate.encode(
            key,
            Message(update, jnp.float32(1), {}, {}),
            state.aggregate,
            aggregate.init_residual(like),
            bound,
        )
        return message

    def bound_after(bound: Any, state: CanaryState | None) -> Any:
        return aggregate.bound(bound, None if state is None else state.aggregate)

    return replace(
        aggregate, init=init, encode=encode, decode=decode, bound=bound_after, scaling="no"
    )


def _direction(state: CanaryState, canary: Array, size: int) -> Array:
    """`[d]` the canary's own unit vector, the same in every round."""
    key = jax.random.fold_in(jax.random.fold_in(state.key, DIRECTION), canary)
    words = jax.random.bits(key, (-(-size // WORD), 1))
    bits = (words >> jnp.arange(WORD, dtype=words.dtype)) & 1
    signs = 1 - 2 * bits.astype(jnp.float32).ravel()[:size]
    return signs / math.sqrt(size)


def _inner_products(update: Part, state: CanaryState) -> Array:
    """`[m]` of every canary's direction with what was released."""
    flat, _ = ravel_pytree(update)

    def score(canary: Array) -> Array:
        return _direction(state, canary, flat.size) @ flat.astype(jnp.float32)

    scores: Array = jax.lax.map(score, jnp.arange(state.scores.size))
    return scores


def _refuse_numbers(num_canaries: int, probability: float, scale: float) -> None:
    if num_canaries < 2:
        raise ValueError(f"canaries: at least 2 are needed to compare, got {num_canaries}")
    if is_concrete(probability) and not 0 < probability <= 1:
        raise ValueError(f"canaries: probability must be above 0, at most 1, got {probability}")
    if is_concrete(scale) and not 0 < scale < math.inf:
        raise ValueError(f"canaries: scale must be positive and finite, got {scale}")


def _refuse_unbounded(aggregate: AggregateTransform) -> None:
    if aggregate.is_stacked:
        raise ValueError("canaries join a sum, and this transform takes messages one by one")
    if not math.isfinite(aggregate.bound(math.inf, None)):
        raise ValueError("canaries are as large as the bound of an update: put a clip in the chain")


def epsilon_lower_bound(
    scores: npt.ArrayLike,
    included: npt.ArrayLike,
    *,
    delta: float,
    significance: float = 0.05,
) -> float:
    """What epsilon is at least, of an (epsilon, delta) guarantee to each canary.

    With probability `1 - significance` over the run and the coins, a mechanism with the
    guarantee of a Gaussian one of that epsilon and delta gives no larger value. It is no
    estimate: a sound mechanism's is far below its epsilon, and faults that leave half of the
    noise may pass. Where it is above a claim the claim is false.

    Args:
      scores: `[m]` of the canaries, higher for likelier included.
      included: `[m]` their coins.
      delta: of the claim, in (0, 1).
      significance: chance of a false alarm, in (0, 1).

    Returns:
      The bound, at least 0.

    Raises:
      UserError: the extra `privacy` is not installed, or the coins all fell alike.

    Reference:
      Mahloujifar, Melis and Chaudhuri (2024), "Auditing f-differential privacy in one run",
      as in jax-privacy's `CanaryScoreAuditor.epsilon_one_run_fdp`, corrected for choosing
      among all thresholds.

    >>> coins = np.arange(200) % 2 == 0
    >>> epsilon_lower_bound(coins + 0.0, coins, delta=1e-5) > 4
    True
    >>> float(epsilon_lower_bound(np.arange(200) // 2 + 0.0, coins, delta=1e-5))
    0.0
    """
    try:
        from jax_privacy.auditing import CanaryScoreAuditor
    except ImportError as error:
        raise UserError(
            'an audit by canaries needs jax-privacy: pip install "fedjax-rec[privacy]"'
        ) from error
    values, is_in = np.asarray(scores, np.float64), np.asarray(included, bool)
    if is_in.all() or not is_in.any():
        raise UserError("canaries: all coins fell alike, which tells nothing; take more canaries")
    auditor = CanaryScoreAuditor(values[is_in], values[~is_in])
    return float(auditor.epsilon_one_run_fdp(significance, delta))
