"""Every baseline that can be named: add one line to add one."""

from collections.abc import Callable

from fedjax_rec.base import FederatedAlgorithm
from fedjax_rec.baselines.popularity import popularity

BASELINES: dict[str, Callable[..., FederatedAlgorithm]] = {
    "popularity": popularity,
}
"""Name -> factory `(num_items, *, own options)`."""
