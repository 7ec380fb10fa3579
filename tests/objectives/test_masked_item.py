"""Hidden items of a sequence: which are hidden, and when."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.base import History
from fedjax_rec.objectives import masked_item

NUM_ITEMS = 20
ITEMS = [4, 9, 9, 2, 17]


def history(items: list[int], length: int = 8) -> History:
    padded = jnp.array(items + [NUM_ITEMS] * (length - len(items)))
    times = jnp.arange(length, dtype=jnp.int32)
    return History(padded, padded / 2, times, jnp.int32(len(items)), padded, jnp.int32(len(items)))


def hidden(probability: float, seed: int, step: int = 0, max_length: int = 6) -> list[int]:
    objective = masked_item(NUM_ITEMS, max_length, mask_probability=probability)
    assert objective.batch is not None
    _, plan = objective.prepare(jax.random.key(seed), history(ITEMS))
    examples = objective.batch(plan, jnp.int32(step))
    places = np.flatnonzero(examples.inputs.is_hidden).tolist()
    assert examples.is_valid.tolist() == examples.inputs.is_hidden.tolist()
    read = ITEMS[-max_length:]
    assert np.asarray(examples.label)[places].tolist() == [read[place] for place in places]
    assert examples.inputs.history.items[: len(read)].tolist() == read
    return places


def test_events_are_hidden_with_the_probability_and_padding_never() -> None:
    drawn = [hidden(0.3, seed) for seed in range(60)]
    counts = np.bincount(np.concatenate(drawn), minlength=8)
    assert (counts[5:] == 0).all()
    share = counts[:4].sum() / (60 * 4)
    assert abs(share - 0.3) < 4 * np.sqrt(0.21 / 240)


def test_something_is_hidden_always() -> None:
    assert all(hidden(1e-6, seed) == [4] for seed in range(5))
    assert hidden(1.0, 0) == [0, 1, 2, 3, 4]
    assert hidden(1.0, 0, max_length=3) == [0, 1, 2]


def test_each_step_hides_others() -> None:
    assert len({tuple(hidden(0.5, 0, step)) for step in range(8)}) > 3


@pytest.mark.parametrize("items", [[], [3]])
def test_one_event_is_enough(items: list[int]) -> None:
    objective = masked_item(NUM_ITEMS, 6, local_epochs=2)
    _, plan = objective.prepare(jax.random.key(0), history(items))
    assert objective.num_steps(plan) == 2 * len(items)


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(ValueError, match="mask_probability must be above 0 and at most 1, got 0"):
        masked_item(NUM_ITEMS, mask_probability=0)
    with pytest.raises(ValueError, match="items_at_once must be at least 0"):
        masked_item(NUM_ITEMS, items_at_once=-1)
