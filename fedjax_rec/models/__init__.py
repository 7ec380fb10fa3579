"""How items are scored: every file returns a `Model`."""

from fedjax_rec.models.mf import matrix_factorization

__all__ = ["matrix_factorization"]
