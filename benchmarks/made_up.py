"""An encoder and a catalogue of random numbers, where none can be had: their sizes are real."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
TITLE_WORDS = 22
"""With two marks as many tokens as are read of a title, and as MovieLens' longest have."""


class Sizes(NamedTuple):
    """Of an encoder in the form of BERT, and of the people who read its titles."""

    layers: int
    width: int
    hidden: int
    heads: int
    words: int
    people: int
    items: int
    events: int


SIZES = {
    "minilm": Sizes(6, 384, 1536, 12, 30522, 943, 1682, 60),
    "small": Sizes(2, 16, 32, 2, 60, 12, 40, 8),
}
"""The sizes of MiniLM beside MovieLens-100K, and some for a trial."""


def write(sizes: Sizes, folder: Path, seed: int = 0) -> list[str]:
    """Writes both below a folder.

    Returns:
      Words of the command line that name them.
    """
    draw = np.random.default_rng(seed)
    encoder, catalogue = folder / "encoder", folder / "catalogue"
    encoder.mkdir(parents=True)
    catalogue.mkdir()
    _write_encoder(sizes, encoder, draw)
    _write_catalogue(sizes, catalogue, draw)
    named = {"data.name": "mine", "data.path": catalogue, "algorithm.tower": encoder}
    return [word for key, value in named.items() for word in (f"--{key}", str(value))]


def _write_encoder(sizes: Sizes, folder: Path, draw: np.random.Generator) -> None:
    config = {
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "hidden_size": sizes.width,
        "intermediate_size": sizes.hidden,
        "max_position_embeddings": 512,
    }
    words = [*MARKS, *(f"w{number}" for number in range(sizes.words - len(MARKS)))]
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    header, at = {}, 0
    shapes = _shapes(sizes)
    for name, shape in shapes.items():
        end = at + 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, end]}
        at = end
    told = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(told).to_bytes(8, "little") + told)
        for name, shape in shapes.items():
            drawn = draw.normal(0, 0.05, shape).astype("<f4")
            file.write((1 + drawn if "LayerNorm.weight" in name else drawn).tobytes())


def _shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor, as BERT's are stored."""
    width, hidden = sizes.width, sizes.hidden
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (sizes.words, width),
        "embeddings.position_embeddings.weight": (512, width),
        "embeddings.token_type_embeddings.weight": (2, width),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in (f"encoder.layer.{number}" for number in range(sizes.layers)):
        kernels = {f"attention.self.{name}": (width, width) for name in ("query", "key", "value")}
        kernels |= {"attention.output.dense": (width, width)}
        kernels |= {"intermediate.dense": (hidden, width), "output.dense": (width, hidden)}
        for name, shape in kernels.items():
            shapes |= {f"{layer}.{name}.weight": shape, f"{layer}.{name}.bias": shape[:1]}
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    for name in norms:
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    return shapes


def _write_catalogue(sizes: Sizes, folder: Path, draw: np.random.Generator) -> None:
    """Events and titles in the files of MovieLens-100K; every item is somebody's."""
    order = draw.permutation(sizes.items)
    events = [
        f"{user}\t{order[(user * sizes.events + time) % sizes.items]}\t5\t{time}"
        for user in range(sizes.people)
        for time in range(sizes.events)
    ]
    names = draw.integers(0, sizes.words - len(MARKS), (sizes.items, TITLE_WORDS))
    titles = [f"{item}|{' '.join(f'w{word}' for word in row)}|x" for item, row in enumerate(names)]
    (folder / "u.data").write_text("\n".join(events) + "\n")
    (folder / "u.item").write_text("\n".join(titles) + "\n")
