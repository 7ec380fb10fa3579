"""Items of a sequence against sampled ones: which are drawn, and what each loss makes of them."""

from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.base import History
from fedjax_rec.objectives import next_item, sampled_item

NUM_ITEMS = 60
SCORES = np.random.default_rng(0).normal(size=(6, NUM_ITEMS)).astype(np.float32)


def history(items: list[int], length: int = 7) -> History:
    padded = jnp.array(items + [NUM_ITEMS] * (length - len(items)))
    distinct = sorted(set(items))
    excluded = jnp.array(distinct + [NUM_ITEMS] * (length - len(distinct)))
    times = jnp.arange(length, dtype=jnp.int32)
    return History(
        padded, padded / 2, times, jnp.int32(len(items)), excluded, jnp.int32(len(distinct))
    )


ITEMS = [4, 9, 9, 2, 17]


def asked(seed: int = 0, items: list[int] = ITEMS, **options: Any) -> tuple[Any, Any, Any]:
    """The objective, its examples, and the catalogue's items behind their columns."""
    objective = sampled_item(NUM_ITEMS, 6, **{"num_negatives": 8} | options)
    assert objective.batch is not None
    row_ids, plan = objective.prepare(jax.random.key(seed), history(items))
    examples = objective.batch(plan, jnp.int32(0))
    rows = row_ids["item"]
    columns = np.asarray(examples.inputs.ids)
    return objective, examples, columns if rows is None else np.asarray(rows)[columns]


def loss_of(objective: Any, examples: Any, columns: Any) -> Any:
    """Losses where the score of item i at place t is `SCORES[t, i]`."""
    safe = np.minimum(columns, NUM_ITEMS - 1)
    scores = SCORES[:, safe] if safe.ndim == 1 else np.take_along_axis(SCORES, safe, axis=1)
    return objective.loss(jnp.asarray(scores), examples)


@pytest.mark.parametrize("is_sliced", [True, False])
def test_negatives_are_new_to_the_client_and_distinct(is_sliced: bool) -> None:
    for seed in range(20):
        _, examples, columns = asked(seed, is_sliced=is_sliced)
        negatives = columns[np.asarray(examples.is_negative)]
        assert len(negatives) == 8
        assert len(set(negatives.tolist()) | set(ITEMS)) == 8 + len(set(ITEMS))
        assert columns[np.asarray(examples.column[:4])].tolist() == [9, 9, 2, 17]
        assert examples.is_valid.tolist() == [True] * 4 + [False] * 2


@pytest.mark.parametrize("loss", ["softmax", "plain_softmax", "bce", "gbce"])
def test_losses_are_those_of_the_papers(loss: str) -> None:
    objective, examples, columns = asked(loss=loss, calibration=0.5)
    found, weight = loss_of(objective, examples, columns)
    negatives = columns[np.asarray(examples.is_negative)]
    alpha = 8 / (NUM_ITEMS - 1)
    beta = alpha * (0.5 * (1 - 1 / alpha) + 1 / alpha)
    for place, label in enumerate([9, 9, 2, 17]):
        s = SCORES[place].astype(np.float64)
        own = sorted(set(ITEMS))
        expected = {
            "softmax": np.log(np.exp(s[own]).sum() + (56 / 8) * np.exp(s[negatives]).sum())
            - s[label],
            "plain_softmax": np.log(np.exp(s[label]) + np.exp(s[negatives]).sum()) - s[label],
            "bce": np.log1p(np.exp(-s[label])) + np.log1p(np.exp(s[negatives])).sum(),
            "gbce": beta * np.log1p(np.exp(-s[label])) + np.log1p(np.exp(s[negatives])).sum(),
        }[loss]
        np.testing.assert_allclose(found[place], expected, rtol=1e-5)
    assert weight.tolist() == [1, 1, 1, 1, 0, 0]


