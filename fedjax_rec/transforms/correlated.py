"""Gaussian noise of which later rounds take back a part of that of earlier ones."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from fedjax_rec.base import (
    AggregateTransform,
    Array,
    Key,
    Mechanism,
    Message,
    Part,
    PyTree,
    is_concrete,
)
from fedjax_rec.privacy import Banded, Buffered, banded, buffered
from fedjax_rec.transforms.noise import noised
from fedjax_rec.tree import zeros_like


def correlated_noise(
    noise_multiplier: float,
    *,
    rounds: int,
    min_separation: int,
    participations: int,
    strategy: Literal["buffered", "banded"] = "buffered",
    bands: int = 0,
) -> AggregateTransform:
    """Adds noise whose sum over rounds is smaller than that of noise drawn anew.

    `sum_c delta_c + z S (C^-1 Z)_t`: Z is normal and new in each round, S the bound that
    reaches this link, C a lower triangular Toeplitz matrix. A model is the sum of its rounds,
    and so is its noise; the price is that a client's part in C x is larger, the more often it
    takes part. It asks for no random cohorts: only that a client takes part seldom.

    - `buffered`: with buffers b_s that start at 0, `x_t = Z_t - sum_s scale_s b_s`, then
      `b_s <- decay_s b_s + x_t`. It keeps two tables or three.
    - `banded`: `x_t = Z_t - sum_{0 < j < bands} c_j x_{t-j}`. It keeps `bands - 1` tables.

    Args:
      noise_multiplier: z, above 0; the accountant divides it by the sensitivity of C.
      rounds: of the run, n; behind them nothing is claimed.
      min_separation: a client takes part again after at least so many rounds, as the sampler's
        event states it.
      participations: in so many rounds at most.
      strategy: the form of C.
      bands: of `banded`, at most `min_separation`; 0: as many, and no more than rounds.

    Returns:
      A transform that needs one bound for the whole run.

    Raises:
      ValueError: `noise_multiplier` or `bands` is out of its range, or there is no such form.
      UserError: there is no strategy for such a run, see `privacy.buffered` and
        `privacy.banded`.

    Reference:
      McMahan, Xu and Zhang (2024), arXiv 2408.08868, algorithm 3; Choquette-Choo et al.
      (2023), "(Amplified) banded matrix factorization: a unified approach to private
      training"; Denisov et al. (2022), "Improved differential privacy for SGD via optimal
      private linear operators on adaptive streams".

    >>> from fedjax_rec.base import Part
    >>> noise = correlated_noise(1.0, rounds=100, min_separation=10, participations=10)
    >>> noise.mechanisms[0].kind, len(noise.mechanisms[0].strategy)
    ('correlated', 100)
    """
    if is_concrete(noise_multiplier) and not 0 < noise_multiplier < float("inf"):
        raise ValueError(f"noise_multiplier must be above 0, got {noise_multiplier}")
    form = _form(rounds, min_separation, participations, strategy, bands)
    keeps_nothing = not form.reads.size  # and a table of no rows could not be saved

    def init(key: Key, template: Part) -> PyTree:
        if keeps_nothing:
            return ()
        return jax.tree.map(
            lambda leaf: jnp.zeros(
                (form.reads.size, *leaf.shape), jnp.promote_types(leaf.dtype, "float32")
            ),
            template,
        )

    def decode(key: Key, total: Message, kept: PyTree, bound: Array) -> tuple[Message, PyTree]:
        fresh = noised(key, zeros_like(total.update), 1.0)
        stddev = noise_multiplier * bound

        def plus(noise: PyTree) -> Message:
            update = jax.tree.map(lambda leaf, x: leaf + stddev * x, total.update, noise)
            return total._replace(update=update)

        if keeps_nothing:
            return plus(fresh), kept

        def taken_back(fresh: Array, kept: Array) -> Array:
            return fresh - jnp.tensordot(form.reads, kept, axes=1)

        noise = jax.tree.map(taken_back, fresh, kept)
        return plus(noise), jax.tree.map(form.moved, kept, noise)

    return AggregateTransform(
        init=init,
        decode=decode,
        scaling="by_weight",
        needs_bound=True,
        needs_static_bound=True,
        mechanisms=(Mechanism("correlated", noise_multiplier, strategy=form.column),),
    )


class _Form(NamedTuple):
    """How a matrix C is divided by, round after round.

    Attributes:
      column: its first one.
      reads: `[K]` how much of each kept table a round takes back.
      moved: `(kept, noise) -> kept`, `[K, ...]`, after a round.
    """

    column: tuple[float, ...]
    reads: Array
    moved: Callable[[Array, Array], Array]


def _form(
    rounds: int, min_separation: int, participations: int, strategy: str, bands: int
) -> _Form:
    """The matrix that was asked for."""
    if bands and strategy != "banded":
        raise ValueError("bands belong to the strategy 'banded'")
    if strategy == "buffered":
        return _buffered(buffered(rounds, min_separation, participations), rounds)
    if strategy != "banded":
        raise ValueError(f"strategy must be 'buffered' or 'banded', got {strategy!r}")
    if not 0 <= bands <= min_separation:
        raise ValueError(
            f"bands must be at most min_separation, {min_separation}, got {bands}: the noise of "
            "one client's rounds would overlap"
        )
    return _banded(banded(rounds, bands or min(min_separation, rounds)), rounds)


def _buffered(matrix: Buffered, rounds: int) -> _Form:
    decays = jnp.asarray(matrix.decays, jnp.float32)

    def moved(buffer: Array, noise: Array) -> Array:
        faded: Array = jax.vmap(jnp.multiply)(decays, buffer)
        return faded + noise

    return _Form(matrix.column(rounds), jnp.asarray(matrix.scales, jnp.float32), moved)


def _banded(matrix: Banded, rounds: int) -> _Form:
    def moved(earlier: Array, noise: Array) -> Array:
        return jnp.concatenate([noise[None], earlier])[: len(earlier)]

    return _Form(matrix.column(rounds), jnp.asarray(matrix.band[1:], jnp.float32), moved)
