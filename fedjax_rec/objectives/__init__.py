"""Which examples a client draws and what it minimises."""

from fedjax_rec.base import Sampler
from fedjax_rec.objectives.bpr import bpr
from fedjax_rec.objectives.domains import DomainExamples, two_domains
from fedjax_rec.objectives.explicit import ratings
from fedjax_rec.objectives.implicit import sampled, with_history
from fedjax_rec.objectives.losses import (
    binary_cross_entropy,
    saturating_cross_entropy,
    squared_error,
)
from fedjax_rec.objectives.named import LossName, implicit
from fedjax_rec.objectives.next_item import masked_item, next_item
from fedjax_rec.objectives.registry import OBJECTIVES
from fedjax_rec.objectives.sampled_items import SampledLoss, sampled_item

__all__ = [
    "OBJECTIVES",
    "DomainExamples",
    "LossName",
    "SampledLoss",
    "Sampler",
    "binary_cross_entropy",
    "bpr",
    "implicit",
    "masked_item",
    "next_item",
    "ratings",
    "sampled",
    "sampled_item",
    "saturating_cross_entropy",
    "squared_error",
    "two_domains",
    "with_history",
]
