"""Models by name, for algorithms that suit any model: add one line to add one."""

from typing import Any

from fedjax_rec.models.bert4rec import bert4rec
from fedjax_rec.models.gmf import gmf
from fedjax_rec.models.gru4rec import gru4rec
from fedjax_rec.models.hstu import hstu
from fedjax_rec.models.lightgcn import lightgcn
from fedjax_rec.models.mf import matrix_factorization
from fedjax_rec.models.ncf import ncf
from fedjax_rec.models.neumf import neumf
from fedjax_rec.models.sasrec import sasrec
from fedjax_rec.registry import MODELS

__all__ = ["MODELS"]

MODELS.register("mf", matrix_factorization)
MODELS.register("gmf", gmf)
MODELS.register("ncf", ncf)
MODELS.register("neumf", neumf)
MODELS.register("lightgcn", lightgcn, objective="implicit_with_history")
SEQUENTIAL: dict[str, Any] = {
    "objective": "next_item",
    "local_optimizer": "adam",
    "user_learning_rate": None,  # they have no vector of the user
    "item_learning_rate": 0.01,
    "dense_learning_rate": 0.01,
}
MODELS.register("sasrec", sasrec, **SEQUENTIAL)
MODELS.register("gru4rec", gru4rec, **SEQUENTIAL)
MODELS.register("hstu", hstu, **SEQUENTIAL)
MODELS.register("bert4rec", bert4rec, **SEQUENTIAL | {"objective": "masked_item"})
