"""Small random encoders in folders, as BERT's are stored."""

import json
from pathlib import Path
from typing import Any

import numpy as np

LAYERS, WIDTH, HIDDEN, HEADS = 2, 16, 24, 2
MARKS, PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]"), ("##s", "##y")
WORDS = [*MARKS, "the", "of", "man", "star", "toy", "story", "(", ")", "1", "9", *PIECES]


def random_tensors(seed: int = 0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)

    def some(*shape: int) -> np.ndarray:
        return draw.normal(0, 0.3, shape).astype(np.float32)

    found = {
        "embeddings.word_embeddings.weight": some(len(WORDS), WIDTH),
        "embeddings.position_embeddings.weight": some(32, WIDTH),
        "embeddings.token_type_embeddings.weight": some(2, WIDTH),
    }
    norms = ["embeddings.LayerNorm"]
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        shapes = dict.fromkeys(
            ("attention.self.query", "attention.self.key", "attention.self.value"), (WIDTH, WIDTH)
        ) | {
            "attention.output.dense": (WIDTH, WIDTH),
            "intermediate.dense": (HIDDEN, WIDTH),
            "output.dense": (WIDTH, HIDDEN),
        }
        for name, shape in shapes.items():
            found[f"{layer}.{name}.weight"] = some(*shape)
            found[f"{layer}.{name}.bias"] = some(shape[0])
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    for name in norms:
        found[f"{name}.weight"], found[f"{name}.bias"] = 1 + some(WIDTH), some(WIDTH)
    return found


def as_safetensors(tensors: dict[str, np.ndarray]) -> bytes:
    header, content = {}, b""
    for name, tensor in tensors.items():
        end = len(content) + tensor.nbytes
        header[name] = {
            "dtype": "F32",
            "shape": list(tensor.shape),
            "data_offsets": [len(content), end],
        }
        content += tensor.tobytes()
    told = json.dumps(header).encode()
    return len(told).to_bytes(8, "little") + told + content


def write_encoder(folder: Path, seed: int = 0, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "hidden_size": WIDTH,
        "intermediate_size": HIDDEN,
        "max_position_embeddings": 32,
        "layer_norm_eps": 1e-12,
    }
    (folder / "config.json").write_text(json.dumps(config | changes))
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    (folder / "model.safetensors").write_bytes(as_safetensors(random_tensors(seed)))
    return folder
