"""Checks that any algorithm or transform can be put to: the laws, on a toy problem.

`check_algorithm` runs all of `CHECKS`. The project's own conformance suite runs them over
its registry; a package outside can run them over its algorithms.
"""

import inspect
import itertools
import unittest
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_rec.base import (
    AggregateTransform,
    ClientOutput,
    Clients,
    Cohort,
    FederatedAlgorithm,
    Fixed,
    Key,
    Message,
    Part,
    Private,
    PyTree,
    RoundInfo,
    ServerState,
    Task,
    View,
)
from fedjax_rec.data import FederatedData
from fedjax_rec.data.toys import toy_data, toy_data_for, toy_features
from fedjax_rec.simulation import Execution, build, pad_cohort
from fedjax_rec.simulation.devices import Placement
from fedjax_rec.simulation.streamable import refusal

TOLERANCE = 1e-5
"""Relative L2 distance of two equal rounds, of what a leaf moved by."""

COHORT = np.array([5, 1, 19, 8, 14, 2, 11])

CHUNKED = Execution(chunk_size=3)

SETTINGS = {"dim": 4, "local_epochs": 2, "batch_size": 48}
"""Given to every factory that takes them: several local steps, items that recur, quick."""

QUICK = {"xla_backend_optimization_level": 0}
"""Compiler options of the checks' programs: each runs a few times, on little."""

Round = tuple[ServerState, Clients, RoundInfo]


class NotApplicable(unittest.SkipTest):
    """A law that has nothing to look at in this algorithm; the message says why."""


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
        state, clients, frozen = init(self.key, self.data.num_clients)
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
        start, left, right = (_as_numbers(leaf) for leaf in values)
        moved, error = np.linalg.norm(left - start), np.linalg.norm(left - right)
        # a movement is added to a value in float32, which rounds the value too
        allowed = tolerance * moved + 1e-7 * np.linalg.norm(start)
        assert error <= allowed, f"{what}: {path} differs by {error:.2e} of {moved:.2e}"


def _can_be_nan(leaf: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(leaf), jnp.inexact))


def _as_numbers(leaf: Any) -> np.ndarray:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf, np.float64)


# ---------------------------------------------------------------------- checks


def keeps_its_trees(subject: Subject) -> None:
    """A round changes no shape, no dtype and no structure of state and store."""
    for before, after in zip(subject.start[:2], subject.round()[:2], strict=True):
        assert _shapes(before) == _shapes(after), "a round changed a tree, a shape or a dtype"


def keeps_private_at_home(subject: Subject) -> None:
    """The server's state holds no private part, and the store nothing else."""

    def is_private(node: object) -> bool:
        return isinstance(node, Private)

    state, clients, _ = subject.round()
    on_server = [n for n in jax.tree.leaves(state, is_leaf=is_private) if is_private(n)]
    assert not on_server, "the server's state holds private parameters"
    for name in ("private", "memory"):
        assert is_private(getattr(clients, name)), f"the store's {name} is not Private"


def is_traced_once_and_resumes_exactly(subject: Subject) -> None:
    """Rounds are one program, and a fresh build goes on from their state to the bit."""
    num_traces = itertools.count()
    fresh = build(subject.make(), CHUNKED).step

    @partial(jax.jit, compiler_options=QUICK)
    def counted(*args: Any) -> Any:
        next(num_traces)
        return fresh(*args)

    capacity = subject.data.num_clients
    first, second = pad_cohort(COHORT, capacity), pad_cohort(COHORT[2:], capacity)
    state, clients, fixed = subject.start
    halfway = subject.step(state, clients, first, fixed)[:2]
    through = subject.step(*halfway, second, fixed)[:2]
    counted(state, clients, first, fixed)
    resumed = counted(*halfway, second, fixed)[:2]
    assert next(num_traces) == 1, "a round is traced again: a shape or dtype in the state changes"
    for one, two in zip(jax.tree.leaves(through), jax.tree.leaves(resumed), strict=True):
        same = np.array_equal(_as_numbers(one), _as_numbers(two), equal_nan=True)
        assert same, "something is kept outside the state: a fresh build goes on differently"


def ignores_order(subject: Subject) -> None:
    """A cohort in another order gives the same round."""
    other = subject.round(COHORT[::-1])
    subject.assert_same(subject.round(), other, "the order of the cohort matters")


def ignores_padding(subject: Subject) -> None:
    """Padding clients change nothing."""
    few = subject.program()(pad_cohort(COHORT, len(COHORT)))
    subject.assert_same(subject.round(), few, "padding clients matter")


def ignores_chunks(subject: Subject) -> None:
    """Clients trained one at a time give the same round."""
    single = subject.program(execution=Execution(chunk_size=1))
    other = single(pad_cohort(COHORT, subject.data.num_clients))
    subject.assert_same(subject.round(), other, "the chunk size matters")


