"""GRU4Rec, BERT4Rec and HSTU, each against a forward pass in NumPy, event by event."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from fedjax_rec.base import History, Inputs, Model, Part, View, empty, nothing_private
from fedjax_rec.models import bert4rec, gru4rec, hstu

NUM_ITEMS, DIM, LENGTH = 11, 4, 5
MODELS = {
    "gru4rec": gru4rec(NUM_ITEMS, DIM, max_length=LENGTH, num_layers=2),
    "bert4rec": bert4rec(NUM_ITEMS, DIM, max_length=LENGTH, num_blocks=2, num_heads=2),
    "hstu": hstu(NUM_ITEMS, DIM, max_length=LENGTH, num_blocks=2, num_heads=2, head_dim=3),
}
FACTORIES: dict[str, Any] = {"gru4rec": gru4rec, "bert4rec": bert4rec, "hstu": hstu}
TIMES = np.array([0, 5, 5, 400, 100_000, 100_001])
Floats = NDArray[np.float64]


def random_view(model: Model) -> View:
    """Parameters all away from their simple initial values."""
    shared, _ = jax.eval_shape(model.init, jax.random.key(0))
    rng = np.random.default_rng(0)
    shared = jax.tree.map(
        lambda leaf: jnp.asarray(0.7 * rng.normal(size=leaf.shape), jnp.float32), shared
    )
    return View(shared, nothing_private(), empty(), nothing_private(), empty())


VIEWS = {name: random_view(model) for name, model in MODELS.items()}


def history(items: list[int], length: int) -> History:
    padded = jnp.array(items + [NUM_ITEMS] * (length - len(items)))
    times = jnp.asarray(TIMES[:length] * (np.arange(length) < len(items)), jnp.int32)
    return History(
        padded, jnp.ones(length), times, jnp.int32(len(items)), padded, jnp.int32(len(items))
    )


def in_double(name: str) -> Part:
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), VIEWS[name].shared)


# ------------------------------------------------------------------------ oracles


def sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


def norm(x: Floats, p: Any = None) -> Floats:
    normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return normed if p is None else normed * p["scale"] + p["bias"]


def gelu(x: Floats) -> Floats:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def of_gru4rec(items: list[int]) -> Floats:
    """`[t, I]` scores after each event."""
    shared = in_double("gru4rec")
    x = shared.rows["item"][items]
    for layer in range(2):
        p, state, states = shared.dense[f"GRUCell_{layer}"], np.zeros(DIM), []
        for event in x:
            r = sigmoid(event @ p["ir"]["kernel"] + p["ir"]["bias"] + state @ p["hr"]["kernel"])
            z = sigmoid(event @ p["iz"]["kernel"] + p["iz"]["bias"] + state @ p["hz"]["kernel"])
            new = np.tanh(
                event @ p["in"]["kernel"]
                + p["in"]["bias"]
                + r * (state @ p["hn"]["kernel"] + p["hn"]["bias"])
            )
            state = (1 - z) * new + z * state
            states.append(state)
        x = np.array(states)
    return x @ shared.rows["item"].T


def of_bert4rec(items: list[int], hidden: list[int]) -> Floats:
    """`[t, I]` scores at each place, some of whose items are hidden."""
    shared = in_double("bert4rec")
    p, table = shared.dense["encoder"], shared.rows["item"]
    x = np.array([shared.dense["mask"] if t in hidden else table[i] for t, i in enumerate(items)])
    x = x + p["positions"][LENGTH - len(items) :]
    for number in range(2):
        block = jax.tree.map(lambda leaf, number=number: leaf[number], p["blocks"])
        heads = block["attention"]
        query, key, value = (
            x @ heads[name]["kernel"] + heads[name]["bias"] for name in ("query", "key", "value")
        )
        output = np.zeros_like(x)
        for part in (slice(0, 2), slice(2, 4)):
            weights = np.exp(query[:, part] @ key[:, part].T / np.sqrt(2))
            output[:, part] = weights / weights.sum(1, keepdims=True) @ value[:, part]
        x = norm(
            x + output @ heads["output"]["kernel"] + heads["output"]["bias"], block["LayerNorm_0"]
        )
        inner = gelu(x @ block["inner"]["kernel"] + block["inner"]["bias"])
        x = norm(
            x + inner @ block["outer"]["kernel"] + block["outer"]["bias"], block["LayerNorm_1"]
        )
    head = shared.dense["head"]
    x = norm(gelu(x @ head["layers_0"]["kernel"] + head["layers_0"]["bias"]), head["layers_2"])
    return x @ table.T


def of_hstu(items: list[int]) -> Floats:
    """`[t, I]` scores after each event."""
    shared = in_double("hstu")
    p, table, count = shared.dense, shared.rows["item"], len(items)
    x = np.sqrt(DIM) * table[items] + p["positions"][:count]
    for number in range(2):
        unit = {name: leaf[number] for name, leaf in p["units"].items()}
        projected = norm(x) @ unit["input"]
        gate, value, query, key = np.split(projected * sigmoid(projected), 4, axis=1)
        read = np.zeros_like(gate)
        for t in range(count):
            for head in range(2):
                part = slice(3 * head, 3 * head + 3)
                for past in range(t + 1):
                    seconds = max(int(TIMES[t] - TIMES[past]), 1)
                    bucket = min(int(np.log(seconds) / 0.301), 128)
                    bias = unit["by_distance"][LENGTH - 1 + t - past] + unit["by_time"][bucket]
                    logit = query[t, part] @ key[past, part] + bias
                    read[t, part] += logit * sigmoid(logit) / LENGTH * value[past, part]
        x = x + (gate * norm(read)) @ unit["output"] + unit["bias"]
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    return x / lengths @ (table / np.linalg.norm(table, axis=1, keepdims=True)).T / 0.05


def assert_close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4)


# ------------------------------------------------------------------------- scores


@pytest.mark.parametrize("items", [[3], [3, 0, 3], [10, 2, 5, 2, 7]], ids=len)
@pytest.mark.parametrize(("name", "oracle"), [("gru4rec", of_gru4rec), ("hstu", of_hstu)])
def test_scores_after_each_event(name: str, oracle: Any, items: list[int]) -> None:
    events, expected = history(items, 5), oracle(items)
    every = Inputs(None, events, is_every_position=True)
    assert_close(MODELS[name].score(VIEWS[name], every)[: len(items)], expected)
    assert_close(MODELS[name].score(VIEWS[name], Inputs(None, events)), expected[-1])


@pytest.mark.parametrize("hidden", [[0], [1, 3], [4]], ids=str)
def test_hidden_items_are_found_from_both_sides(hidden: list[int]) -> None:
    items = [10, 2, 5, 2, 7]
    is_hidden = jnp.isin(jnp.arange(5), jnp.array(hidden))
    inputs = Inputs(None, history(items, 5), is_every_position=True, is_hidden=is_hidden)
    found = MODELS["bert4rec"].score(VIEWS["bert4rec"], inputs)
    assert_close(found, of_bert4rec(items, hidden))


@pytest.mark.parametrize("items", [[3], [3, 0, 3], [10, 2, 5, 2, 7, 1]], ids=len)
def test_bert4rec_hides_an_event_behind_the_last(items: list[int]) -> None:
    found = MODELS["bert4rec"].score(VIEWS["bert4rec"], Inputs(None, history(items, 6)))
    read = items[-4:]
    assert_close(found, of_bert4rec([*read, 0], [len(read)])[-1])


def test_padding_is_not_read_from_either_side() -> None:
    is_hidden = jnp.array([False, True, False, False, False])

    def found(length: int) -> Any:
        inputs = Inputs(
            None, history([3, 9, 4], length), is_every_position=True, is_hidden=is_hidden[:length]
        )
        return MODELS["bert4rec"].score(VIEWS["bert4rec"], inputs)[:3]

    assert_close(found(5), found(3))


def test_seconds_between_events_count_for_hstu() -> None:
    events = history([3, 0, 3], 5)
    later = events._replace(times=events.times * 1000)
    one, other = (
        np.asarray(MODELS["hstu"].score(VIEWS["hstu"], Inputs(None, seen)))
        for seen in (events, later)
    )
    assert np.abs(one - other).max() > 0.01


@pytest.mark.parametrize("name", MODELS)
def test_a_client_without_events_has_finite_scores(name: str) -> None:
    assert np.isfinite(MODELS[name].score(VIEWS[name], Inputs(None, history([], 3)))).all()


@pytest.mark.parametrize("name", MODELS)
def test_dropout_needs_a_key(name: str) -> None:
    factory = FACTORIES[name]
    options = {"hstu": {"num_heads": 2, "head_dim": 3}, "gru4rec": {"num_layers": 2}}.get(name, {})
    model = factory(NUM_ITEMS, DIM, max_length=LENGTH, dropout=0.5, **options)
    plain, dropped = (
        np.asarray(model.score(VIEWS[name], Inputs(None, history([3, 0, 3], 5), key=key)))
        for key in (None, jax.random.key(1))
    )
    assert_close(plain, MODELS[name].score(VIEWS[name], Inputs(None, history([3, 0, 3], 5))))
    assert np.abs(plain - dropped).max() > 0.001 * np.abs(plain).max()


# -------------------------------------------------------------------- declarations


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"dim": 50, "num_blocks": 2, "num_heads": 1, "head_dim": 50, "max_length": 211}, 26_200),
        ({"dim": 50, "num_blocks": 8, "num_heads": 2, "head_dim": 25, "max_length": 211}, 104_800),
        (
            {"dim": 256, "num_blocks": 16, "num_heads": 8, "head_dim": 32, "max_length": 211},
            5_255_776,
        ),
        ({"dim": 64, "num_blocks": 16, "num_heads": 8, "head_dim": 8, "max_length": 61}, 332_704),
    ],
    ids=["ml-1m", "ml-1m large", "ml-20m large", "books large"],
)
def test_hstu_has_as_many_parameters_as_published(options: dict[str, int], count: int) -> None:
    shared, _ = jax.eval_shape(hstu(10, **options).init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(shared.dense["units"])) == count


def test_what_cannot_be_scored_is_refused() -> None:
    for name, model in MODELS.items():
        with pytest.raises(ValueError, match=f"{name} reads a history"):
            model.score(VIEWS[name], Inputs(None))
    with pytest.raises(ValueError, match=r"bert4rec reads both sides .* masked_item"):
        MODELS["bert4rec"].score(
            VIEWS["bert4rec"], Inputs(None, history([1], 2), is_every_position=True)
        )


@pytest.mark.parametrize(
    ("factory", "argument", "message"),
    [
        ("gru4rec", {"num_layers": 0}, "num_layers must be at least 1"),
        ("bert4rec", {"num_heads": 3}, "dim must be a multiple of num_heads = 3"),
        ("hstu", {"head_dim": 0}, "head_dim must be at least 1"),
        ("hstu", {"temperature": 0.0}, "temperature must be above 0"),
        ("hstu", {"dropout": -0.1}, "dropout must be at least 0"),
    ],
    ids=str,
)
def test_an_argument_out_of_range_is_refused(factory: str, argument: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        FACTORIES[factory](NUM_ITEMS, **{"dim": DIM} | argument)
