"""Faults put into a copy of the package on purpose, and the tests that have to notice them.

`python -m tests.mutants --list` names them; `python -m tests.mutants [NAME...]` tries them.
"""

from tests.mutants.catalogue import MUTANTS
from tests.mutants.record import Mutant

__all__ = ["MUTANTS", "Mutant"]
