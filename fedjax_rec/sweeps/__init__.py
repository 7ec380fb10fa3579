"""Many settings and seeds: what is tried, in which folders, and what validation chooses."""

from fedjax_rec.sweeps.cells import Cell, cells_of, parse_seeds
from fedjax_rec.sweeps.points import Axis, Point, axes_of, grid, random_points
from fedjax_rec.sweeps.selection import Candidate, candidates, chosen_of, validation_metric

__all__ = [
    "Axis",
    "Candidate",
    "Cell",
    "Point",
    "axes_of",
    "candidates",
    "cells_of",
    "chosen_of",
    "grid",
    "parse_seeds",
    "random_points",
    "validation_metric",
]
