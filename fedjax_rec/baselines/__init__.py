"""What a federated model has to beat."""

from fedjax_rec.baselines.popularity import popularity
from fedjax_rec.baselines.registry import BASELINES

__all__ = ["BASELINES", "popularity"]
