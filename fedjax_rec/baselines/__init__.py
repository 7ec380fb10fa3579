"""What a federated model has to beat."""

from fedjax_rec.baselines.popularity import popularity
from fedjax_rec.baselines.registry import BASELINES
from fedjax_rec.baselines.twins import local_only

__all__ = ["BASELINES", "local_only", "popularity"]
