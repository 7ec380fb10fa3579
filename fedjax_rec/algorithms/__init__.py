"""Federated algorithms, one file each, and the registry that names them."""

from fedjax_rec.algorithms.colr import colr
from fedjax_rec.algorithms.fcf import fcf
from fedjax_rec.algorithms.fedavg import fedavg, optax_server
from fedjax_rec.algorithms.fedmf import fedmf
from fedjax_rec.algorithms.fedrap import fedrap
from fedjax_rec.algorithms.pfedrec import pfedrec
from fedjax_rec.algorithms.registry import ALGORITHMS

__all__ = ["ALGORITHMS", "colr", "fcf", "fedavg", "fedmf", "fedrap", "optax_server", "pfedrec"]
