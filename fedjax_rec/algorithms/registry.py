"""Every algorithm that can be named: add one line to add one."""

from collections.abc import Callable

from fedjax_rec.algorithms.colr import colr
from fedjax_rec.algorithms.fcf import fcf
from fedjax_rec.algorithms.fedmf import fedmf
from fedjax_rec.algorithms.fedrap import fedrap
from fedjax_rec.algorithms.pfedrec import pfedrec
from fedjax_rec.base import FederatedAlgorithm

ALGORITHMS: dict[str, Callable[..., FederatedAlgorithm]] = {
    "colr": colr,
    "fcf": fcf,
    "fedmf": fedmf,
    "fedrap": fedrap,
    "pfedrec": pfedrec,
}
"""Name -> factory `(num_items, *, own options, aggregate, server_optimizer)`."""
