"""How items are scored: every factory returns a `Model`."""

from fedjax_rec.models.bert4rec import bert4rec
from fedjax_rec.models.common_user import common_user
from fedjax_rec.models.gmf import gmf
from fedjax_rec.models.gru4rec import gru4rec
from fedjax_rec.models.hstu import hstu
from fedjax_rec.models.lightgcn import lightgcn
from fedjax_rec.models.lora import lora
from fedjax_rec.models.mf import matrix_factorization
from fedjax_rec.models.ncf import ncf
from fedjax_rec.models.neumf import neumf
from fedjax_rec.models.perceptron import perceptron
from fedjax_rec.models.registry import MODELS
from fedjax_rec.models.sasrec import sasrec

__all__ = [
    "MODELS",
    "bert4rec",
    "common_user",
    "gmf",
    "gru4rec",
    "hstu",
    "lightgcn",
    "lora",
    "matrix_factorization",
    "ncf",
    "neumf",
    "perceptron",
    "sasrec",
]
