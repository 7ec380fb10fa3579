"""Toy problems, on which the laws are checked."""

import inspect
from collections.abc import Callable

import jax

from fedjax_rec.base import Array, FederatedAlgorithm
from fedjax_rec.data.clients import FederatedData, client_data, load
from fedjax_rec.data.domains import beside
from fedjax_rec.data.generator import synthetic
from fedjax_rec.data.splits import hold_out


def toy_data() -> FederatedData:
    """Twenty clients and 400 items: two length classes, slices smaller than the table."""
    return load("synthetic", num_users=20, num_items=400, mean_events=25, size_sigma=0.8, seed=3)


def toy_features(num_items: int) -> Array:
    """Five features of every item, for algorithms of records."""
    return jax.random.normal(jax.random.key(5), (num_items, 5))


def toy_domains() -> FederatedData:
    """The same twenty clients with two catalogues, 600 items and 400 of another domain."""
    target, other = (
        synthetic(num_users=20, num_items=num_items, mean_events=13, seed=num_items, size_sigma=0.8)
        for num_items in (600, 400)
    )
    split = hold_out(beside(target, other))
    return FederatedData("toy", client_data(split), split, "train")


def toy_data_for(factory: Callable[..., FederatedAlgorithm]) -> FederatedData:
    """`toy_data`, or `toy_domains` for a factory that takes `num_other`."""
    takes_domains = "num_other" in inspect.signature(factory).parameters
    return toy_domains() if takes_domains else toy_data()
