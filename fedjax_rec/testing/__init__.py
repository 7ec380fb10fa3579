"""Checks that any algorithm or transform can be put to: the laws, on a toy problem.

`check_algorithm` runs all of `CHECKS`. The project's own conformance suite runs them over
its registry; a package outside can run them over its algorithms.
"""

from fedjax_rec.data.toys import toy_data, toy_data_for
from fedjax_rec.testing.laws import CHECKS, NotApplicable
from fedjax_rec.testing.subject import (
    COHORT,
    SETTINGS,
    TOLERANCE,
    Subject,
    assert_same_movement,
)
from fedjax_rec.testing.suite import Outcome, check_algorithm, check_transform, put_to_laws

__all__ = [
    "CHECKS",
    "COHORT",
    "SETTINGS",
    "TOLERANCE",
    "NotApplicable",
    "Outcome",
    "Subject",
    "assert_same_movement",
    "check_algorithm",
    "check_transform",
    "put_to_laws",
    "toy_data",
    "toy_data_for",
]
