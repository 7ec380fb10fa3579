"""Federated algorithms, one file each, and the registry that names them."""

from fedjax_rec.algorithms.colr import colr
from fedjax_rec.algorithms.ditto import ditto
from fedjax_rec.algorithms.fcf import fcf
from fedjax_rec.algorithms.fedavg import fedavg, optax_server
from fedjax_rec.algorithms.fedavg_records import fedavg_records
from fedjax_rec.algorithms.fedcmf import fedcmf
from fedjax_rec.algorithms.feddyn import feddyn
from fedjax_rec.algorithms.fedlightgcn import fedlightgcn
from fedjax_rec.algorithms.fedlora import fedlora
from fedjax_rec.algorithms.fedmf import fedmf
from fedjax_rec.algorithms.fedmf_explicit import fedmf_explicit
from fedjax_rec.algorithms.fedncf import fedncf
from fedjax_rec.algorithms.fedopt import fedadagrad, fedadam, fedavgm, fedopt, fedyogi
from fedjax_rec.algorithms.fedper import fedper
from fedjax_rec.algorithms.fedprox import fedprox
from fedjax_rec.algorithms.fedrap import fedrap
from fedjax_rec.algorithms.fedrecon import fedrecon
from fedjax_rec.algorithms.fedrep import fedrep
from fedjax_rec.algorithms.fedsgd import fedsgd
from fedjax_rec.algorithms.fellrec import fellrec
from fedjax_rec.algorithms.finetuning import finetuning
from fedjax_rec.algorithms.gpfedrec import gpfedrec
from fedjax_rec.algorithms.lora_products import fedexlora, flexlora
from fedjax_rec.algorithms.personalise import personalise
from fedjax_rec.algorithms.pfedrec import pfedrec
from fedjax_rec.algorithms.registry import ALGORITHMS
from fedjax_rec.algorithms.reptile import reptile
from fedjax_rec.algorithms.scaffold import scaffold
from fedjax_rec.recommenders import Recommender, on_recommender, recommender

__all__ = [
    "ALGORITHMS",
    "Recommender",
    "colr",
    "ditto",
    "fcf",
    "fedadagrad",
    "fedadam",
    "fedavg",
    "fedavg_records",
    "fedavgm",
    "fedcmf",
    "feddyn",
    "fedexlora",
    "fedlightgcn",
    "fedlora",
    "fedmf",
    "fedmf_explicit",
    "fedncf",
    "fedopt",
    "fedper",
    "fedprox",
    "fedrap",
    "fedrecon",
    "fedrep",
    "fedsgd",
    "fedyogi",
    "fellrec",
    "finetuning",
    "flexlora",
    "gpfedrec",
    "on_recommender",
    "optax_server",
    "personalise",
    "pfedrec",
    "recommender",
    "reptile",
    "scaffold",
]