def ignores_devices(subject: Subject) -> None:
    """Clients over several devices give the same round."""
    num_devices = min(jax.device_count(), 3)
    if num_devices == 1:
        raise NotApplicable("there is one device")
    spread = subject.program(execution=replace(CHUNKED, num_devices=num_devices))
    other = spread(pad_cohort(COHORT, subject.data.num_clients))
    subject.assert_same(subject.round(), other, "the number of devices matters")


def ignores_the_executor(subject: Subject) -> None:
    """Where one pass over a client's examples may be streamed, the round is the same."""
    takes_epochs = "local_epochs" in inspect.signature(subject.factory).parameters
    algorithm = subject.make(local_epochs=1) if takes_epochs else subject.algorithm
    state, clients, _ = subject.start
    if why := refusal(algorithm, state.shared, clients.private):
        raise NotApplicable(f"its clients are not streamed: {why}")
    cohort = pad_cohort(COHORT, subject.data.num_clients)
    one, other = (
        subject.program(algorithm, replace(CHUNKED, executor=executor))(cohort)
        for executor in ("general", "streaming")
    )
    subject.assert_same(one, other, "the executor matters", tolerance=1e-6)


def equals_debug(subject: Subject) -> None:
    """Without jit, one client at a time, the round is the same."""
    ids = COHORT[:2]
    state, clients, fixed = subject.start
    step = build(subject.algorithm, Execution(chunk_size=1, is_debug=True)).step
    with jax.disable_jit():
        other = step(state, clients, pad_cohort(ids, len(ids)), fixed)
    subject.assert_same(subject.round(ids), other, "the round differs without jit and vmap")


def equals_whole_table(subject: Subject) -> None:
    """With slices or the whole table, the round is the same, and untouched rows stay."""
    if "is_sliced" not in inspect.signature(subject.factory).parameters:
        raise NotApplicable("its factory takes no is_sliced")
    if subject.algorithm.client_update.support == "lazy":
        raise NotApplicable("its rows act only where they are touched (support='lazy')")
    whole = subject.program(subject.make(is_sliced=False))
    one, other = subject.round(), whole(pad_cohort(COHORT, subject.data.num_clients))
    subject.assert_same(one, other, "slices and the whole table differ", tolerance=1e-6)
    tables = [part.rows for part in (subject.start[0].shared, one[0].shared, other[0].shared)]
    for start, sliced, dense in zip(*map(jax.tree.leaves, tables), strict=True):
        is_still = np.asarray(sliced == start) == np.asarray(dense == start)
        assert is_still.all(), "slices and the whole table move different rows"


def survives_a_bad_client(subject: Subject) -> None:
    """A client that diverges counts for nothing: the round is the cohort's without it."""
    victim = int(COHORT[2])
    honest = subject.algorithm.client_update

    def diverge(key: Key, view: View, task: Task) -> ClientOutput:
        spoil = jnp.where(task.entry.client_id == victim, jnp.nan, 1.0)
        spoilt: ClientOutput = jax.tree.map(
            lambda leaf: leaf * spoil.astype(jnp.result_type(leaf)) if _can_be_nan(leaf) else leaf,
            honest.run(key, view, task),
        )
        return spoilt

    # what diverges no longer does the steps that were promised
    spoiled = replace(subject.algorithm, client_update=replace(honest, run=diverge, local=None))
    harmed = subject.program(spoiled)(pad_cohort(COHORT, subject.data.num_clients))
    expected = subject.round(np.setdiff1d(COHORT, [victim]))
    subject.assert_same(expected, harmed, "a diverging client harms others")
    assert float(harmed[2]["bad_clients"].total) == 1, "the diverging client is not counted"


def survives_an_empty_cohort(subject: Subject) -> None:
    """A round in which nobody answers leaves finite parameters."""
    state, clients, _ = subject.round(COHORT[:0])
    for leaf in jax.tree.leaves((state, clients)):
        assert np.isfinite(_as_numbers(leaf)).all(), "a round without clients gives NaN"


def learns(subject: Subject) -> None:
    """The observed loss falls over ten rounds of everyone."""
    state, clients, fixed = subject.start
    everyone = pad_cohort(np.arange(subject.data.num_clients), subject.data.num_clients)
    losses = []
    for _ in range(10):
        state, clients, info = subject.step(state, clients, everyone, fixed)
        losses += [info["loss"].mean()] if "loss" in info else []
    if not losses:
        raise NotApplicable("no client observes a loss: info has no Stat named 'loss'")
    assert losses[-1] < 0.95 * losses[0], f"the loss does not fall: {losses}"


