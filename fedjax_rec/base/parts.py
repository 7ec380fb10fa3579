"""Parameters: which role they have, and whether items index them."""

from typing import Any, NamedTuple

import jax

Array = jax.Array
Key = jax.Array
PyTree = Any


class Part(NamedTuple):
    """Parameters, or a change of parameters, split by shape.

    Attributes:
      rows: table name -> pytree whose leaves are `[I_table, ...]`, or `[S, ...]` once
        sliced to the rows a client touches.
      dense: a pytree of anything that is not indexed by item.
    """

    rows: dict[str, PyTree]
    dense: PyTree


class Private(Part):
    """A `Part` that never leaves its client.

    It is a different pytree node, so arithmetic that mixes it with a `Part` raises:

    >>> import jax, jax.numpy as jnp
    >>> shared, private = Part({}, jnp.ones(2)), Private({}, jnp.ones(2))
    >>> try:
    ...     jax.tree.map(jnp.add, shared, private)
    ... except ValueError:
    ...     print("private parameters cannot be summed with shared ones")
    private parameters cannot be summed with shared ones
    """

    __slots__ = ()


def empty() -> Part:
    """A `Part` without parameters."""
    return Part({}, ())


def nothing_private() -> Private:
    """A `Private` without parameters."""
    return Private({}, ())


RowIds = dict[str, Array | None]
"""Which rows of each table, `[S]` ids; `None` is the whole table. Ids past the end are
padding: they read zero and write nowhere."""


class View(NamedTuple):
    """What one client's functions see: every part cut to the same rows."""

    shared: Part
    private: Private
    frozen: Part
    memory: Private
    extra: Part
