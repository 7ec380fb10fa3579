"""The workloads: their data and initial parameters, made once a run on the host."""

import gzip
import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.problem import Problem, Settings
from fedjax_rec.data import leave_one_out, read
from fedjax_rec.errors import UserError

START_STDDEV = 0.1


@dataclass(frozen=True)
class Events:
    """Training positives and held-out items.

    Attributes:
      name: for people to read.
      users: `[E]` client of each positive, rising.
      items: `[E]` its item.
      test: `[N]` held-out item of each client.
      num_items: size of the catalogue.
    """

    name: str
    users: NDArray[np.int64]
    items: NDArray[np.int64]
    test: NDArray[np.int64]
    num_items: int


@dataclass(frozen=True)
class Workload:
    """A workload's defaults.

    Attributes:
      about: one line.
      events: makes the data.
      dim: width of a vector.
      clients: cohort size if none is asked for; 0 is everyone.
      rounds: rounds of a stretch.
      quality_rounds: rounds before quality is taken; 0 is one stretch.
      item_rate: learning rate of what is shared.
      user_rate: of what is private.
      mean_by: see `Settings`.
      order: see `Settings`.
      clip: see `Settings`.
      network: makes the shared parameters beside the table, from a generator and sizes.
    """

    about: str
    events: Callable[[], Events]
    dim: int
    clients: int
    rounds: int
    item_rate: float = 1600.0  # large, for a mean by client divides by the whole cohort
    user_rate: float = 2.0
    mean_by: str = "client"
    order: str = "shuffled"
    clip: float = 0.0
    quality_rounds: int = 0
    network: Callable[[np.random.Generator, int], dict[str, NDArray[np.float32]]] = (
        lambda rng, dim: {}
    )


def movielens_100k() -> Events:
    """MovieLens-100K, each client's latest event held out; synthetic where it is not at hand."""
    try:
        interactions = read("ml-100k", notice=lambda line: None)
        name = "MovieLens-100K, leave-one-out by time"
    except UserError:
        interactions = read("synthetic", num_users=943, num_items=1682, mean_events=106.0)
        name = "synthetic of the size of MovieLens-100K (the real one is not at hand)"
    split = leave_one_out(interactions, validation="none")
    users = split.train.users.astype(np.int64)
    return distinct(
        name,
        users,
        split.train.items.astype(np.int64),
        np.where(split.test.items[:, 0] < interactions.num_items, split.test.items[:, 0], -1),
        interactions.num_items,
    )


def movielens_1m() -> Events:
    """The NCF split of MovieLens-1M where it is at hand."""
    folder = Path(os.environ.get("FEDJAX_REC_DATA", "")) / "ncf-ml-1m"
    try:
        train, test = (
            np.loadtxt(_lines(folder / f"ml-1m.{part}.rating.gz"), np.int64, usecols=(0, 1))
            for part in ("train", "test")
        )
    except OSError:
        raise UserError(
            f"{folder}: the NCF split of MovieLens-1M is not there; "
            "set FEDJAX_REC_DATA to the folder that holds ncf-ml-1m, or take the workload W2"
        ) from None
    num_items = int(max(train[:, 1].max(), test[:, 1].max())) + 1
    held = np.full(int(train[:, 0].max()) + 1, -1)
    held[test[:, 0]] = test[:, 1]
    return distinct("MovieLens-1M, the NCF split", train[:, 0], train[:, 1], held, num_items)


def synthetic_1m() -> Events:
    """Synthetic events of the size of MovieLens-1M.

    Clients are log-normal (median 99, at most 2299), popularity falls as 1 / (rank + 30),
    tastes have 12 latent factors; a client takes the items of largest
    `log popularity + taste + Gumbel noise`, so without repeats; one of them is held out.
    """
    num_users, num_items, num_tastes = 6040, 3706, 12
    rng = np.random.default_rng(1)
    sizes = np.exp(np.log(99) + 1.005 * rng.standard_normal(num_users))
    sizes = np.clip(sizes.round(), 19, 2299).astype(int) + 1
    popularity = -np.log(rng.permutation(num_items) + 30.0)
    tastes = rng.standard_normal((num_users, num_tastes))
    traits = rng.standard_normal((num_items, num_tastes)) * 1.2 / np.sqrt(num_tastes)
    test, chosen = np.empty(num_users, np.int64), []
    for user, size in enumerate(sizes):
        appeal = popularity + traits @ tastes[user] + rng.gumbel(size=num_items)
        items = np.argpartition(-appeal, size)[:size]
        test[user] = rng.choice(items)
        chosen.append(items[items != test[user]])
    users = np.repeat(np.arange(num_users), sizes - 1)
    return distinct(
        "synthetic of the size of MovieLens-1M", users, np.concatenate(chosen), test, num_items
    )


