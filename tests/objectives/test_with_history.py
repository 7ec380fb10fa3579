"""Examples that show the model the client's events, as rows of its view."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.base import History
from fedjax_rec.objectives import Sampler, binary_cross_entropy, ratings, sampled, with_history

NUM_ITEMS = 60
EVENTS = [9, 2, 9, 41]  # item 9 recurs
PADDED = jnp.array([*EVENTS, NUM_ITEMS, NUM_ITEMS])


def history(excluded):
    """Other items than those of the events may be excluded, and be as many as there is room."""
    return History(
        PADDED,
        jnp.ones(6),
        jnp.arange(6),
        jnp.int32(len(EVENTS)),
        jnp.array(excluded),
        jnp.int32(sum(item < NUM_ITEMS for item in excluded)),
    )


@pytest.mark.parametrize("is_sliced", [True, False])
@pytest.mark.parametrize(
    "excluded",
    [[2, 9, 41, NUM_ITEMS, NUM_ITEMS], [2, 9, 17, 41], [2, 9, 41]],
    ids=["padded", "held-out", "full"],
)
def test_its_items_are_rows_of_the_view_and_padding_is_none(excluded, is_sliced):
    sampler = Sampler(NUM_ITEMS, num_negatives=2, batch_size=6, is_sliced=is_sliced)
    plain = sampled(sampler, binary_cross_entropy)
    objective = with_history(plain)
    rows, plan = objective.prepare(jax.random.key(1), history(excluded))
    seen = objective.batch(plan, jnp.int32(1)).inputs.history
    view = np.arange(NUM_ITEMS) if rows["item"] is None else np.asarray(rows["item"])
    assert (rows["item"] is None) is not is_sliced
    assert view[np.asarray(seen.items[: len(EVENTS)])].tolist() == EVENTS
    assert (np.asarray(seen.items[len(EVENTS) :]) >= len(view)).all()
    assert int(seen.num_events) == len(EVENTS)


def test_examples_are_those_of_the_objective_it_is_made_of():
    sampler = Sampler(NUM_ITEMS, num_negatives=2, batch_size=5)
    plain = sampled(sampler, binary_cross_entropy)
    objective = with_history(plain)
    assert objective.sampler is sampler
    (_, one), (_, other) = (
        each.prepare(jax.random.key(1), history([2, 9, 41])) for each in (plain, objective)
    )
    assert int(plain.num_steps(one)) == int(objective.num_steps(other)) == 3
    for step in range(3):
        left, right = plain.batch(one, jnp.int32(step)), objective.batch(other, jnp.int32(step))
        np.testing.assert_array_equal(left.inputs.ids, right.inputs.ids)
        np.testing.assert_array_equal(left.label, right.label)
        np.testing.assert_array_equal(left.is_valid, right.is_valid)


def test_an_objective_without_sampled_examples_is_refused():
    with pytest.raises(ValueError, match="needs a sampled objective"):
        with_history(ratings(NUM_ITEMS))
