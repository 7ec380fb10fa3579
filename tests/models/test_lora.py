"""LoRA on the package's own models: what is trained, what is frozen, and never a merged kernel."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.extend.core import jaxprs_in_params

from fedjax_rec import Execution, fedavg, simulate
from fedjax_rec.base import (
    History,
    Inputs,
    Model,
    Part,
    View,
    Weights,
    empty,
    nothing_private,
)
from fedjax_rec.clients import local_training
from fedjax_rec.data import load
from fedjax_rec.models import gmf, lora, sasrec
from fedjax_rec.models.lora import factor_pairs, factors_applied
from fedjax_rec.models.nested import leaves_of, nested
from fedjax_rec.objectives import sampled_item
from fedjax_rec.simulation import build
from fedjax_rec.simulation.weights import with_weights

NUM_ITEMS, DIM, RANK = 40, 16, 2
BASE = sasrec(NUM_ITEMS, DIM, max_length=8, num_blocks=2, is_rematerialised=True)
PAST = History(
    jnp.array([3, 1, 7, NUM_ITEMS]),
    jnp.ones(4),
    jnp.zeros(4),
    jnp.int32(3),
    jnp.array([1, 3, 7]),
    jnp.int32(3),
)
INPUTS = Inputs(None, PAST)


def view_of(model: Model, seed: int = 0) -> View:
    shared, drawn = model.init(jax.random.key(seed))
    frozen = with_weights(model, drawn)
    return View(shared, nothing_private(), frozen, nothing_private(), empty())


def moved(view: View) -> View:
    """With other numbers in what is trained, so that b is not 0."""
    dense = jax.tree.map(
        lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(leaf.size), leaf.shape),
        view.shared.dense,
    )
    return view._replace(shared=view.shared._replace(dense=dense))


def test_it_starts_as_its_base_and_leaves_what_is_not_wanted_frozen() -> None:
    model = lora(BASE, "query,value", RANK)
    view = view_of(model)
    np.testing.assert_array_equal(model.score(view, INPUTS), BASE.score(view_of(BASE), INPUTS))
    names = {"/".join(name) for name in leaves_of(view.shared.dense)}
    assert names == {f"blocks/attention/{one}/{f}" for one in ("query", "value") for f in "ab"}
    assert view.shared.rows["item"].shape == (NUM_ITEMS, DIM)


@pytest.mark.parametrize("is_a_frozen", [False, True])
def test_it_scores_as_the_base_with_the_product_merged_in(is_a_frozen: bool) -> None:
    model = lora(BASE, "attention/query,inner", RANK, alpha=3.0, is_a_frozen=is_a_frozen)
    view = moved(view_of(model))
    factors = leaves_of(view.shared.dense) | leaves_of(view.frozen.dense["base"])
    assert (("blocks", "inner", "a") in leaves_of(view.shared.dense)) is not is_a_frozen
    base = view_of(BASE)
    dense = jax.tree.map(lambda leaf: leaf, base.shared.dense)
    for place in (("blocks", "attention", "query"), ("blocks", "inner")):
        layer: Any = dense
        for key in place:
            layer = layer[key]
        a, b = (np.asarray(factors[*place, one], np.float64) for one in "ab")
        layer["kernel"] = layer["kernel"] + 1.5 * np.einsum("ldr,lre->lde", a, b)
    expected = BASE.score(base._replace(shared=base.shared._replace(dense=dense)), INPUTS)
    np.testing.assert_allclose(model.score(view, INPUTS), expected, atol=1e-6)
    assert np.abs(expected - BASE.score(view_of(BASE), INPUTS)).max() > 1e-3


def test_other_leaves_are_trained_where_they_are_named() -> None:
    model = lora(BASE, "query", RANK, trained="bias,positions")
    names = {"/".join(name) for name in leaves_of(view_of(model).shared.dense)}
    assert {"positions", "blocks/inner/bias", "LayerNorm_0/bias"} <= names
    assert "LayerNorm_0/scale" not in names
    np.testing.assert_array_equal(
        model.score(view_of(model), INPUTS), BASE.score(view_of(BASE), INPUTS)
    )


# ------------------------------------------------------------------- weights by the door


def of_weights(dtype: Any = jnp.float32) -> Model:
    """SASRec whose dense parameters come by the door."""
    dense = BASE.init(jax.random.key(0))[0].dense
    loaded = jax.tree.map(lambda leaf: np.asarray(leaf.astype(dtype)), dense)

    def init(key: Any) -> tuple[Part, Part]:
        return BASE.init(key)[0]._replace(dense=()), empty()

    def score(view: View, inputs: Inputs) -> Any:
        shared = view.shared._replace(dense=view.frozen.dense["tower"])
        return BASE.score(view._replace(shared=shared), inputs)

    weights = Weights(lambda: Part({}, {"tower": loaded}), "a test", "0" * 64)
    return BASE.with_score(score, init=init, weights=weights)


def test_a_base_that_is_loaded_is_adapted_likewise() -> None:
    """Its biases are trained as distances from what was loaded, its factors as they are."""
    drawn, loaded = (lora(one, "query,outer", RANK, trained="bias") for one in (BASE, of_weights()))
    start, view = view_of(drawn), view_of(loaded)
    assert {name[0] for name in leaves_of(view.shared.dense)} == {"tower"}
    np.testing.assert_array_equal(loaded.score(view, INPUTS), BASE.score(view_of(BASE), INPUTS))
    now = moved(start)
    begin = leaves_of(start.shared.dense)
    change = {
        ("tower", *name): leaf - begin[name] if name[-1] == "bias" else leaf
        for name, leaf in leaves_of(now.shared.dense).items()
    }
    view = view._replace(shared=view.shared._replace(dense=nested(change)))
    np.testing.assert_allclose(
        loaded.score(view, INPUTS), drawn.score(now, INPUTS), rtol=2e-5, atol=1e-6
    )


def test_factors_keep_their_precision_and_the_sum_that_of_the_base() -> None:
    layer = nn.Dense(8, use_bias=False, param_dtype=jnp.bfloat16, dtype=jnp.bfloat16)
    x = jax.random.normal(jax.random.key(0), (3, 16), jnp.bfloat16)
    kernel = jax.random.normal(jax.random.key(1), (16, 8), jnp.bfloat16)
    a, b = 0.1 * jnp.ones((16, 2)), 0.1 * jnp.ones((2, 8))
    with factors_applied(2.0):
        found = layer.apply({"params": {"kernel": kernel, "a": a, "b": b}}, x)
    assert found.dtype == jnp.bfloat16
    expected = np.asarray(x, np.float64) @ np.asarray(kernel, np.float64) + 2 * (
        np.asarray(x, np.float64) @ np.asarray(a, np.float64) @ np.asarray(b, np.float64)
    )
    np.testing.assert_allclose(found.astype(jnp.float32), expected, rtol=2e-2, atol=3e-2)


# --------------------------------------------------------------------- in a federation


def batched_dots(jaxpr: Any, sides: set[tuple[int, int]]) -> dict[bool, int]:
    """How many products read a base kernel without (False) and with (True) a client axis."""
    found = {False: 0, True: 0}
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            shapes = [one.aval.shape for one in equation.invars]
            batched = equation.params["dimension_numbers"][1][0]
            is_base = any(shape[-2:] in sides for shape in shapes)
            if is_base:
                found[bool(batched)] += 1
        for inner in jaxprs_in_params(equation.params):
            for key, count in batched_dots(inner, sides).items():
                found[key] += count
    return found


def dots_of(model: Model) -> dict[bool, int]:
    """Of the gradient of a score, for three clients side by side; 24 is the width of a layer."""
    view = view_of(model)

    def loss(shared: Part, seed: Any) -> Any:
        past = PAST._replace(items=(PAST.items + seed) % NUM_ITEMS)
        return jnp.sum(model.score(view._replace(shared=shared), Inputs(None, past)) ** 2)

    shared = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), view.shared)
    traced = jax.make_jaxpr(jax.vmap(jax.grad(loss)))(shared, jnp.arange(3))
    return batched_dots(traced, {(DIM, DIM)})


def test_no_product_with_a_base_kernel_gains_a_client_axis() -> None:
    assert dots_of(BASE)[True] > 5  # every client has its own kernels
    adapted = dots_of(lora(BASE, "query,key,value,inner,outer", RANK))
    assert adapted[True] == 0
    assert adapted[False] > 5


@pytest.mark.slow
def test_it_is_trained_by_an_unchanged_algorithm_and_its_chunks_agree() -> None:
    data = load("synthetic", num_users=6, num_items=NUM_ITEMS, mean_events=5, seed=1)
    model = lora(sasrec(NUM_ITEMS, DIM, max_length=64, num_blocks=1), "query,value", RANK)
    objective = sampled_item(NUM_ITEMS, num_negatives=5)
    algorithm = fedavg(model, objective, local_training(model, objective, optax.sgd(1.0)))
    start = build(algorithm).init(jax.random.key(0), 6)[0].shared
    one, other = (
        simulate(
            algorithm,
            data,
            key=jax.random.key(0),
            rounds=2,
            execution=Execution(chunk_size=size),
            notice=lambda line: None,
        ).state.shared
        for size in (1, 3)
    )
    assert len(factor_pairs(one.dense)) == 2
    leaves = zip(*(jax.tree.leaves(tree) for tree in (start, one, other)), strict=True)
    for before, alone, together in leaves:
        movement = np.abs(alone - before).max()
        assert movement > 1e-6
        assert np.abs(alone - together).max() <= 1e-5 * movement


# ----------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (BASE, {"paths": "gate"}, "no kernel is named by 'gate'; there are: .*query/kernel"),
        (BASE, {"paths": "query", "trained": "tail"}, "no leaf is named by 'tail'"),
        (BASE, {"paths": "query", "rank": 17}, "rank must be at most 16"),
        (BASE, {"paths": "query", "rank": 0}, "rank must be at least 1"),
        (BASE, {"paths": "query", "alpha": 0.0}, "alpha must be above 0"),
        (BASE, {"paths": ""}, "nothing would be trained"),
        (gmf(5), {"paths": "dense"}, "no kernel is named by 'dense'"),
    ],
)
def test_what_cannot_be_is_refused(model: Model, options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        lora(model, **options)


def test_a_kernel_that_no_dense_layer_applies_is_refused() -> None:
    kernel = {"head": {"kernel": jnp.eye(3)}}
    model = Model(
        {"item": 3},
        lambda key: (Part({}, kernel), empty()),
        lambda view, inputs: jnp.sum(view.shared.dense["head"]["kernel"], axis=0),
    )
    adapted = lora(model, "head", 1)
    with pytest.raises(ValueError, match="head/kernel is not applied"):
        adapted.score(view_of(adapted), Inputs(None))
