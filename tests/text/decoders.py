"""Small random decoders in folders, as Llama's are stored, with a tokenizer as SmolLM2's."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from fedjax_rec.text.bpe import _letters
from tests.text.encoders import as_safetensors

LAYERS, HEADS, KEY_HEADS, WIDTH, HIDDEN, VOCABULARY = 2, 4, 2, 16, 24, 265
BASE, EPSILON = 500.0, 1e-4
MERGES = ["l i", "li k", "lik e", "Ġ like", "Y e", "Ye s", "Ġ Yes", "N o", "Ġ No"]


def random_decoder(seed: int = 0, *, has_head: bool = False) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)

    def some(*shape: int) -> np.ndarray:
        return draw.normal(0, 0.3, shape).astype(np.float32)

    keys = KEY_HEADS * WIDTH // HEADS
    found = {"model.embed_tokens.weight": 3 * some(VOCABULARY, WIDTH)}
    found["model.norm.weight"] = 1 + some(WIDTH)
    sides = {"q_proj": (WIDTH, WIDTH), "k_proj": (keys, WIDTH), "v_proj": (keys, WIDTH)}
    sides = {f"self_attn.{name}": side for name, side in sides.items()}
    sides |= {"self_attn.o_proj": (WIDTH, WIDTH), "mlp.down_proj": (WIDTH, HIDDEN)}
    sides |= {"mlp.gate_proj": (HIDDEN, WIDTH), "mlp.up_proj": (HIDDEN, WIDTH)}
    for number in range(LAYERS):
        for name, side in sides.items():
            found[f"model.layers.{number}.{name}.weight"] = some(*side)
        for name in ("input_layernorm", "post_attention_layernorm"):
            found[f"model.layers.{number}.{name}.weight"] = 1 + some(WIDTH)
    return found | ({"lm_head.weight": some(VOCABULARY, WIDTH)} if has_head else {})


def vocabulary() -> dict[str, int]:
    pieces = [*_letters().values(), *(merge.replace(" ", "") for merge in MERGES)]
    return {piece: number for number, piece in enumerate(pieces)}


def tokenizer() -> dict[str, Any]:
    return {
        "model": {"type": "BPE", "vocab": vocabulary(), "merges": MERGES},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {"type": "ByteLevel", "add_prefix_space": False},
            ],
        },
    }


def write_decoder(
    folder: Path, seed: int = 0, *, has_head: bool = False, has_weights: bool = True, **changes: Any
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": "llama",
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_HEADS,
        "hidden_size": WIDTH,
        "intermediate_size": HIDDEN,
        "vocab_size": VOCABULARY,
        "rope_theta": BASE,
        "rms_norm_eps": EPSILON,
        "hidden_act": "silu",
        "tie_word_embeddings": not has_head,
    }
    (folder / "config.json").write_text(json.dumps(config | changes))
    if has_weights:
        tensors = list(random_decoder(seed, has_head=has_head).items())
        for number, part in enumerate((tensors[:5], tensors[5:])):
            (folder / f"model-{number}.safetensors").write_bytes(as_safetensors(dict(part)))
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer()))
    return folder


def by_hand(tensors: dict[str, Any], tokens: list[int]) -> np.ndarray:
    """Logits behind the last token of one text without padding, in float64, token by token."""
    t = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    size = WIDTH // HEADS

    def norm(x: Any, scale: Any) -> Any:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + EPSILON) * scale

    def rotated(x: Any) -> Any:  # [T, size], pairs (j, j + size / 2) as complex numbers
        pairs = x[:, : size // 2] + 1j * x[:, size // 2 :]
        angle = np.arange(len(x))[:, None] * BASE ** (-2 * np.arange(size // 2) / size)
        turned = pairs * np.exp(1j * angle)
        return np.concatenate([turned.real, turned.imag], -1)

    x = t["model.embed_tokens.weight"][tokens]
    for number in range(LAYERS):
        layer = {
            name.removeprefix(f"model.layers.{number}."): tensor
            for name, tensor in t.items()
            if name.startswith(f"model.layers.{number}.")
        }
        y = norm(x, layer["input_layernorm.weight"])
        q, k, v = (y @ layer[f"self_attn.{one}_proj.weight"].T for one in "qkv")
        heads = []
        for head in range(HEADS):
            own = slice(head * size, (head + 1) * size)
            group = head // (HEADS // KEY_HEADS)
            shared = slice(group * size, (group + 1) * size)
            query, key = rotated(q[:, own]), rotated(k[:, shared])
            read = np.zeros((len(tokens), size))
            for place in range(len(tokens)):
                logits = query[place] @ key[: place + 1].T / np.sqrt(size)
                share = np.exp(logits - logits.max())
                read[place] = share / share.sum() @ v[: place + 1, shared]
            heads.append(read)
        x = x + np.concatenate(heads, -1) @ layer["self_attn.o_proj.weight"].T
        y = norm(x, layer["post_attention_layernorm.weight"])
        gate = y @ layer["mlp.gate_proj.weight"].T
        inner = gate / (1 + np.exp(-gate)) * (y @ layer["mlp.up_proj.weight"].T)
        x = x + inner @ layer["mlp.down_proj.weight"].T
    last = norm(x[-1], t["model.norm.weight"])
    return np.asarray(t.get("lm_head.weight", t["model.embed_tokens.weight"]) @ last)
