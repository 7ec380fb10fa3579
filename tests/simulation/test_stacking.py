"""Messages one by one: a rule that is no sum, on slices, chunks and devices.

The oracle trains each client in a round of its own and applies the rule in NumPy.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.algorithms import fedmf
from fedjax_rec.base import (
    AggregateTransform,
    Cohort,
    FederatedAlgorithm,
    Message,
    Part,
    ServerState,
    ServerUpdate,
)
from fedjax_rec.simulation import Execution, pad_cohort
from fedjax_rec.testing import COHORT, Subject, check_transform, toy_data
from fedjax_rec.testing.laws import (
    equals_whole_table,
    survives_a_bad_client,
    survives_an_empty_cohort,
)
from fedjax_rec.testing.subject import CHUNKED
from fedjax_rec.transforms import chain, clip_by_norm
from fedjax_rec.tree import touched

DATA = toy_data()
NEGATIVES = 40  # so that most rows are changed by several clients
OPTIONS = {"dim": 3, "num_negatives": NEGATIVES, "batch_size": 512, "local_epochs": 1}


def median() -> AggregateTransform:
    """The coordinate-wise median over who took part."""

    def encode(key: Any, message: Message, state: Any, residual: Any, bound: Any) -> Any:
        return message._replace(weight=jnp.ones_like(message.weight)), residual

    def decode(key: Any, stack: Message, state: Any, bound: Any) -> Any:
        def middle(leaf: Any) -> Any:
            is_in = (stack.weight > 0).reshape(-1, *[1] * (leaf.ndim - 1))
            return jnp.nan_to_num(jnp.nanmedian(jnp.where(is_in, leaf, jnp.nan), axis=0))

        return stack._replace(update=jax.tree.map(middle, stack.update)), state

    return AggregateTransform(encode=encode, decode=decode, is_stacked=True)


def fed_median(num_items: int, is_sliced: bool = True) -> FederatedAlgorithm:
    return fedmf(num_items, aggregate=median(), is_sliced=is_sliced, **OPTIONS)


@cache
def subject() -> Subject:
    return Subject(fed_median, {}, DATA)


@cache
def changes() -> Any:
    """`[C, I, D]` what each client of the cohort changes."""
    plain = Subject(fedmf, OPTIONS, DATA)
    before = plain.start[0].shared.rows["item"]
    alone = [plain.round(np.array([client]))[0].shared.rows["item"] for client in COHORT]
    return np.stack([np.asarray(table - before, np.float64) for table in alone])


def test_a_median_equals_that_of_clients_who_train_alone() -> None:
    expected = np.median(changes(), axis=0)
    assert (expected != 0).mean() > 0.3
    state, *_ = subject().round()
    found = np.asarray(state.shared.rows["item"] - subject().start[0].shared.rows["item"])
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    "check", [equals_whole_table, survives_a_bad_client, survives_an_empty_cohort]
)
def test_a_median_on_slices_keeps_the_law(check: Callable[[Subject], None]) -> None:
    check(subject())


def test_a_transform_of_stacks_keeps_its_contract() -> None:
    check_transform(median())


# ---------------------------------------------------------------------- the stack itself


def keeping(aggregate: AggregateTransform, capacity: int) -> FederatedAlgorithm:
    """A server that keeps what it is given and does nothing."""

    def keep(state: ServerState, total: Message, cohort: Cohort) -> ServerState:
        return state._replace(extra=Part({}, tuple(total)))

    plain = fedmf(DATA.num_items, **OPTIONS)
    shape = (capacity, DATA.num_items, 3)
    nothing = jnp.zeros(capacity)
    first = Message(
        Part({"item": jnp.zeros(shape)}, ()),
        nothing,
        {"item": jnp.zeros(shape[:2])},
        {"a": nothing},
    )
    return replace(
        plain,
        aggregate=chain(aggregate),
        server_update=ServerUpdate(lambda shared: (), keep),
        init_extra=lambda key, shared: Part({}, tuple(first)),
    )


def describe() -> AggregateTransform:
    """Says of a client which rows it changed and how much in all."""

    def encode(key: Any, message: Message, state: Any, residual: Any, bound: Any) -> Any:
        rows = message.update.rows["item"]
        row_weight = {"item": touched(rows).astype(jnp.float32)}
        stats = {"a": jnp.sum(jnp.abs(rows))}
        return message._replace(row_weight=row_weight, stats=stats), residual

    return AggregateTransform(encode=encode, is_stacked=True)


@cache
def stacked(
    ids: tuple[int, ...] = tuple(COHORT),
    execution: Execution = CHUNKED,
    clip_norm: float | None = None,
) -> Message:
    links = [clip_by_norm(clip_norm)] if clip_norm else []
    algorithm = keeping(chain(*links, describe()), DATA.num_clients)
    kept = Subject(lambda num_items: algorithm, {}, DATA)
    run = kept.program(execution=execution)(pad_cohort(np.array(ids), DATA.num_clients))
    return Message(*run[0].extra.dense)


def test_everything_a_client_sends_lies_at_its_place_in_the_cohort() -> None:
    num_in = len(COHORT)
    update, weight, row_weight, stats = jax.tree.map(np.asarray, stacked())
    np.testing.assert_allclose(update.rows["item"][:num_in], changes(), atol=1e-6)
    sizes = np.bincount(DATA.split.train.users, minlength=DATA.num_clients)
    np.testing.assert_array_equal(weight[:num_in], (1 + NEGATIVES) * sizes[COHORT])
    np.testing.assert_array_equal(row_weight["item"][:num_in], (changes() != 0).any(axis=2))
    np.testing.assert_allclose(stats["a"][:num_in], np.abs(changes()).sum(axis=(1, 2)), rtol=1e-4)
    for leaf in jax.tree.leaves((update, weight, row_weight, stats)):
        assert not leaf[num_in:].any(), "there is something where nobody is"


def test_the_stack_follows_the_order_in_which_the_cohort_came() -> None:
    forth, back = stacked(), stacked(tuple(COHORT[::-1]))
    for one, other in zip(jax.tree.leaves(forth), jax.tree.leaves(back), strict=True):
        np.testing.assert_array_equal(one[: len(COHORT)], other[: len(COHORT)][::-1])


@pytest.mark.parametrize(("chunk_size", "num_devices"), [(1, 1), (2, 3)])
def test_chunks_and_devices_fill_the_same_stack(chunk_size: int, num_devices: int) -> None:
    if jax.device_count() < num_devices:
        pytest.skip("needs several devices")
    other = stacked(execution=Execution(chunk_size=chunk_size, num_devices=num_devices))
    for left, right in zip(*map(jax.tree.leaves, (stacked(), other)), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)


def test_a_clip_in_front_bounds_every_message() -> None:
    rows = np.asarray(stacked(clip_norm=0.5).update.rows["item"])
    norms = np.linalg.norm(rows.reshape(len(rows), -1), axis=1)
    free = np.linalg.norm(changes().reshape(len(COHORT), -1), axis=1)
    np.testing.assert_allclose(norms[: len(COHORT)], np.minimum(free, 0.5), rtol=1e-5)
    assert (free > 0.5).any()


def test_stacks_are_not_streamed() -> None:
    streaming = replace(CHUNKED, executor="streaming")
    with pytest.raises(ValueError, match="aggregate does more than scale updates"):
        subject().program(execution=streaming)(pad_cohort(COHORT, DATA.num_clients))
