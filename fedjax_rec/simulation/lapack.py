"""Clients that would hang: LAPACK while other CPU devices wait for their sum."""

from collections.abc import Iterator

import jax
from jax.extend.core import Jaxpr, subjaxprs

from fedjax_rec.errors import UserError

LAPACK = frozenset(
    {
        *("cholesky", "eig", "eigh", "hessenberg", "householder_product", "lu", "ormqr", "qr"),
        *("schur", "svd", "triangular_solve", "tridiagonal", "tridiagonal_solve"),
    }
)
"""Primitives that a CPU hands to LAPACK or BLAS."""


def refuse_lapack(client: Jaxpr, num_devices: int) -> None:
    """Refuses a client that calls LAPACK, where that may hang.

    The devices of a CPU may share one thread. One that waits for the others' sum then keeps
    the thread that another's LAPACK needs, for ever. A single device waits for nobody, and an
    accelerator has a library of its own: there such clients are as good as any.

    Args:
      client: one client's round.
      num_devices: over how many devices clients are spread.

    Raises:
      UserError: the client would hang.
    """
    if num_devices == 1 or jax.default_backend() != "cpu":
        return
    if found := sorted(LAPACK & set(_primitives(client))):
        raise UserError(
            f"clients call LAPACK ({', '.join(found)}), which may hang on several CPU devices: "
            "solve with clients.solve_positive_definite, or set execution.num_devices to 1"
        )


def _primitives(jaxpr: Jaxpr) -> Iterator[str]:
    """The names of all primitives, those of loops, branches and calls included."""
    yield from (equation.primitive.name for equation in jaxpr.eqns)
    for inner in subjaxprs(jaxpr):
        yield from _primitives(inner)
