"""Every algorithm that can be named: add one line to add one."""

from fedjax_rec.algorithms.colr import colr
from fedjax_rec.algorithms.ditto import ditto
from fedjax_rec.algorithms.fcf import fcf
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
from fedjax_rec.algorithms.pfedrec import pfedrec
from fedjax_rec.algorithms.reptile import reptile
from fedjax_rec.algorithms.scaffold import scaffold
from fedjax_rec.recommenders import on_recommender
from fedjax_rec.registry import ALGORITHMS

__all__ = ["ALGORITHMS"]

SLICED = ("is_sliced",)
"""What algorithms that need whole tables do not ask."""

OWN = {
    "colr": colr,
    "fcf": fcf,
    "fedavg_records": fedavg_records,
    "fedcmf": fedcmf,
    "fedlightgcn": fedlightgcn,
    "fedmf": fedmf,
    "fedmf_explicit": fedmf_explicit,
    "fedncf": on_recommender(fedncf, model="neumf"),
    "fedrap": fedrap,
    "fedrecon": on_recommender(fedrecon, without=("local_epochs",), batch_size=40),
    "gpfedrec": gpfedrec,
    "pfedrec": pfedrec,
    "fedavg": on_recommender(fedopt),
    "fedsgd": on_recommender(
        fedsgd, without=("local_epochs",), user_learning_rate=10.0, item_learning_rate=200.0
    ),
    "fedprox": on_recommender(fedprox),
    "fedavgm": on_recommender(fedavgm),
    "fedadagrad": on_recommender(fedadagrad),
    "fedadam": on_recommender(fedadam),
    "fedyogi": on_recommender(fedyogi),
    "scaffold": on_recommender(scaffold, without=("local_optimizer", *SLICED), is_sliced=False),
    "feddyn": on_recommender(feddyn, without=SLICED, is_sliced=False),
    "fedlora": on_recommender(fedlora, model="sasrec"),
    "fedexlora": on_recommender(fedexlora, model="sasrec"),
    "fellrec": on_recommender(fellrec, model="sasrec"),
    "flexlora": on_recommender(flexlora, model="sasrec"),
    "finetuning": on_recommender(finetuning),
    "reptile": on_recommender(reptile),
    "fedper": on_recommender(fedper, model="gmf"),
    "fedrep": on_recommender(fedrep, model="gmf"),
    "ditto": on_recommender(ditto, without=SLICED, is_sliced=False),
}
"""Name -> factory `(num_items, *, own options, aggregate, server_optimizer)`, and `num_clients`,
`num_slots` or `num_other` where the algorithm has to know it, `features` where clients hold
records."""

for name, factory in OWN.items():
    ALGORITHMS.register(name, factory)
