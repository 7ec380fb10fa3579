"""The encoder against a plain loop over BERT's own names, and the golden values of MiniLM."""

import math
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.errors import UserError
from fedjax_rec.models.text_encoder import embedded, pooled, run_layers
from fedjax_rec.text import Pretrained, pretrained, tokens_of
from tests.text.encoders import HEADS, LAYERS, WIDTH, random_tensors, write_encoder

TEXTS = ["Toy story (1991)", "the star", "toys of the story of man"]
PAD = 0


def read_with(base: Pretrained, texts: list[str], length: int = 32) -> tuple[Any, Any]:
    tokens = tokens_of(texts, base.vocabulary, length)
    is_real = tokens != PAD
    vectors = embedded(base.params["embeddings"], jnp.asarray(tokens), base.config.epsilon)
    read = run_layers(base.config, base.params["layers"], vectors, jnp.asarray(is_real))
    return read, is_real


def by_hand(tensors: dict[str, Any], tokens: list[int]) -> Any:
    """One text without padding, in float64, as the paper and the released names have it."""
    t = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}

    def dense(x: Any, name: str) -> Any:
        return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]

    def norm(x: Any, name: str) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
        return scaled * t[f"{name}.weight"] + t[f"{name}.bias"]

    x = t["embeddings.word_embeddings.weight"][tokens]
    x = x + t["embeddings.position_embeddings.weight"][: len(tokens)]
    x = norm(x + t["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        q, k, v = (
            dense(x, f"{layer}.attention.self.{one}").reshape(-1, HEADS, WIDTH // HEADS)
            for one in ("query", "key", "value")
        )
        heads = []
        for head in range(HEADS):
            logits = q[:, head] @ k[:, head].T / np.sqrt(WIDTH // HEADS)
            share = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
            heads.append(share @ v[:, head])
        attended = dense(np.concatenate(heads, -1), f"{layer}.attention.output.dense")
        x = norm(x + attended, f"{layer}.attention.output.LayerNorm")
        inner = dense(x, f"{layer}.intermediate.dense")
        gelu = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        x = norm(x + dense(gelu, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    return x


def test_it_reads_as_bert_and_no_padding(tmp_path: Path) -> None:
    base = pretrained(str(write_encoder(tmp_path)))
    read, is_real = read_with(base, TEXTS)
    mean = pooled(read, jnp.asarray(is_real))
    tensors = random_tensors()
    for number, text in enumerate(TEXTS):
        tokens = tokens_of([text], base.vocabulary, 32)[0].tolist()
        expected = by_hand(tensors, tokens)
        np.testing.assert_allclose(read[number, : len(tokens)], expected, atol=2e-5)
        unit = expected.mean(0) / np.linalg.norm(expected.mean(0))
        np.testing.assert_allclose(mean[number], unit, atol=1e-5)


@pytest.mark.slow
def test_minilm_gives_its_documented_cosines() -> None:
    try:
        base = pretrained("minilm")
    except UserError as error:
        pytest.skip(f"the weights cannot be had: {error}")
    sentences = [
        "The weather is lovely today.",
        "It's so sunny outside!",
        "He drove to the stadium.",
    ]
    read, is_real = read_with(base, sentences)
    vectors = pooled(read, jnp.asarray(is_real))
    cosines = np.asarray(vectors @ vectors.T)[[0, 0, 1], [1, 2, 2]]
    np.testing.assert_allclose(cosines, [0.6660, 0.1046, 0.1411], atol=1e-3)
    numbers = sum(leaf.size for leaf in _leaves(base.params))
    assert numbers == 22_564_992 - 384  # the vector of a second sentence is not kept


def _leaves(tree: Any) -> list[Any]:
    return [one for key in tree for one in _leaves(tree[key])] if isinstance(tree, dict) else [tree]
