"""Data on the host: events, splits, readers, the generator; and the clients' store.

Public names are loaded when first used, so that only what needs JAX imports it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedjax_rec.data.candidates import candidate_lists, item_lists, uniform_candidates
    from fedjax_rec.data.clients import FederatedData, client_data, load
    from fedjax_rec.data.digests import fingerprint
    from fedjax_rec.data.domains import beside
    from fedjax_rec.data.filters import Filters
    from fedjax_rec.data.generator import synthetic
    from fedjax_rec.data.interactions import FileSplit, Interactions, describe, from_events
    from fedjax_rec.data.partitions import dirichlet, silos
    from fedjax_rec.data.reading import read
    from fedjax_rec.data.records import Silos, load_records
    from fedjax_rec.data.registry import DATASETS
    from fedjax_rec.data.sources import Columns
    from fedjax_rec.data.splits import HeldOut, Split, hold_out, leave_one_out
    from fedjax_rec.data.subsets import some_users
    from fedjax_rec.data.tables import load_events

__all__ = [
    "DATASETS",
    "Columns",
    "FederatedData",
    "FileSplit",
    "Filters",
    "HeldOut",
    "Interactions",
    "Silos",
    "Split",
    "beside",
    "candidate_lists",
    "client_data",
    "describe",
    "dirichlet",
    "fingerprint",
    "from_events",
    "hold_out",
    "item_lists",
    "leave_one_out",
    "load",
    "load_events",
    "load_records",
    "read",
    "silos",
    "some_users",
    "synthetic",
    "uniform_candidates",
]

_HOMES = {
    "candidates": ("candidate_lists", "item_lists", "uniform_candidates"),
    "clients": ("FederatedData", "client_data", "load"),
    "digests": ("fingerprint",),
    "domains": ("beside",),
    "filters": ("Filters",),
    "generator": ("synthetic",),
    "interactions": ("FileSplit", "Interactions", "describe", "from_events"),
    "partitions": ("dirichlet", "silos"),
    "reading": ("read",),
    "records": ("Silos", "load_records"),
    "registry": ("DATASETS",),
    "sources": ("Columns",),
    "splits": ("HeldOut", "Split", "hold_out", "leave_one_out"),
    "subsets": ("some_users",),
    "tables": ("load_events",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
