"""The laws: each looks at one property of an algorithm and says what is broken."""

import inspect
import itertools
import unittest
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_rec.base import (
    ClientOutput,
    Key,
    Private,
    Task,
    View,
)
from fedjax_rec.simulation import Execution, build, pad_cohort
from fedjax_rec.simulation.streamable import refusal
from fedjax_rec.testing.subject import (
    CHUNKED,
    COHORT,
    QUICK,
    Subject,
    as_numbers,
    shapes_of,
)


class NotApplicable(unittest.SkipTest):
    """A law that has nothing to look at in this algorithm; the message says why."""


def keeps_its_trees(subject: Subject) -> None:
    """A round changes no shape, no dtype and no structure of state and store."""
    for before, after in zip(subject.start[:2], subject.round()[:2], strict=True):
        assert shapes_of(before) == shapes_of(after), "a round changed a tree, a shape or a dtype"


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
        same = np.array_equal(as_numbers(one), as_numbers(two), equal_nan=True)
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


def _can_be_nan(leaf: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(leaf), jnp.inexact))


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
        assert np.isfinite(as_numbers(leaf)).all(), "a round without clients gives NaN"


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
