"""Every baseline that can be named: add one line to add one."""

from fedjax_rec.baselines.centralised import pooled_recommender
from fedjax_rec.baselines.ials import ials
from fedjax_rec.baselines.majority import majority
from fedjax_rec.baselines.means import rating_means
from fedjax_rec.baselines.neighbours import ease, item_knn
from fedjax_rec.baselines.neural import bpr_mf, gmf, mf_explicit, mlp, neumf
from fedjax_rec.baselines.popularity import popularity
from fedjax_rec.recommenders import on_recommender
from fedjax_rec.registry import BASELINES

__all__ = ["BASELINES"]

OWN = {
    "centralised": on_recommender(pooled_recommender, local_optimizer="adam"),
    "bpr_mf": bpr_mf,
    "ease": ease,
    "gmf": gmf,
    "ials": ials,
    "item_knn": item_knn,
    "majority": majority,
    "mf_explicit": mf_explicit,
    "mlp": mlp,
    "neumf": neumf,
    "popularity": popularity,
    "rating_means": rating_means,
}
"""Name -> factory `(num_items, *, own options)`. One that takes `data` gets the `ClientData`, and
one that takes `held_users` is told whose events it may not read."""

for name, factory in OWN.items():
    BASELINES.register(name, factory)
