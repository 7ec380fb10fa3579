"""Baselines: what a federated model has to beat, and what training on pooled data would reach."""

from fedjax_rec.baselines.centralised import centralised
from fedjax_rec.baselines.ials import ials
from fedjax_rec.baselines.majority import majority
from fedjax_rec.baselines.means import rating_means
from fedjax_rec.baselines.neighbours import ease, item_knn
from fedjax_rec.baselines.neural import bpr_mf, gmf, mf_explicit, mlp, neumf
from fedjax_rec.baselines.popularity import popularity
from fedjax_rec.baselines.registry import BASELINES
from fedjax_rec.baselines.twins import local_only

__all__ = [
    "BASELINES",
    "bpr_mf",
    "centralised",
    "ease",
    "gmf",
    "ials",
    "item_knn",
    "local_only",
    "majority",
    "mf_explicit",
    "mlp",
    "neumf",
    "popularity",
    "rating_means",
]
