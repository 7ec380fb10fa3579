"""The ranker of prompts: what it scores, with factors and without, and what it refuses."""

import resource
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.base import Inputs, Model, View, empty, nothing_private
from fedjax_rec.errors import UserError
from fedjax_rec.models import lora
from fedjax_rec.models.nested import leaves_of
from fedjax_rec.simulation.weights import with_weights
from fedjax_rec.text import language_model, llm_ranker
from fedjax_rec.text.prompts import ENDING
from fedjax_rec.tree import take_view
from tests.models.test_lora import batched_dots
from tests.text.decoders import HIDDEN, WIDTH, by_hand, random_decoder, vocabulary, write_decoder

PROMPTS = tuple(f"User Preference: film {number} and {number * 7}?" for number in range(19))
NUM = len(PROMPTS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_decoder(tmp_path_factory.mktemp("decoder")))


def ranker_of(folder: str, **options: Any) -> Model:
    return llm_ranker(NUM, **{"titles": PROMPTS, "base": folder} | options)


def view_of(model: Model, stretch: float = 0.3) -> View:
    shared, drawn = model.init(jax.random.key(0))
    shared = jax.tree.map(
        lambda leaf: leaf + stretch * jax.random.normal(jax.random.key(leaf.size), leaf.shape),
        shared,
    )
    return View(shared, nothing_private(), with_weights(model, drawn), nothing_private(), empty())


@pytest.mark.parametrize("has_head", [False, True])
def test_the_score_is_the_log_odds_of_yes_behind_the_prompt(tmp_path: Path, has_head: bool) -> None:
    model = ranker_of(str(write_decoder(tmp_path, has_head=has_head)))
    base, tensors = language_model(str(tmp_path)), random_decoder(has_head=has_head)
    assert base.tokens is not None
    found = model.score(view_of(model), Inputs(None))
    yes, no = (vocabulary()[one] for one in ("ĠYes", "ĠNo"))
    for number, text in enumerate(PROMPTS):
        logits = by_hand(tensors, base.tokens(text + ENDING))
        assert found[number] == pytest.approx(logits[yes] - logits[no], abs=1e-4)
    assert np.std(found) > 0.1


def test_factors_count_as_their_product_merged_into_queries_and_values(folder: str) -> None:
    model = lora(ranker_of(folder), "query,value", 2, alpha=6.0)
    view, tensors = view_of(model), random_decoder()
    flat = leaves_of(view.shared.dense)
    for number in range(2):
        for name, released in (("query", "q_proj"), ("value", "v_proj")):
            a, b = (np.asarray(flat["base", "layers", name, one][number]) for one in "ab")
            place = f"model.layers.{number}.self_attn.{released}.weight"
            tensors[place] = tensors[place] + 3.0 * (a @ b).T
    found, base = model.score(view, Inputs(None)), language_model(folder)
    assert base.tokens is not None
    for number in (0, 7, NUM - 1):
        logits = by_hand(tensors, base.tokens(PROMPTS[number] + ENDING))
        expected = logits[vocabulary()["ĠYes"]] - logits[vocabulary()["ĠNo"]]
        assert found[number] == pytest.approx(expected, abs=2e-4)
    plain = ranker_of(folder)
    assert np.abs(found - plain.score(view_of(plain), Inputs(None))).max() > 0.1


def test_rows_of_a_slice_and_all_prompts_at_once_score_alike(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedjax_rec.text.ranker.BLOCK", 8)  # 19 prompts are two blocks and a rest
    model = lora(ranker_of(folder), "query,value", 2)
    view = view_of(model)
    whole, side = model.score(view, Inputs(None)), model.item_side
    assert side is not None
    encoded = side.encode(view.shared, view.frozen, view.extra)
    np.testing.assert_allclose(side.score(view, Inputs(None), encoded), whole, atol=1e-4)
    ids = jnp.array([4, 18, 0, NUM + 3])  # the last one is padding
    part = take_view(view, {"item": ids})
    assert part.frozen.dense["own"]["tokens"].shape[0] == NUM  # text is not sliced
    found = model.score(part, Inputs(jnp.array([2, 1, 1, 0])))
    np.testing.assert_allclose(found, whole[ids[jnp.array([2, 1, 1, 0])]], atol=1e-4)


def test_no_product_with_the_base_gains_a_client_axis(folder: str) -> None:
    model = lora(ranker_of(folder, is_rematerialised=False), "query,value,gate", 2)
    view = view_of(model)

    def loss(shared: Any, ids: Any) -> Any:
        return jnp.sum(model.score(view._replace(shared=shared), Inputs(ids)) ** 2)

    shared = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), view.shared)
    traced = jax.make_jaxpr(jax.vmap(jax.grad(loss)))(shared, jnp.arange(6).reshape(3, 2))
    found = batched_dots(traced, {(WIDTH, WIDTH), (WIDTH, HIDDEN), (HIDDEN, WIDTH)})
    assert found[True] == 0
    assert found[False] > 5


def test_what_it_needs_is_known_without_reading_it(folder: str) -> None:
    for options in ({}, {"precision": "bfloat16"}):
        model = lora(ranker_of(folder, **options), "query,value", 2)
        assert model.weights is not None
        told, loaded = model.weights.like(), model.weights.load()
        assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), told) == jax.tree.map(
            lambda leaf: (leaf.shape, leaf.dtype), loaded
        )
        assert model.weights.load().dense["own"] is loaded.dense["own"]


@pytest.mark.parametrize("name", ["llama-1b", "llama-7b"])
def test_a_shape_takes_no_memory_and_is_no_base_of_a_run(name: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = lora(ranker_of(name, precision="bfloat16"), "query,value", 8)
    assert model.weights is not None
    leaves = jax.tree.leaves(model.weights.like())
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves)
    expected = {"llama-1b": 1_034_512_384 + 2048 * 2, "llama-7b": 6_607_343_616 + 4096 * 2}
    numbers = sum(leaf.size for leaf in leaves) - NUM * (256 + 2)
    assert numbers == expected[name]
    gained = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert gained < 100_000, "kilobytes"
    with pytest.raises(UserError, match=rf"base '{name}': is a shape without weights"):
        model.weights.load()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"titles": None}, "reads a prompt of each of 19 records, got none"),
        ({"titles": PROMPTS[:-1]}, "reads a prompt of each of 19 records, got 18"),
        ({"max_length": 0}, "max_length must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_is_refused(folder: str, options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ranker_of(folder, **options)
    with pytest.raises(UserError, match="base '/nowhere': neither smollm2"):
        ranker_of("/nowhere")


def test_a_prompt_is_never_cut_in_silence_nor_answered_by_one_token_for_both(
    folder: str, tmp_path: Path
) -> None:
    model = ranker_of(folder, max_length=20)
    assert model.weights is not None
    with pytest.raises(UserError, match=r"algorithm.max_length: a prompt has \d+ tokens, and 20"):
        model.weights.load()
    other = write_decoder(tmp_path)
    told = (other / "tokenizer.json").read_text().replace('"\\u0120 Yes", ', "")
    told = told.replace(', "\\u0120 No"', "")
    (other / "tokenizer.json").write_text(told)
    model = ranker_of(str(other))
    assert model.weights is not None
    with pytest.raises(UserError, match="begins  Yes and  No with one and the same token"):
        model.weights.load()
