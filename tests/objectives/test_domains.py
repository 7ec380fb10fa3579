"""Examples of two domains: which come when, from which catalogue, in which rows."""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from fedjax_rec.base import History, Sampler
from fedjax_rec.objectives import two_domains

NUM_TARGET, NUM_OTHER, EPOCHS, BATCH, NEGATIVES, WEIGHT = 40, 50, 2, 4, 2, 0.7
NUM_ITEMS = NUM_TARGET + NUM_OTHER
TARGET = [[5, 17, 5, 33, 2], [17], [20, 21, 22], [], []]  # client 0 meets item 5 twice
OTHER = [[7], [9, 1, 49, 30, 12, 9], [], [8, 5, 3], []]
LENGTH = 7


def histories(length: int = LENGTH) -> History:
    """All clients', `[N, ...]`: the target's items, then the other domain's behind them."""

    def padded(lists: list[list[int]]) -> Any:
        return jnp.array([own + [NUM_ITEMS] * (length - len(own)) for own in lists])

    items = [
        near + [NUM_TARGET + item for item in far] for near, far in zip(TARGET, OTHER, strict=True)
    ]
    distinct = [sorted(set(own)) for own in items]
    sizes, nothing = (jnp.array([len(own) for own in lists]) for lists in (items, distinct))
    zeros = jnp.zeros((len(items), length))
    return History(padded(items), zeros, zeros, sizes, padded(distinct), nothing)


class Drawn(NamedTuple):
    """A client's batches of a round; ids are of the catalogue, of real examples alone."""

    ids: list[NDArray[np.int32]]
    label: list[NDArray[np.float32]]
    scale: list[float]


@cache
def rounds(is_sliced: bool) -> tuple[Any, list[Drawn]]:
    """Every client's rows (`None`: all) and batches."""
    samplers = [
        Sampler(size, NEGATIVES, EPOCHS, BATCH, is_sliced=is_sliced)
        for size in (NUM_TARGET, NUM_OTHER)
    ]
    objective = two_domains(*samplers, other_weight=WEIGHT)
    most = 2 * EPOCHS * -(-LENGTH * (1 + NEGATIVES) // BATCH)

    @jax.jit
    @jax.vmap
    def draw(key: Any, history: History) -> Any:
        rows, plan = objective.prepare(key, history)
        assert objective.batch is not None
        examples = jax.vmap(objective.batch, (None, 0))(plan, jnp.arange(most))
        ids = examples.inputs.ids if rows["item"] is None else rows["item"][examples.inputs.ids]
        found = (ids, examples.label, examples.is_valid, examples.scale)
        return rows["item"], objective.num_steps(plan), found

    keys = jax.random.split(jax.random.key(4), len(TARGET))
    rows, num_steps, arrays = jax.device_get(draw(keys, histories()))
    drawn = []
    for client, count in enumerate(num_steps):
        ids, label, ok, scale = (array[client, :count] for array in arrays)
        real = [np.flatnonzero(step) for step in ok]
        drawn.append(
            Drawn(
                [own[at] for own, at in zip(ids, real, strict=True)],
                [own[at] for own, at in zip(label, real, strict=True)],
                scale.tolist(),
            )
        )
    return rows, drawn


@pytest.mark.parametrize("is_sliced", [True, False])
@pytest.mark.parametrize("client", range(len(TARGET)))
def test_each_epoch_goes_through_the_other_domain_and_then_the_target(
    client: int, is_sliced: bool
) -> None:
    drawn = rounds(is_sliced)[1][client]
    is_other = [ids >= NUM_TARGET for ids in drawn.ids]
    assert all(own.all() or not own.any() for own in is_other), "a batch holds one domain"

    def num_batches(items: list[int]) -> int:
        return -(-len(items) * (1 + NEGATIVES) // BATCH)

    epoch = [True] * num_batches(OTHER[client]) + [False] * num_batches(TARGET[client])
    assert [bool(own.any()) for own in is_other] == EPOCHS * epoch
    assert drawn.scale == pytest.approx([WEIGHT if other else 1 for other in EPOCHS * epoch])
    for number in range(EPOCHS if epoch else 0):
        steps = slice(number * len(epoch), (number + 1) * len(epoch))
        ids, label = np.concatenate(drawn.ids[steps]), np.concatenate(drawn.label[steps])
        positives = TARGET[client] + [NUM_TARGET + item for item in OTHER[client]]
        assert sorted(ids[label == 1]) == sorted(positives)
        for first, size, items in (
            (0, NUM_TARGET, TARGET[client]),
            (NUM_TARGET, NUM_OTHER, OTHER[client]),
        ):
            negatives = ids[(label == 0) & (ids >= first) & (ids < first + size)] - first
            assert len(negatives) == NEGATIVES * len(items)
            assert not set(negatives) & set(items)


def test_rows_are_distinct_and_padding_lies_past_both_catalogues() -> None:
    for ids in rounds(is_sliced=True)[0]:
        real = ids[ids < NUM_ITEMS]
        assert len(set(real)) == len(real)
        assert (ids[ids >= NUM_ITEMS] == NUM_ITEMS).all()
    assert rounds(is_sliced=False)[0] is None


def test_negatives_cover_the_whole_catalogue_of_their_domain() -> None:
    objective = two_domains(Sampler(NUM_TARGET, NEGATIVES), Sampler(NUM_OTHER, NEGATIVES))
    history = jax.tree.map(lambda leaf: leaf[0], histories())
    keys = jax.random.split(jax.random.key(0), 300)
    rows = jax.jit(jax.vmap(lambda key: objective.prepare(key, history)[0]["item"]))(keys)
    assert set(np.unique(rows)) >= set(range(NUM_ITEMS))


def test_the_two_domains_are_drawn_apart() -> None:
    """With catalogues and histories alike, the places of their negatives still differ."""
    objective = two_domains(Sampler(30, 1), Sampler(30, 1))
    items = jnp.array([3, 33, 60, 60])
    history = History(items, items, items, jnp.int32(2), items, jnp.int32(2))
    keys = jax.random.split(jax.random.key(0), 200)

    @jax.jit
    @jax.vmap
    def first_negatives(key: Any) -> Any:
        rows, _ = objective.prepare(key, history)
        assert rows["item"] is not None
        half = rows["item"].shape[0] // 2
        excluded = history.excluded.shape[0]
        return rows["item"][excluded], rows["item"][half + excluded] - 30

    near, far = first_negatives(keys)
    assert np.mean(np.asarray(near == far)) < 0.15  # one in 29 by chance


def test_a_catalogue_that_fits_a_slice_is_taken_whole_and_the_other_is_cut() -> None:
    samplers = [Sampler(size, NEGATIVES, EPOCHS, BATCH) for size in (NUM_TARGET, NUM_OTHER)]
    history = jax.tree.map(lambda leaf: leaf[0], histories(9))  # 9 + 36 rows: between both
    rows, plan = two_domains(*samplers).prepare(jax.random.key(0), history)
    assert rows["item"] is not None
    assert rows["item"][:NUM_TARGET].tolist() == list(range(NUM_TARGET))
    assert int(plan.first_other) == NUM_TARGET
