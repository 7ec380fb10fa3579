"""What happens to an update on its way to the server; compose with `chain`."""

from fedjax_rec.transforms.clip import clip_by_norm
from fedjax_rec.transforms.composition import chain
from fedjax_rec.transforms.means import mean, total
from fedjax_rec.transforms.noise import gaussian_noise

__all__ = ["chain", "clip_by_norm", "gaussian_noise", "mean", "total"]
