"""Gaussian noise on the rows that enough clients have changed, and nothing on the others."""

import math
from typing import Any

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
from fedjax_rec.transforms.noise import noised
from fedjax_rec.tree import touched


def row_sparse_noise(
    noise_multiplier: float,
    *,
    count_multiplier: float,
    threshold: float,
    count_norm: float = 1.0,
) -> AggregateTransform:
    """Adds noise to the rows whose noisy number of contributors is large, and zeroes the others.

    Each client says which rows it changed, v_i in {0, 1}^I over all tables, scaled down to a
    norm of at most C_1. The server releases two things of a round:

    - `V = sum_i v_i min(1, C_1 / |v_i|_2) + N(0, (s_1 C_1)^2 I)`, of which it keeps the rows
      `R = {r : V_r >= tau}`;
    - `sum_i delta_i + N(0, (s_2 S)^2 I)` on the rows of R and on dense leaves; a row outside
      of R is 0. S is the bound that reaches this link.

    Both are Gaussian mechanisms and are told to the accountant, which adds up `1 / s_1^2` and
    `1 / s_2^2`; choosing rows by V costs nothing more, since V is private already. A row that
    nobody changed is kept with probability `Phi(-tau / (s_1 C_1))`.

    Args:
      noise_multiplier: s_2, on the update; above 0.
      count_multiplier: s_1, on the counts; above 0.
      threshold: tau, in clients, as far as C_1 lets them count.
      count_norm: C_1, positive. A client that changes n rows adds `C_1 / sqrt(n)` to each of
        them where n is above `C_1^2`.

    Returns:
      A transform that needs a bound and decodes before whatever divides.

    Raises:
      ValueError: a number is out of its range; when traced: another link weighs rows.

    Formal guarantee: none by itself, as for `gaussian_noise`.

    Reference:
      Ghazi et al. (2023), "Sparsity-preserving differentially private training of large
      embedding models", arXiv 2311.08357, algorithm 1 (DP-AdaFEST).

    Differences: a contribution is that of a client in place of an example; both multipliers
    are given, where the paper splits one budget by a ratio. The noise of dropped rows is
    drawn, and dropped: a simulation gains nothing by leaving it out.

    >>> from fedjax_rec.base import Part
    >>> noise = row_sparse_noise(1.0, count_multiplier=0.1, threshold=5.0)
    >>> rows, counts = {"item": jnp.ones((3, 2))}, {"item": jnp.array([9.0, 0.0, 8.0])}
    >>> summed = Message(Part(rows, ()), jnp.float32(9), counts, {})
    >>> decoded, _ = noise.decode(jax.random.key(0), summed, (), jnp.float32(1))
    >>> touched(decoded.update.rows["item"]).tolist()
    [True, False, True]
    """
    for name, number in (
        ("noise_multiplier", noise_multiplier),
        ("count_multiplier", count_multiplier),
        ("count_norm", count_norm),
    ):
        if is_concrete(number) and not 0 < number < math.inf:
            raise ValueError(f"row_sparse_noise: {name} must be above 0, got {number}")
    if is_concrete(threshold) and not math.isfinite(threshold):
        raise ValueError(f"row_sparse_noise: threshold must be finite, got {threshold}")

    def encode(
        key: Key, message: Message, state: PyTree, residual: PyTree, bound: Array
    ) -> tuple[Message, PyTree]:
        if message.row_weight:
            raise ValueError("row_sparse_noise counts who changed a row, and another link weighs")
        found = {
            table: touched(rows).astype(jnp.float32) for table, rows in message.update.rows.items()
        }
        size = sum((jnp.sum(flags) for flags in found.values()), start=jnp.float32(0))
        scale = jnp.minimum(1.0, count_norm / jnp.sqrt(jnp.maximum(size, 1.0)))
        counts = {table: scale * flags for table, flags in found.items()}
        return message._replace(row_weight=counts), residual

    def decode(key: Key, total: Message, state: PyTree, bound: Array) -> tuple[Message, PyTree]:
        of_counts, of_update = jax.random.split(key)
        counts = noised(of_counts, total.row_weight, count_multiplier * count_norm)
        update = noised(of_update, total.update, noise_multiplier * bound)
        rows = {
            table: _kept(counts[table] >= threshold, leaves)
            for table, leaves in update.rows.items()
        }
        return total._replace(update=Part(rows, update.dense), row_weight={}), state

    return AggregateTransform(
        encode=encode,
        decode=decode,
        needs_bound=True,
        mechanisms=(
            Mechanism("gaussian", noise_multiplier),
            Mechanism("gaussian", count_multiplier, "count"),
        ),
    )


def _kept(is_kept: Array, leaves: PyTree) -> Any:
    """Rows as they are, or zero."""

    def rows(leaf: Array) -> Array:
        return jnp.where(is_kept.reshape(-1, *(1,) * (leaf.ndim - 1)), leaf, 0)

    return jax.tree.map(rows, leaves)
