"""Every baseline that can be named: add one line to add one."""

from collections.abc import Callable

from fedjax_rec.base import FederatedAlgorithm
from fedjax_rec.baselines.ials import ials
from fedjax_rec.baselines.neighbours import ease, item_knn
from fedjax_rec.baselines.popularity import popularity

BASELINES: dict[str, Callable[..., FederatedAlgorithm]] = {
    "ease": ease,
    "ials": ials,
    "item_knn": item_knn,
    "popularity": popularity,
}
"""Name -> factory `(num_items, *, own options)`."""
