"""An algorithm under test, on a toy problem, and when two rounds are the same."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_rec.base import (
    Clients,
    Cohort,
    FederatedAlgorithm,
    Fixed,
    Key,
    PyTree,
    RoundInfo,
    ServerState,
)
from fedjax_rec.data import FederatedData
from fedjax_rec.data.toys import toy_data, toy_features
from fedjax_rec.simulation import Execution, build, pad_cohort
from fedjax_rec.simulation.devices import Placement
from fedjax_rec.simulation.weights import with_weights

TOLERANCE = 1e-5
"""Relative L2 distance of two equal rounds, of what a leaf moved by."""

COHORT = np.array([5, 1, 19, 8, 14, 2, 11])

CHUNKED = Execution(chunk_size=3)

SETTINGS = {"dim": 4, "local_epochs": 2, "batch_size": 48}
"""Given to every factory that takes them: several local steps, items that recur, quick."""

QUICK = {"xla_backend_optimization_level": 0}
"""Compiler options of the checks' programs: each runs a few times, on little."""

Round = tuple[ServerState, Clients, RoundInfo]


@dataclass(frozen=True, eq=False)
class Subject:
    """An algorithm's factory under test, with what every check needs.

    Attributes:
      factory: `(num_items, **options) -> FederatedAlgorithm`.
      options: its keyword arguments; those of `SETTINGS` that it takes stand behind them.
      data: the toy problem.
      key: the root key.
    """

    factory: Callable[..., FederatedAlgorithm]
    options: dict[str, Any] = field(default_factory=dict)
    data: FederatedData = field(default_factory=toy_data)
    key: Key = field(default_factory=lambda: jax.random.key(0))

    def make(self, **changes: Any) -> FederatedAlgorithm:
        """Another copy of the algorithm."""
        taken = inspect.signature(self.factory).parameters
        clients = self.data.clients
        known = SETTINGS | {
            "num_clients": self.data.num_clients,
            "num_slots": self.data.num_clients,
            "num_other": clients.num_other,
            "data": clients,
            "features": toy_features(clients.num_items),
        }
        settings = {name: value for name, value in known.items() if name in taken}
        return self.factory(clients.num_items, **settings | self.options | changes)

    @cached_property
    def algorithm(self) -> FederatedAlgorithm:
        """The algorithm, built with the subject's options."""
        return self.make()

    @cached_property
    def start(self) -> tuple[ServerState, Clients, Fixed]:
        """Where every round begins."""
        init = jax.jit(build(self.algorithm).init, static_argnums=1, compiler_options=QUICK)
        state, clients, drawn = init(self.key, self.data.num_clients)
        frozen = with_weights(self.algorithm.model, drawn)
        return state, clients, Fixed(frozen, self.data.clients)

    def program(
        self, algorithm: FederatedAlgorithm | None = None, execution: Execution = CHUNKED
    ) -> Callable[[Cohort], Round]:
        """One round from the start, as a jitted function of its cohort."""
        state, clients, fixed = self.start
        step = jax.jit(build(algorithm or self.algorithm, execution).step, compiler_options=QUICK)
        placement = Placement(execution.num_devices, self.data.num_clients)

        def run(cohort: Cohort) -> Round:
            new_state, new_clients, info = step(
                placement.everywhere(state),
                placement.spread(clients),
                placement.everywhere(cohort),
                placement.spread_fixed(fixed),
            )
            whole = placement.on_one(new_state), placement.collect(new_clients)
            return *whole, placement.on_one(info)

        return run

    @cached_property
    def step(self) -> Callable[..., Round]:
        """The usual step, jitted once for all checks."""
        return jax.jit(build(self.algorithm, CHUNKED).step, compiler_options=QUICK)

    def round(self, client_ids: np.ndarray = COHORT) -> Round:
        """The usual round of these clients."""
        state, clients, fixed = self.start
        return self.step(state, clients, pad_cohort(client_ids, self.data.num_clients), fixed)

    def assert_same(
        self, one: Round, other: Round, what: str, tolerance: float = TOLERANCE
    ) -> None:
        """Both rounds moved server and clients alike, up to rounding."""
        assert_same_movement(self.start[:2], one[:2], other[:2], what, tolerance)


def assert_same_movement(
    before: PyTree, one: PyTree, other: PyTree, what: str, tolerance: float = TOLERANCE
) -> None:
    """Every leaf moved from `before` to the same place: `tolerance` is relative L2."""
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(before)]
    leaves = zip(paths, *map(jax.tree.leaves, (before, one, other)), strict=True)
    for path, *values in leaves:
        start, left, right = (as_numbers(leaf) for leaf in values)
        moved, error = np.linalg.norm(left - start), np.linalg.norm(left - right)
        # a movement is added to a value in float32, which rounds the value too
        allowed = tolerance * moved + 1e-7 * np.linalg.norm(start)
        assert error <= allowed, f"{what}: {path} differs by {error:.2e} of {moved:.2e}"


def as_numbers(leaf: Any) -> np.ndarray:
    """A leaf in double precision; of a key, its words."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf, np.float64)


def shapes_of(tree: PyTree) -> tuple[Any, list[Any]]:
    """Structure, shapes and dtypes of a tree."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves]