CHECKS: dict[str, Callable[[Subject], None]] = {
    check.__name__: check
    for check in (
        keeps_its_trees,
        keeps_private_at_home,
        is_traced_once_and_resumes_exactly,
        ignores_order,
        ignores_padding,
        ignores_chunks,
        ignores_devices,
        ignores_the_executor,
        equals_debug,
        equals_whole_table,
        survives_a_bad_client,
        survives_an_empty_cohort,
        learns,
    )
}
"""Every law that an algorithm is put to, by name."""


@dataclass(frozen=True)
class Outcome:
    """What became of one law.

    Attributes:
      law: its name in `CHECKS`.
      verdict: `passed`, `failed` or `not applicable`.
      why: of the last two.
    """

    law: str
    verdict: str
    why: str = ""


def put_to_laws(factory: Callable[..., FederatedAlgorithm], **options: Any) -> Iterator[Outcome]:
    """Puts an algorithm to every check, one after another; nothing is raised.

    Args:
      factory: as of `check_algorithm`.
      **options: its keyword arguments.

    Yields:
      What became of each law, as soon as it is known.
    """
    subject = Subject(factory, options, toy_data_for(factory))
    for law, check in CHECKS.items():
        try:
            check(subject)
        except NotApplicable as reason:
            yield Outcome(law, "not applicable", str(reason))
        except Exception as error:  # noqa: BLE001  whatever an author's code may raise
            is_law = isinstance(error, AssertionError)
            yield Outcome(law, "failed", str(error) if is_law else _in_one_line(error))
        else:
            yield Outcome(law, "passed")


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def check_algorithm(
    factory: Callable[..., FederatedAlgorithm],
    progress: Callable[[Outcome], None] = lambda outcome: None,
    /,
    **options: Any,
) -> list[Outcome]:
    """Puts an algorithm to every check.

    Args:
      factory: `(num_items, **options) -> FederatedAlgorithm`. Where it takes `is_sliced`,
        slices are compared with whole tables; where it takes `data`, it gets the clients',
        and where it takes `num_other`, two domains.
      progress: is told what became of each law, as soon as it is known.
      **options: its keyword arguments.

    Returns:
      What became of each law: a law that has nothing to look at is not applicable.

    Raises:
      AssertionError: a law is broken; the message says which.
      Exception: whatever the algorithm raises.
    """
    subject = Subject(factory, options, toy_data_for(factory))
    outcomes = []
    for law, check in CHECKS.items():
        try:
            check(subject)
        except NotApplicable as reason:
            outcomes.append(Outcome(law, "not applicable", str(reason)))
        else:
            outcomes.append(Outcome(law, "passed"))
        progress(outcomes[-1])
    return outcomes


def check_transform(transform: AggregateTransform, seed: int = 0) -> None:
    """Puts an aggregate transform to its contract.

    Nothing encodes to nothing; what leaves `encode` keeps the bound it states; `decode` of
    a finite total is finite, of an empty one too; states keep their trees.

    Raises:
      AssertionError: the contract is broken; the message says where.
    """
    rng = np.random.default_rng(seed)
    template = Part({"item": jnp.zeros((6, 3))}, {"head": jnp.zeros(4)})
    state, residual = transform.init(template), transform.init_residual(template)
    bound, key = jnp.float32(jnp.inf), jax.random.key(seed)

    def message(scale: float) -> Message:
        update = jax.tree.map(
            lambda leaf: jnp.asarray(scale * rng.normal(size=leaf.shape), jnp.float32), template
        )
        return Message(update, jnp.float32(7), {}, {})

    nothing, _ = transform.encode(key, message(0.0), state, residual, bound)
    sent = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(nothing.update))
    assert sent == 0, "a client without an update sends something"
    stated = float(transform.bound(float("inf"), None))
    for scale in (1e-6, 1.0, 1e6):
        encoded, kept = transform.encode(key, message(scale), state, residual, bound)
        assert _shapes(kept) == _shapes(residual), "encode changes the residual's tree"
        norm = np.sqrt(sum(np.sum(_as_numbers(x) ** 2) for x in jax.tree.leaves(encoded.update)))
        assert norm <= stated * (1 + 1e-5), f"norm {norm:.3g} is above the bound {stated:.3g}"
        if transform.is_stacked:
            encoded = jax.tree.map(lambda leaf: leaf[None], encoded)
        for total in (encoded, jax.tree.map(jnp.zeros_like, encoded)):
            decoded, after = transform.decode(key, total, state, jnp.float32(1))
            assert _shapes(after) == _shapes(state), "decode changes the state's tree"
            for leaf in jax.tree.leaves(decoded.update):
                assert np.isfinite(_as_numbers(leaf)).all(), "decode gives NaN"


def _shapes(tree: PyTree) -> tuple[Any, list[Any]]:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves]
