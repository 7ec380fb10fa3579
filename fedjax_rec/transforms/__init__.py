"""What happens to an update on its way to the server; compose with `chain`."""

from fedjax_rec.registry import TRANSFORMS
from fedjax_rec.transforms.clip import clip_by_norm
from fedjax_rec.transforms.composition import chain
from fedjax_rec.transforms.correlated import correlated_noise
from fedjax_rec.transforms.means import mean, total
from fedjax_rec.transforms.noise import gaussian_noise, local_noise
from fedjax_rec.transforms.quantile import clip_by_quantile
from fedjax_rec.transforms.sparse import row_sparse_noise

__all__ = [
    "TRANSFORMS",
    "chain",
    "clip_by_norm",
    "clip_by_quantile",
    "correlated_noise",
    "gaussian_noise",
    "local_noise",
    "mean",
    "row_sparse_noise",
    "total",
]

TRANSFORMS.register("clip_by_norm", clip_by_norm)
TRANSFORMS.register("mean", mean)
TRANSFORMS.register("total", total)
TRANSFORMS.register("gaussian_noise", gaussian_noise)
TRANSFORMS.register("clip_by_quantile", clip_by_quantile)
TRANSFORMS.register("local_noise", local_noise)
TRANSFORMS.register("correlated_noise", correlated_noise)
TRANSFORMS.register("row_sparse_noise", row_sparse_noise)
