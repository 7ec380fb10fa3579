"""Many settings and seeds: what is tried, in which folders, and what validation chooses.

`sweeps.selection` reads results; what is here needs the standard library alone, for `--help`.
"""

from fedjax_rec.sweeps.cells import Cell, cells_of, parse_seeds
from fedjax_rec.sweeps.points import Axis, Point, axes_of, grid, random_points

__all__ = [
    "Axis",
    "Cell",
    "Point",
    "axes_of",
    "cells_of",
    "grid",
    "parse_seeds",
    "random_points",
]
