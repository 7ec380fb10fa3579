"""The recommender that reads titles: what it scores, from where, and what it refuses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec import evaluate, recommend_all
from fedjax_rec.algorithms.lora_products import fedexlora
from fedjax_rec.base import Inputs, Model, ServerState, View, empty, nothing_private
from fedjax_rec.data import load
from fedjax_rec.errors import UserError
from fedjax_rec.evaluation.personal import encodes_once
from fedjax_rec.models import lora
from fedjax_rec.models.nested import leaves_of
from fedjax_rec.recommenders import recommender
from fedjax_rec.simulation import EvaluationPlan, build
from fedjax_rec.simulation.plans import Parameters
from fedjax_rec.simulation.weights import with_weights
from fedjax_rec.text import catalogue, pretrained, text_tower, tokens_of
from fedjax_rec.tree import take_view
from tests.text.encoders import WIDTH, random_tensors, write_encoder
from tests.text.test_text_encoder import by_hand

TITLES = tuple(
    f"{word} {other} ({number})"
    for word in ("toy", "star", "man")
    for other in ("story", "of the man", "toys")
    for number in (1, 9)
)
NUM_ITEMS, DIM = len(TITLES), 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_encoder(tmp_path_factory.mktemp("encoder")))


def tower_of(folder: str, **options: Any) -> Model:
    return text_tower(NUM_ITEMS, DIM, titles=TITLES, tower=folder, **options)


def view_of(model: Model) -> View:
    shared, drawn = model.init(jax.random.key(0))
    shared = jax.tree.map(
        lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(leaf.size), leaf.shape), shared
    )
    private = jax.tree.map(lambda leaf: 10 * leaf, model.init_private(jax.random.key(1)))
    return View(shared, private, with_weights(model, drawn), nothing_private(), empty())


@pytest.mark.parametrize("has_own_vectors", [False, True])
def test_the_score_is_that_of_the_projected_mean_of_a_title(
    folder: str, has_own_vectors: bool
) -> None:
    model = tower_of(folder, has_own_vectors=has_own_vectors)
    view, base, tensors = view_of(model), pretrained(folder), random_tensors()
    expected = []
    for number, title in enumerate(TITLES):
        read = by_hand(tensors, tokens_of([title], base.vocabulary, 24)[0].tolist()).mean(0)
        text = np.sqrt(WIDTH) * read / np.linalg.norm(read)
        vector = text @ np.asarray(view.shared.dense["projection"]["kernel"])
        if has_own_vectors:
            vector = vector + np.asarray(view.shared.rows["item"][number])
        expected.append(vector @ np.asarray(view.private.dense))
    np.testing.assert_allclose(model.score(view, Inputs(None)), expected, atol=2e-4)
    assert np.std(expected) > 0.01


@pytest.mark.parametrize("num_cached_layers", [0, 1, 2])
@pytest.mark.parametrize("has_own_vectors", [False, True])
def test_rows_of_a_slice_and_the_encoded_catalogue_score_alike(
    folder: str, num_cached_layers: int, has_own_vectors: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedjax_rec.text.tower.BLOCK", 8)  # 18 items are two blocks and a rest
    model = lora(
        tower_of(folder, num_cached_layers=num_cached_layers, has_own_vectors=has_own_vectors),
        "query,value" if num_cached_layers < 2 else "",
        2,
        trained="projection",
    )
    view = view_of(model)
    whole = model.score(view, Inputs(None))
    side = model.item_side
    assert side is not None
    encoded = side.encode(view.shared, view.frozen, view.extra)
    np.testing.assert_allclose(side.score(view, Inputs(None), encoded), whole, atol=1e-4)
    ids = jnp.array([4, 17, 0, NUM_ITEMS + 3])  # the last one is padding
    part = take_view(view, {"item": ids})
    texts = part.frozen.dense["own"]
    kept = texts["vectors" if num_cached_layers == 2 else "is_real"]
    assert kept.shape[0] == NUM_ITEMS  # text is not sliced
    found = model.score(part, Inputs(jnp.array([2, 1, 1, 0])))
    np.testing.assert_allclose(found, whole[ids[jnp.array([2, 1, 1, 0])]], atol=1e-4)
    np.testing.assert_allclose(
        side.score(view, Inputs(ids[:3]), encoded), whole[ids[:3]], atol=1e-4
    )


def test_cached_layers_change_nothing_and_leave_their_kernels_out(folder: str) -> None:
    plain, cached = tower_of(folder), tower_of(folder, num_cached_layers=1)
    np.testing.assert_allclose(
        cached.score(view_of(cached), Inputs(None)),
        plain.score(view_of(plain), Inputs(None)),
        atol=1e-4,
    )
    layers = view_of(cached).frozen.dense["tower"]["layers"]
    assert {leaf.shape[0] for leaf in jax.tree.leaves(layers)} == {1}
    adapted = lora(cached, "query,value", 2, trained="projection")
    assert {name[-1] for name in leaves_of(view_of(adapted).shared.dense)} == {"a", "b", "kernel"}


def test_a_tower_that_is_cached_whole_is_one_vector_a_title(folder: str) -> None:
    plain, cached = tower_of(folder), tower_of(folder, num_cached_layers=2)
    np.testing.assert_allclose(
        cached.score(view_of(cached), Inputs(None)),
        plain.score(view_of(plain), Inputs(None)),
        atol=1e-4,
    )
    kept = view_of(cached).frozen.dense
    assert {name: leaf.shape for name, leaf in kept.items()} == {"vectors": (NUM_ITEMS, WIDTH)}
    with pytest.raises(ValueError, match="query"):
        lora(cached, "query,value", 2, trained="projection").init(jax.random.key(0))


def test_the_cache_is_made_for_real_also_while_a_program_is_traced(folder: str) -> None:
    catalogue._parts.clear()
    model = tower_of(folder, num_cached_layers=1)
    assert model.weights is not None
    load = model.weights.load
    shapes = jax.eval_shape(load)
    found = load()
    assert isinstance(found.dense["activations"], np.ndarray)
    assert found.dense["activations"].shape == shapes.dense["activations"].shape
    assert load() is found


def test_bfloat16_is_near(folder: str) -> None:
    plain, half = (tower_of(folder, precision=one) for one in ("float32", "bfloat16"))
    scores = [np.asarray(one.score(view_of(one), Inputs(None))) for one in (plain, half)]
    np.testing.assert_allclose(scores[1], scores[0], atol=0.3)
    assert np.corrcoef(scores)[0, 1] > 0.99


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"titles": None}, "reads a title of each of 18 items, got none"),
        ({"titles": TITLES[:-1]}, "reads a title of each of 18 items, got 17"),
        ({"max_length": 2}, "max_length must be at least 3, got 2"),
        ({"num_cached_layers": 3}, "num_cached_layers must be 0 to 2, got 3"),
    ],
)
def test_what_cannot_be_is_refused(folder: str, options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        text_tower(NUM_ITEMS, DIM, **{"titles": TITLES, "tower": folder} | options)
    with pytest.raises(UserError, match="tower '/nowhere': neither minilm nor a folder"):
        tower_of(str(Path("/nowhere")))


def test_a_residual_of_the_server_is_in_the_encoded_catalogue(folder: str) -> None:
    data = load("synthetic", num_users=9, num_items=NUM_ITEMS, mean_events=5, seed=3)
    _, objective, optimizer = recommender(NUM_ITEMS, num_negatives=2)
    algorithm = fedexlora(tower_of(folder), objective, optimizer, rank=2, trained="projection")
    state, clients, drawn = build(algorithm).init(jax.random.key(0), 9)
    frozen = with_weights(algorithm.model, drawn)
    assert encodes_once(algorithm) is not None

    def scored(state: ServerState) -> np.ndarray:
        """`[9, I]` as the model says, client by client; it is what is recommended and ranked by."""
        result = Parameters(state, clients, frozen)
        nobody, own = nothing_private(), []
        for client in range(9):
            private = jax.tree.map(lambda leaf, client=client: leaf[client], clients.private)
            view = View(state.shared, private, frozen, nobody, state.extra)
            own.append(algorithm.model.score(view, Inputs(None)))
        expected = np.asarray(own)
        found = recommend_all(algorithm, data, result, NUM_ITEMS)
        assert len(found) > NUM_ITEMS
        wanted = expected[found.user_ids, found.item_ids]
        np.testing.assert_allclose(found.score, wanted, atol=1e-4)
        alone = replace(algorithm, model=replace(algorithm.model, item_side=None))
        for split in ("valid", "test"):
            one, other = (
                evaluate(each, data, result, EvaluationPlan(at_k=(3,)))[split].ranks
                for each in (algorithm, alone)
            )
            np.testing.assert_array_equal(one, other)
        return expected

    leaves, tree = jax.tree.flatten(state.extra)
    far = [leaf + jax.random.normal(jax.random.key(leaf.size), leaf.shape) for leaf in leaves]
    moved = scored(state._replace(extra=jax.tree.unflatten(tree, far)))
    assert np.abs(moved - scored(state)).max() > 0.01
