"""SASRec, against a forward pass in NumPy, event by event."""

import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from fedjax_rec.base import History, Inputs, Part, View, empty, nothing_private
from fedjax_rec.models import sasrec

NUM_ITEMS, DIM, MAX_LENGTH = 11, 4, 5
OPTIONS = {"max_length": MAX_LENGTH, "num_blocks": 2, "num_heads": 2}
MODEL = sasrec(NUM_ITEMS, DIM, **OPTIONS)


def random_view() -> View:
    """Parameters all away from their simple initial values."""
    shared, _ = jax.eval_shape(MODEL.init, jax.random.key(0))
    rng = np.random.default_rng(0)
    shared = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), shared
    )
    return View(shared, nothing_private(), empty(), nothing_private(), empty())


VIEW = random_view()


def history(items: list[int], length: int, padding: int = NUM_ITEMS) -> History:
    padded = jnp.array(items + [padding] * (length - len(items)))
    return History(
        padded, jnp.ones(length), jnp.zeros(length), jnp.int32(len(items)), padded, jnp.int32(0)
    )


SCORE = jax.jit(MODEL.score)


def score(items: list[int], length: int = 6, **inputs: Any) -> NDArray[np.float32]:
    return np.asarray(SCORE(VIEW, Inputs(None, history(items, length), **inputs)))


# ------------------------------------------------------------------------ oracle


def norm(x: Any, parameters: Any) -> NDArray[np.float64]:
    spread = np.sqrt(np.var(x, axis=-1, keepdims=True) + 1e-6)
    return (x - np.mean(x, axis=-1, keepdims=True)) / spread * parameters["scale"] + parameters[
        "bias"
    ]


def attend(q: Any, x: Any, parameters: Any, num_heads: int) -> NDArray[np.float64]:
    query = q @ parameters["query"]["kernel"]
    key, value = (x @ parameters[name]["kernel"] for name in ("key", "value"))
    width = x.shape[1] // num_heads
    output = np.zeros_like(x)
    for event in range(len(x)):
        for head in range(num_heads):
            part = slice(head * width, (head + 1) * width)
            logits = [
                query[event, part] @ key[past, part] / np.sqrt(width) for past in range(event + 1)
            ]
            weights = np.exp(logits) / np.sum(np.exp(logits))
            output[event, part] = weights @ value[: event + 1, part]
    return output


def forward(shared: Part, items: list[int]) -> NDArray[np.float64]:
    """`[t, I]` scores after each of at most MAX_LENGTH events."""
    table, dense = jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float64), (shared.rows["item"], shared.dense)
    )
    x = np.sqrt(DIM) * table[items] + dense["positions"][MAX_LENGTH - len(items) :]
    for number in range(OPTIONS["num_blocks"]):
        block = jax.tree.map(lambda leaf, number=number: leaf[number], dense["blocks"])
        attention = block["attention"]
        q = norm(x, block["LayerNorm_0"])
        first, second = block["inner"], block["outer"]
        z = norm(q + attend(q, x, attention, OPTIONS["num_heads"]), block["LayerNorm_1"])
        hidden = z @ first["kernel"] + first["bias"]
        x = z + np.maximum(hidden, 0) @ second["kernel"] + second["bias"]
    return norm(x, dense["LayerNorm_0"]) @ table.T


def assert_close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------------- scores


@pytest.mark.parametrize("items", [[3], [3, 0, 3], [10, 2, 5, 2, 7]], ids=len)
def test_scores_follow_the_last_event(items: list[int]) -> None:
    assert_close(score(items), forward(VIEW.shared, items)[-1])


def test_some_items_are_scored_alone() -> None:
    ids = jnp.array([4, 4, 0])
    found = MODEL.score(VIEW, Inputs(ids, history([3, 0, 3], 6)))
    assert_close(found, forward(VIEW.shared, [3, 0, 3])[-1, [4, 4, 0]])


def test_at_every_position_a_score_reads_the_events_before_it_alone() -> None:
    items = [10, 2, 5, 2]
    found = score(items, 5, is_every_position=True)
    assert found.shape == (5, NUM_ITEMS)
    assert_close(found[:4], forward(VIEW.shared, items))
    other = score([*items[:2], 3, 6], 5, is_every_position=True)
    np.testing.assert_array_equal(found[:2], other[:2])
    assert np.abs(found[2:4] - other[2:4]).max() > 0.01


def test_the_last_events_of_a_long_history_count() -> None:
    items = [1, 9, 10, 2, 5, 2, 7]
    assert_close(score(items, 8), forward(VIEW.shared, items[-MAX_LENGTH:])[-1])
    np.testing.assert_array_equal(score([8, 8, *items[2:]], 8), score(items, 8))


@pytest.mark.parametrize("is_every_position", [False, True])
def test_padding_changes_nothing(is_every_position: bool) -> None:
    events = 2 if is_every_position else 1

    def found(length: int, padding: int) -> NDArray[np.float32]:
        inputs = Inputs(None, history([6, 1], length, padding), is_every_position=is_every_position)
        return np.atleast_2d(SCORE(VIEW, inputs))[:events]

    expected = found(2, NUM_ITEMS)
    for length, padding in ((5, NUM_ITEMS), (5, 3)):
        np.testing.assert_allclose(found(length, padding), expected, rtol=1e-5, atol=1e-5)


def test_a_slice_of_the_table_gives_the_scores_of_its_rows() -> None:
    rows = jnp.array([10, 3, 0, 7])
    sliced = VIEW._replace(
        shared=VIEW.shared._replace(rows={"item": VIEW.shared.rows["item"][rows]})
    )
    found = MODEL.score(sliced, Inputs(None, history([1, 2, 1], 6, padding=4)))
    assert_close(found, forward(VIEW.shared, [3, 0, 3])[-1, [10, 3, 0, 7]])