def test_gbce_without_calibration_is_bce() -> None:
    values = [loss_of(*asked(loss=loss, calibration=0.0))[0].tolist() for loss in ("bce", "gbce")]
    np.testing.assert_allclose(values[0][:4], values[1][:4], rtol=1e-6)


def normaliser(kind: str, num_seeds: int = 3000) -> tuple[float, float]:
    """Mean and its standard error, over draws, of what estimates `sum_i exp(s_i)` at place 1."""
    objective = sampled_item(NUM_ITEMS, 6, num_negatives=8, loss=kind)  # type: ignore[arg-type]

    def one(key: jax.Array) -> jax.Array:
        row_ids, plan = objective.prepare(key, history(ITEMS))
        assert objective.batch is not None
        assert objective.loss is not None
        examples = objective.batch(plan, jnp.int32(0))
        rows = row_ids["item"]
        scores = jnp.asarray(SCORES)[:, jnp.minimum(rows[examples.inputs.ids], NUM_ITEMS - 1)]
        loss, _ = objective.loss(scores, examples)
        return jnp.exp(loss[1] + SCORES[1, 9])

    found = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(5), num_seeds)))
    return float(found.mean()), float(found.std() / np.sqrt(num_seeds))


def test_the_corrected_sum_is_unbiased_and_the_plain_one_is_not() -> None:
    whole = float(np.exp(SCORES[1].astype(np.float64)).sum())
    mean, error = normaliser("softmax")
    assert abs(mean - whole) < 4 * error
    mean, error = normaliser("plain_softmax")
    assert abs(mean - whole) > 40 * error


def test_each_place_may_have_negatives_of_its_own() -> None:
    _, _, columns = asked(loss="bce", is_by_position=True, num_negatives=2)
    assert columns.shape == (6, 3)
    assert columns[:4, 0].tolist() == [9, 9, 2, 17]
    drawn = Counter(columns[:, 1:].ravel().tolist())
    assert max(drawn.values()) == 1
    assert not set(drawn) & set(ITEMS)


def test_negatives_by_place_come_again_where_they_are_used_up() -> None:
    everything = list(range(NUM_ITEMS - 3))
    objective = sampled_item(NUM_ITEMS, 6, num_negatives=4, loss="bce", is_by_position=True)
    row_ids, plan = objective.prepare(jax.random.key(0), history(everything, NUM_ITEMS))
    assert objective.batch is not None
    examples = objective.batch(plan, jnp.int32(0))
    rows = row_ids["item"]
    ids = np.asarray(examples.inputs.ids)
    found = ids if rows is None else np.asarray(rows)[ids]
    assert set(found[:, 1:].ravel().tolist()) <= set(range(NUM_ITEMS - 3, NUM_ITEMS))


def test_hidden_items_may_be_asked_for() -> None:
    _, examples, columns = asked(mask_probability=0.5)
    hidden = np.flatnonzero(examples.inputs.is_hidden)
    assert examples.is_valid.tolist() == examples.inputs.is_hidden.tolist()
    assert columns[np.asarray(examples.column)[hidden]].tolist() == [ITEMS[t] for t in hidden]


def test_the_windows_are_those_of_the_softmax_over_all() -> None:
    whole = next_item(NUM_ITEMS, 6)
    assert whole.batch is not None
    _, plan = whole.prepare(jax.random.key(0), history(ITEMS))
    expected = whole.batch(plan, jnp.int32(0)).inputs.history
    _, examples, _ = asked(is_sliced=False)
    found = examples.inputs.history
    assert found.items[:4].tolist() == expected.items[:4].tolist()
    assert found.times.tolist() == expected.times.tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_negatives": 0}, "num_negatives must be at least 1"),
        ({"loss": "hinge"}, "loss must be one of softmax, plain_softmax, bce, gbce, got 'hinge'"),
        ({"is_by_position": True}, "loss softmax shares its negatives"),
        ({"calibration": 1.5}, "calibration must be from 0 to 1"),
        ({"mask_probability": -0.1}, "mask_probability must be above 0"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        sampled_item(NUM_ITEMS, **options)
