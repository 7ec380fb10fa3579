"""The next item at every position: which pairs are asked, and the softmax over all items."""

from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.base import History
from fedjax_rec.objectives import next_item

NUM_ITEMS = 20


def history(items: list[int], length: int) -> History:
    padding = [NUM_ITEMS] * (length - len(items))
    padded = jnp.array(items + padding)
    times = jnp.arange(length, dtype=jnp.int32)
    return History(
        padded, padded / 2, times, jnp.int32(len(items)), jnp.sort(padded), jnp.int32(len(items))
    )


def examples(items: list[int], length: int, max_length: int) -> tuple[int, Any]:
    objective = next_item(NUM_ITEMS, max_length, local_epochs=3)
    assert objective.batch is not None
    row_ids, plan = objective.prepare(jax.random.key(0), history(items, length))
    assert row_ids == {"item": None}
    return int(objective.num_steps(plan)), objective.batch(plan, jnp.int32(1))


@pytest.mark.parametrize("length", [5, 8])
@pytest.mark.parametrize("max_length", [1, 3, 4, 5, 20])
@pytest.mark.parametrize("items", [[4, 9, 9, 2, 17], [4, 9], [4], []], ids=len)
def test_pairs_are_the_last_of_the_sequence(items: list[int], max_length: int, length: int) -> None:
    num_steps, batch = examples(items, length, max_length)
    pairs = list(pairwise(items))[-max_length:]
    assert num_steps == (3 if pairs else 0)
    inputs = batch.inputs.history
    width = min(length, max_length)
    read = inputs.items.tolist()
    assert read == [item for item, _ in pairs] + [NUM_ITEMS] * (width - len(pairs))
    assert batch.label[: len(pairs)].tolist() == [item for _, item in pairs]
    assert batch.is_valid.tolist() == [True] * len(pairs) + [False] * (width - len(pairs))
    assert inputs.num_events == len(pairs)
    first = len(items) - 1 - len(pairs)
    assert inputs.times[: len(pairs)].tolist() == list(range(first, first + len(pairs)))
    assert inputs.values[: len(pairs)].tolist() == [item / 2 for item, _ in pairs]
    assert (np.asarray(batch.label) < NUM_ITEMS).all()
    assert batch.inputs.is_every_position
    assert batch.inputs.ids is None


def test_the_loss_is_cross_entropy_over_all_items() -> None:
    _, batch = examples([4, 9, 9, 2], 6, 5)
    scores = np.random.default_rng(0).normal(size=(5, NUM_ITEMS))
    loss, weight = next_item(NUM_ITEMS).loss(jnp.asarray(scores, jnp.float32), batch)
    asked = zip(scores[:3], [9, 9, 2], strict=True)
    expected = [np.log(np.sum(np.exp(row))) - row[item] for row, item in asked]
    np.testing.assert_allclose(loss[:3], expected, rtol=1e-5)
    assert weight.tolist() == [1, 1, 1, 0, 0]


@pytest.mark.parametrize("name", ["num_items", "max_length", "local_epochs"])
def test_a_number_below_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be at least 1, got 0"):
        next_item(**{"num_items": 5} | {name: 0})
