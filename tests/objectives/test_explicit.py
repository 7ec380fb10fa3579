"""Ratings: every event once an epoch, with its value, on rows without repeats."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.base import History
from fedjax_rec.objectives import binary_cross_entropy, ratings, squared_error

NUM_ITEMS, EPOCHS, BATCH = 60, 3, 4
EVENTS = [(9, 4.0), (2, 1.0), (9, 5.0), (41, 2.0), (0, 3.0), (2, 1.0)]
ITEMS = jnp.array([item for item, _ in EVENTS] + [NUM_ITEMS] * 3)
# item 17 is excluded too, as a held-out item may be
HISTORY = History(
    items=ITEMS,
    values=jnp.array([value for _, value in EVENTS] + [0.0] * 3),
    times=jnp.zeros(9, jnp.int32),
    num_events=jnp.int32(len(EVENTS)),
    excluded=jnp.array([0, 2, 9, 17, 41, NUM_ITEMS]),
    num_excluded=jnp.int32(5),
)
EMPTY = HISTORY._replace(
    items=jnp.full(9, NUM_ITEMS), num_events=jnp.int32(0), excluded=jnp.full(6, NUM_ITEMS)
)


def draw(
    seed: int = 0, history: History = HISTORY, **options: bool
) -> tuple[np.ndarray | None, list[list[tuple[int, float]]]]:
    """The rows, and what each step rates: item and value."""
    objective = ratings(NUM_ITEMS, local_epochs=EPOCHS, batch_size=BATCH, **options)
    assert objective.batch is not None
    row_ids, plan = objective.prepare(jax.random.key(seed), history)
    num_steps = int(objective.num_steps(plan))
    batches = jax.vmap(objective.batch, (None, 0))(plan, jnp.arange(max(num_steps, 1)))
    rows = row_ids["item"]
    rows = None if rows is None else np.asarray(rows)
    rated = []
    for ids, label, is_valid in zip(
        *map(np.asarray, (batches.inputs.ids, batches.label, batches.is_valid)), strict=True
    ):
        assert ids.shape == (BATCH,)
        items = ids if rows is None else rows[ids]
        rated.append(list(zip(items[is_valid].tolist(), label[is_valid].tolist(), strict=True)))
    return rows, rated[:num_steps]


@pytest.mark.parametrize("is_sliced", [True, False])
def test_every_event_is_rated_once_an_epoch(is_sliced: bool) -> None:
    rows, rated = draw(is_sliced=is_sliced)
    assert (rows is not None) == is_sliced
    assert [len(step) for step in rated] == [4, 2] * EPOCHS
    for epoch in range(EPOCHS):
        assert Counter(rated[2 * epoch] + rated[2 * epoch + 1]) == Counter(EVENTS)


def test_rows_do_not_repeat_though_items_do() -> None:
    rows, _ = draw()
    assert rows is not None
    real = rows[rows < NUM_ITEMS]
    assert sorted(set(real.tolist())) == real.tolist()


def test_the_order_is_drawn_anew_for_each_epoch_and_key() -> None:
    _, rated = draw()
    epochs = [tuple(rated[2 * epoch] + rated[2 * epoch + 1]) for epoch in range(EPOCHS)]
    assert len(set(epochs)) == EPOCHS
    assert draw(seed=0)[1] == rated
    assert draw(seed=1)[1] != rated


def test_every_event_is_first_as_often_as_any_other() -> None:
    objective = ratings(NUM_ITEMS, batch_size=1)
    prepare = jax.jit(jax.vmap(lambda key: objective.prepare(key, HISTORY)[1].order[0, 0]))
    first = np.bincount(prepare(jax.random.split(jax.random.key(0), 6000)), minlength=9)
    assert first[6:].tolist() == [0, 0, 0]
    assert np.sum((first[:6] - 1000) ** 2 / 1000) < 20.5  # chi2 of 5, p = 0.001


def test_a_client_without_events_takes_no_step() -> None:
    assert draw(history=EMPTY)[1] == []


def test_a_catalogue_as_small_as_the_slice_is_taken_whole() -> None:
    row_ids, plan = ratings(6).prepare(jax.random.key(0), HISTORY)
    assert row_ids == {"item": None}
    np.testing.assert_array_equal(plan.ids, HISTORY.items)


def test_the_loss_is_squared_error_unless_another_is_given() -> None:
    assert ratings(NUM_ITEMS).loss is squared_error
    given = ratings(NUM_ITEMS, binary_cross_entropy)
    assert given.loss is binary_cross_entropy
    assert given.sampler is None


@pytest.mark.parametrize("name", ["num_items", "local_epochs", "batch_size"])
def test_a_number_below_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be at least 1, got 0"):
        ratings(**{"num_items": 5} | {name: 0})
