"""Programs that may hang: LAPACK while CPU devices wait for each other."""

from collections.abc import Iterator

import jax
from jax.extend.core import Jaxpr, subjaxprs

from fedjax_rec.base import PyTree
from fedjax_rec.errors import UserError

LAPACK = frozenset(
    {
        *("cholesky", "eig", "eigh", "hessenberg", "householder_product", "lu", "ormqr", "qr"),
        *("geqrf", "geqp3", "orgqr", "schur", "svd", "triangular_solve", "tridiagonal"),
        "tridiagonal_solve",
    }
)
"""Primitives that a CPU hands to LAPACK or BLAS."""


class MayHangError(UserError):
    """A program over several CPU devices calls LAPACK; on one device it is sound."""


def refuse_lapack(program: Jaxpr, num_devices: int, who: str = "clients") -> None:
    """Refuses a program that calls LAPACK, where that may hang.

    The devices of a CPU may share one thread. One that waits for the others then keeps the
    thread that another's LAPACK needs, for ever. A single device waits for nobody, and an
    accelerator has a library of its own: there such a program is as good as any.

    Args:
      program: what is to run, or one client's part of it.
      num_devices: over how many devices.
      who: calls it, for the message.

    Raises:
      MayHangError: the program could hang.
    """
    if num_devices == 1 or jax.default_backend() != "cpu":
        return
    if found := sorted(LAPACK & set(_primitives(program))):
        raise MayHangError(
            f"{who} call LAPACK ({', '.join(found)}), which may hang on several CPU devices: "
            "solve with clients.solve_positive_definite, or set execution.num_devices to 1"
        )


def devices_of(arrays: PyTree) -> int:
    """Over how many devices the arrays, or their shapes, lie: so many run a program of them.

    >>> devices_of({"a": jax.numpy.ones(3), "b": 1.0})
    1
    """
    placed = (getattr(leaf, "sharding", None) for leaf in jax.tree.leaves(arrays))
    return max((len(one.device_set) for one in placed if one is not None), default=1)


def _primitives(jaxpr: Jaxpr) -> Iterator[str]:
    """The names of all primitives, those of loops, branches and calls included."""
    yield from (equation.primitive.name for equation in jaxpr.eqns)
    for inner in subjaxprs(jaxpr):
        yield from _primitives(inner)
