"""Which examples a client draws and what it minimises."""

from fedjax_rec.base import Sampler
from fedjax_rec.objectives.implicit import sampled
from fedjax_rec.objectives.losses import binary_cross_entropy

__all__ = ["Sampler", "binary_cross_entropy", "sampled"]
