"""Means over the cohort, by client, by example or by touched row."""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp

from fedjax_rec.base import AggregateTransform, Array, Key, Message, Part, PyTree, is_concrete
from fedjax_rec.tree import touched


def total(size: float | None = None) -> AggregateTransform:
    """The plain sum of the updates.

    Args:
      size: a public number of clients of a round, the expected cohort size. It divides
        nothing: behind noise, where the real number is private, the server's rule gets it for
        the weight of the sum.

    Raises:
      ValueError: `size` is not positive.

    >>> total(size=50).public_size
    50
    """
    if size is not None and is_concrete(size) and not size > 0:
        raise ValueError(f"total: size must be above 0, got {size}")
    return AggregateTransform(scaling="by_weight", public_size=size)


def mean(
    by: Literal["client", "example", "row"] = "client", *, divisor: float | None = None
) -> AggregateTransform:
    """The mean of the updates.

    - `client`: `sum_c delta_c / C`; every client counts once.
    - `example`: `sum_c n_c delta_c / sum_c n_c`; n_c is the client's own weight.
    - `row`: each item's row is divided by the number of clients that changed it; dense
      leaves by the number of clients.

    Args:
      by: what counts once.
      divisor: with `client`, a public number to divide by in place of the number of
        clients that answered: the expected cohort size, which privacy needs.

    Returns:
      A transform that divides when decoding.

    Raises:
      ValueError: an unknown `by`, or a `divisor` that does not go with it.

    Reference:
      `client` and `example`: McMahan et al. (2017), Algorithm 1. `row`: Perifanis and
      Efraimidis (2022), "Federated neural collaborative filtering", MF-FedAvg.

    >>> message = Message(Part({}, jnp.array([6.0])), jnp.float32(3), {}, {})
    >>> mean("client").decode(None, message, (), 0.0)[0].update.dense.tolist()
    [2.0]
    """
    if by not in ("client", "example", "row"):
        raise ValueError(f"mean: by must be 'client', 'example' or 'row', got {by!r}")
    if divisor is not None and (by != "client" or (is_concrete(divisor) and not divisor > 0)):
        raise ValueError("mean: divisor goes with by='client' and must be positive")

    def encode(
        key: Key, message: Message, state: PyTree, residual: PyTree, bound: Array
    ) -> tuple[Message, PyTree]:
        if by == "example":
            update = jax.tree.map(lambda leaf: message.weight * leaf, message.update)
            return message._replace(update=update), residual
        row_weight = {}
        if by == "row":
            row_weight = {
                table: touched(rows).astype(message.weight.dtype)
                for table, rows in message.update.rows.items()
            }
        one = jnp.ones_like(message.weight)
        return message._replace(weight=one, row_weight=row_weight), residual

    def decode(key: Key, total: Message, state: PyTree, bound: Array) -> tuple[Message, PyTree]:
        weight = total.weight if divisor is None else divisor
        rows = {
            table: _divide(leaves, total.row_weight.get(table, weight))
            for table, leaves in total.update.rows.items()
        }
        return total._replace(update=Part(rows, _divide(total.update.dense, weight))), state

    def bound_after(bound: Any, state: PyTree) -> Any:
        return bound * math.inf if by == "example" else bound  # a client's size has no bound

    return AggregateTransform(
        encode=encode,
        decode=decode,
        bound=bound_after,
        scaling="by_weight",
        releases_counts=divisor is None,
        public_size=divisor,
    )


def _divide(leaves: PyTree, weight: Array | float) -> PyTree:
    """Leaves over a scalar, or over one weight a row; what nobody sent stays zero."""
    divisor = jnp.where(jnp.asarray(weight) > 0, weight, 1.0)

    def quotient(leaf: Array) -> Array:
        return leaf / divisor.reshape(divisor.shape + (1,) * (leaf.ndim - divisor.ndim))

    return jax.tree.map(quotient, leaves)
