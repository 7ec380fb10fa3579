"""The decoder against a plain loop over Llama's own names, and what SmolLM2 says of France."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.errors import UserError
from fedjax_rec.models.llama import LlamaConfig, last_vectors, shapes_of
from fedjax_rec.text import LanguageModel, language_model
from fedjax_rec.text.language_models import _renamed
from tests.text.decoders import (
    HEADS,
    KEY_HEADS,
    LAYERS,
    WIDTH,
    by_hand,
    random_decoder,
    write_decoder,
)

TEXTS = ("I like 42 toys", "no", "Will you like Toy Story (1995)?")


def logits_of(base: LanguageModel, rows: list[list[int]], **options: Any) -> np.ndarray:
    """Of all tokens, behind each of several texts that are padded to one length."""
    assert base.params is not None
    params = base.params()
    longest = max(map(len, rows)) + 3
    tokens = np.array([row + [7] * (longest - len(row)) for row in rows])
    lengths = np.array([len(row) for row in rows])
    read = last_vectors(base.config, params, jnp.asarray(tokens), jnp.asarray(lengths), **options)
    table = params["head"] if base.config.has_head else params["embedding"]
    return np.asarray(read @ table.T)


@pytest.mark.parametrize("has_head", [False, True])
def test_it_reads_as_llama_and_no_padding(tmp_path: Path, has_head: bool) -> None:
    base = language_model(str(write_decoder(tmp_path, has_head=has_head)))
    assert base.tokens is not None
    rows = [base.tokens(text) for text in TEXTS]
    found = logits_of(base, rows)
    for number, row in enumerate(rows):
        expected = by_hand(random_decoder(has_head=has_head), row)
        np.testing.assert_allclose(found[number], expected, atol=1e-5 * np.abs(expected).max())
    again = logits_of(base, rows, is_rematerialised=True)
    np.testing.assert_allclose(again, found, atol=1e-5)


def test_bfloat16_is_near(tmp_path: Path) -> None:
    base = language_model(str(write_decoder(tmp_path)))
    assert base.tokens is not None
    rows = [base.tokens(text) for text in TEXTS]
    half = logits_of(base, rows, dtype=jnp.bfloat16)
    assert np.corrcoef(half.ravel(), logits_of(base, rows).ravel())[0, 1] > 0.99


@pytest.mark.parametrize("has_head", [False, True])
def test_its_shapes_are_known_without_its_numbers(tmp_path: Path, has_head: bool) -> None:
    base = language_model(str(write_decoder(tmp_path, has_head=has_head)))
    assert base.params is not None
    told = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), shapes_of(base.config))
    found = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), base.params())
    assert told == found


def test_neighbours_that_gguf_turns_become_halves() -> None:
    """The product of turned queries and keys is the same in both orders."""
    config = LlamaConfig(LAYERS, HEADS, KEY_HEADS, WIDTH, 1, 1)
    draw = np.random.default_rng(0)
    size = WIDTH // HEADS
    names = {"attn_norm": 1, "attn_q": WIDTH, "attn_k": KEY_HEADS * size, "attn_v": size}
    names |= dict.fromkeys(("attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down"), 1)
    tensors = {"token_embd.weight": np.ones(1), "output_norm.weight": np.ones(1)}
    for number in range(LAYERS):
        for name, side in names.items():
            tensors[f"blk.{number}.{name}.weight"] = draw.normal(size=(side, WIDTH))
    found = _renamed(tensors, config)
    for number in range(LAYERS):
        for name, released in (("attn_q", "q_proj"), ("attn_k", "k_proj")):
            x = draw.normal(size=(5, WIDTH))
            near = x @ tensors[f"blk.{number}.{name}.weight"].T
            half = x @ found[f"model.layers.{number}.self_attn.{released}.weight"].T
            near, half = (one.reshape(5, -1, size) for one in (near, half))
            np.testing.assert_allclose(half[..., : size // 2], near[..., 0::2])
            np.testing.assert_allclose(half[..., size // 2 :], near[..., 1::2])
        assert (
            found[f"model.layers.{number}.self_attn.v_proj.weight"]
            is tensors[f"blk.{number}.attn_v.weight"]
        )


@pytest.mark.slow
def test_smollm2_knows_the_capital_of_france() -> None:
    try:
        base = language_model("smollm2")
    except UserError as error:
        pytest.skip(f"the weights cannot be had: {error}")
    assert base.tokens is not None
    assert base.params is not None
    assert sum(leaf.size for leaf in jax.tree.leaves(base.params())) == 134_515_008
    row = base.tokens("The capital of France is")
    best = np.argsort(-logits_of(base, [row])[0])[:3].tolist()
    told = [base.tokens(f" {word}") for word in ("Paris", "the", "London")]
    assert [[one] for one in best] == told


# ---------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_act": "gelu"}, "config.json: hidden_act must be 'silu', got 'gelu'"),
        ({"rope_scaling": {"factor": 8}}, "rope_scaling must be None"),
        ({"model_type": "qwen2"}, "model_type must be 'llama', got 'qwen2'"),
        ({"head_dim": 8}, "head_dim must be 4, got 8"),
        ({"num_hidden_layers": 3}, r"model.layers.2.* is not there; the form is that of Llama"),
    ],
)
def test_a_folder_of_another_form_is_told_in_one_line(
    tmp_path: Path, changes: Any, words: str
) -> None:
    folder = write_decoder(tmp_path, **changes)
    with pytest.raises(UserError, match=words):
        language_model(str(folder)).params()  # type: ignore[misc]


def test_what_lacks_in_a_folder_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither smollm2, llama-1b, llama-7b nor a folder"):
        language_model(str(tmp_path / "nothing"))
    folder = write_decoder(tmp_path / "a")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"tokenizer.json is not there"):
        language_model(str(folder))
    folder = write_decoder(tmp_path / "b")
    (folder / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"config.json: 'num_attention_heads' is not there"):
        language_model(str(folder))


def test_a_folder_is_read_once_and_another_one_is_another(tmp_path: Path) -> None:
    one = language_model(str(write_decoder(tmp_path / "one")))
    assert language_model(str(tmp_path / "one")) is one
    other = language_model(str(write_decoder(tmp_path / "other", seed=1)))
    assert other.sha256 != one.sha256
    assert language_model(str(write_decoder(tmp_path / "c", has_weights=False))).params is None