def test_each_position_may_have_candidates_of_its_own() -> None:
    ids = jnp.array([[4, 0], [1, 1], [9, 2], [0, 0], [0, 0]])
    inputs = Inputs(ids, history([3, 0, 3], 5), is_every_position=True)
    found = MODEL.score(VIEW, inputs)
    expected = np.take_along_axis(forward(VIEW.shared, [3, 0, 3]), np.asarray(ids[:3]), axis=1)
    assert found.shape == (5, 2)
    assert_close(found[:3], expected)


def test_scores_are_the_product_of_the_factors() -> None:
    assert MODEL.factors is not None
    inputs = Inputs(jnp.array([4, 8]), history([3, 0, 3], 5), is_every_position=True)
    queries, keys = MODEL.factors(VIEW, inputs)
    np.testing.assert_array_equal(queries @ keys.T, MODEL.score(VIEW, inputs))


def test_dropout_needs_a_key_and_keeps_the_mean() -> None:
    model = sasrec(NUM_ITEMS, DIM, **OPTIONS, dropout=0.3)
    plain = MODEL.score(VIEW, Inputs(None, history([3, 0, 3], 5)))
    np.testing.assert_array_equal(model.score(VIEW, Inputs(None, history([3, 0, 3], 5))), plain)

    @jax.jit
    def dropped(key: jax.Array) -> jax.Array:
        return model.score(VIEW, Inputs(None, history([3, 0, 3], 5), key=key))

    first, again, other = (np.asarray(dropped(jax.random.key(seed))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    assert np.abs(first - plain).max() > 0.1


@pytest.mark.parametrize(
    ("option", "tolerance"), [({"is_rematerialised": True}, 1e-5), ({"precision": "bfloat16"}, 0.2)]
)
def test_memory_and_precision_change_little(option: dict[str, Any], tolerance: float) -> None:
    model = sasrec(NUM_ITEMS, DIM, **OPTIONS, **option)
    shared, _ = model.init(jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(shared)} == {jnp.dtype("float32")}
    inputs = Inputs(None, history([3, 0, 3], 5), is_every_position=True)

    def asked(model: Any) -> Any:
        def summed(shared: Part) -> jax.Array:
            return (model.score(VIEW._replace(shared=shared), inputs)[:3] ** 2).mean()

        return jax.jit(jax.value_and_grad(summed))(VIEW.shared)

    (value, slope), (plain, plain_slope) = asked(model), asked(MODEL)
    assert abs(value / plain - 1) < tolerance
    norm = np.sqrt(sum(float((x**2).sum()) for x in jax.tree.leaves(plain_slope)))
    gap = jax.tree.map(lambda x, y: float(((x - y) ** 2).sum()), slope, plain_slope)
    assert np.sqrt(sum(jax.tree.leaves(gap))) < tolerance * norm
    assert (value == plain) == (tolerance < 1e-4)


def test_the_gradient_of_real_positions_does_not_reach_padding() -> None:
    def summed(shared: Part, events: History) -> jax.Array:
        inputs = Inputs(jnp.array([0]), events, is_every_position=True)
        return MODEL.score(VIEW._replace(shared=shared), inputs)[:2].sum()

    gradient = jax.jit(jax.grad(summed))
    padded = gradient(VIEW.shared, history([6, 1], 5, padding=3))
    assert np.flatnonzero(np.abs(padded.rows["item"]).sum(axis=1)).tolist() == [0, 1, 6]
    for one, other in zip(
        jax.tree.leaves(padded),
        jax.tree.leaves(gradient(VIEW.shared, history([6, 1], 2))),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_client_without_events_has_finite_scores() -> None:
    assert np.isfinite(score([])).all()


# ---------------------------------------------------------------------- declarations


def test_everything_is_shared_and_items_are_rows() -> None:
    shared, frozen = jax.eval_shape(MODEL.init, jax.random.key(0))
    assert dict(MODEL.num_rows) == {"item": NUM_ITEMS}
    assert shared.rows["item"].shape == (NUM_ITEMS, DIM)
    assert shared.dense["positions"].shape == (MAX_LENGTH, DIM)
    assert jax.tree.leaves((frozen, MODEL.init_private(jax.random.key(0)))) == []
    assert MODEL.needs_history
    assert not MODEL.is_row_wise


def test_flax_is_loaded_by_the_models_that_use_it_alone() -> None:
    code = (
        "import sys, fedjax_rec.models as m; m.ncf(5), m.hstu(5); assert 'flax' not in sys.modules"
    )
    code += "; m.sasrec(5); assert 'flax' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_it_cannot_score_is_refused() -> None:
    with pytest.raises(ValueError, match="reads a history"):
        MODEL.score(VIEW, Inputs(None))
    with pytest.raises(ValueError, match="6 events is longer than the model's max_length = 5"):
        MODEL.score(VIEW, Inputs(None, history([1], 6), is_every_position=True))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"dim": 0}, "dim must be at least 1"),
        ({"max_length": 0}, "max_length must be at least 1"),
        ({"num_blocks": 0}, "num_blocks must be at least 1"),
        ({"num_heads": 0}, "num_heads must be at least 1"),
        ({"num_heads": 3}, "dim must be a multiple of num_heads = 3, got 4"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ({"init_stddev": float("inf")}, "init_stddev must be at least 0 and finite"),
    ],
    ids=str,
)
def test_an_argument_out_of_range_is_refused(argument: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        sasrec(NUM_ITEMS, **{"dim": DIM} | argument)