def sequences() -> Events:
    """64 clients with 51 events each, drawn by popularity 1 / (rank + 30): for speed alone."""
    num_clients, num_events, num_items = 64, 51, 3706
    rng = np.random.default_rng(1)
    weights = 1 / (rng.permutation(num_items) + 30.0)
    items = rng.choice(num_items, num_clients * num_events, p=weights / weights.sum())
    users = np.repeat(np.arange(num_clients), num_events)
    return Events("random sequences", users, items, np.full(num_clients, -1), num_items)


def tower(rng: np.random.Generator, dim: int) -> dict[str, NDArray[np.float32]]:
    """The layers 2D - D - D/2 - D/4 - 1, Glorot uniform with biases 0."""
    layers = {}
    for number, sides in enumerate(pairwise((2 * dim, dim, dim // 2, dim // 4, 1))):
        limit = np.sqrt(6 / sum(sides))
        layers[f"kernel{number}"] = rng.uniform(-limit, limit, sides).astype(np.float32)
        layers[f"bias{number}"] = np.zeros(sides[1], np.float32)
    return layers


def encoder(rng: np.random.Generator, dim: int) -> dict[str, NDArray[np.float32]]:
    """Two causal blocks for 50 events: attention, then a layer of width D, both after norms."""
    arrays = {"positions": 0.02 * rng.standard_normal((50, dim))}
    for block in range(2):
        for name in ("query", "key", "value", "inner", "outer"):
            arrays[f"{name}{block}"] = rng.standard_normal((dim, dim)) / np.sqrt(dim)
        arrays |= {f"{name}_bias{block}": np.zeros(dim) for name in ("inner", "outer")}
    for norm in range(5):  # before attention and layer of each block, and at the end
        arrays |= {f"scale{norm}": np.ones(dim), f"shift{norm}": np.zeros(dim)}
    return {name: array.astype(np.float32) for name, array in arrays.items()}


WORKLOADS = {
    "W1": Workload("matrix factorisation d=32, MovieLens-100K", movielens_100k, 32, 0, 10),
    "W2": Workload("matrix factorisation d=64, synthetic 1M events", synthetic_1m, 64, 256, 10),
    "W2-real": Workload("the same on the NCF split of MovieLens-1M", movielens_1m, 64, 256, 10),
    "W3": Workload(
        "NCF, tower 64-32-16-8-1, MovieLens-100K",
        movielens_100k,
        32,
        0,
        10,
        item_rate=5.0,
        user_rate=5.0,
        mean_by="row",
        order="grouped",  # the tower's biases follow the share of positives in each batch
        quality_rounds=40,  # the tower bounds the rate, so items move slowly
        network=tower,
    ),
    "W4": Workload(
        "a causal transformer, 2 blocks, softmax over 3706 items, clipped",
        sequences,
        64,
        64,
        10,
        item_rate=1.0,
        clip=0.5,
        network=encoder,
    ),
}


def make(
    name: str, *, clients: int = 0, items: int = 0, epochs: int = 1, dim: int = 0, seed: int = 0
) -> Problem:
    """Makes a workload.

    Args:
      name: one of `WORKLOADS`.
      clients: cohort size; 0 is the workload's own, or everyone.
      items: pads the catalogue to this many; 0 leaves it.
      epochs: local epochs.
      dim: width of a vector; 0 is the workload's own.
      seed: of initial parameters, cohorts, negatives and order.

    Raises:
      UserError: a number that does not fit the data, or data that is not at hand.
    """
    workload = WORKLOADS[name]
    events = workload.events()
    num_clients = len(events.test)
    clients = clients or workload.clients or num_clients
    if not 1 <= clients <= num_clients:
        raise UserError(f"--clients must be 1 .. {num_clients} for {name}, got {clients}")
    if items and items < events.num_items:
        raise UserError(f"--items pads the catalogue of {events.num_items}; got fewer, {items}")
    dim = dim or workload.dim
    rng = np.random.default_rng([seed, 2])
    settings = Settings(
        name.removesuffix("-real"),
        events.name,
        clients,
        dim,
        epochs,
        negatives=0 if name == "W4" else 4,
        user_rate=workload.user_rate,
        item_rate=workload.item_rate,
        mean_by=workload.mean_by,
        order=workload.order,
        clip=workload.clip,
        seed=seed,
    )
    return Problem(
        settings,
        np.append(0, np.cumsum(np.bincount(events.users, minlength=num_clients))),
        events.items,
        events.test,
        _normal(rng, num_clients, dim),
        _normal(rng, items or events.num_items, dim),
        workload.network(rng, dim),
    )


def _normal(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return (START_STDDEV * rng.standard_normal(shape)).astype(np.float32)


def distinct(
    name: str,
    users: NDArray[np.int64],
    items: NDArray[np.int64],
    test: NDArray[np.int64],
    num_items: int,
) -> Events:
    """Events by client, then item, each pair once."""
    pairs = np.unique(users * num_items + items)
    return Events(name, pairs // num_items, pairs % num_items, test.astype(np.int64), num_items)


def _lines(path: Path) -> list[str]:
    with gzip.open(path, "rt") as file:
        return file.read().splitlines()
