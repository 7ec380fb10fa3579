"""What a cohort takes that trains factors of one frozen encoder, by the compiled program."""

from typing import Any

import numpy as np
import optax
import pytest

from fedjax_rec import AllClients, Execution
from fedjax_rec.algorithms.fedavg import fedavg
from fedjax_rec.base import Inputs, Model, Part, View
from fedjax_rec.clients import local_training
from fedjax_rec.data import load
from fedjax_rec.models import lora
from fedjax_rec.models.text_encoder import TextConfig
from fedjax_rec.objectives import Sampler, binary_cross_entropy, sampled
from fedjax_rec.simulation.footprint import at_rest, round_memory
from fedjax_rec.text import Pretrained, text_tower
from tests.text.encoders import WORDS

SIZE = TextConfig(6, 12, 384, 1536)
VOCABULARY_SIZE, NUM_ITEMS, NUM_CLIENTS, LENGTH = 30_522, 256, 32, 32
TITLES = tuple(" ".join(["toy"] * LENGTH) for _ in range(NUM_ITEMS))
DATA = load("synthetic", num_users=NUM_CLIENTS, num_items=NUM_ITEMS, mean_events=10)


def nothing(*shape: int) -> Any:
    """An array that takes no memory."""
    return np.broadcast_to(np.float32(0), shape)


def shapes_of_minilm() -> Pretrained:
    depth, wide, inner = SIZE.num_layers, SIZE.dim, SIZE.hidden_dim

    def dense(d_in: int, d_out: int) -> dict[str, Any]:
        return {"kernel": nothing(depth, d_in, d_out), "bias": nothing(depth, d_out)}

    norm = {"scale": nothing(depth, wide), "bias": nothing(depth, wide)}
    names = ("query", "key", "value", "output")
    layers = {
        "attention": {name: dense(wide, wide) for name in names},
        "attention_norm": norm,
        "inner": dense(wide, inner),
        "outer": dense(inner, wide),
        "norm": norm,
    }
    embeddings = {
        "word": nothing(VOCABULARY_SIZE, wide),
        "position": nothing(512, wide),
        "norm": {"scale": nothing(wide), "bias": nothing(wide)},
    }
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    params = {"embeddings": embeddings, "layers": layers}
    return Pretrained("shapes alone", "0" * 64, SIZE, vocabulary, True, params)


def algorithm_of(model: Model) -> Any:
    """Two steps of Adam on eight items each."""
    sampler = Sampler(NUM_ITEMS, num_negatives=3, batch_size=8, max_positives=4)
    objective = sampled(sampler, binary_cross_entropy)
    return fedavg(model, objective, local_training(model, objective, optax.adam(1e-3)))


def every_parameter_trained(model: Model) -> Model:
    """The same encoder as a part of what clients train and send."""
    assert model.weights is not None
    kept = model.weights.load()
    tower = kept.dense["tower"]

    def init(key: Any) -> tuple[Part, Part]:
        shared, _ = model.init(key)
        shared = shared._replace(dense=shared.dense | {"tower": tower})
        rest = {name: leaf for name, leaf in kept.dense.items() if name != "tower"}
        return shared, kept._replace(dense=rest)

    def score(view: View, inputs: Inputs) -> Any:
        dense = view.frozen.dense | {"tower": view.shared.dense["tower"]}
        return model.score(view._replace(frozen=view.frozen._replace(dense=dense)), inputs)

    return model.with_score(score, init=init, weights=None)


def total(model: Model, chunk_size: int) -> float:
    execution = Execution(num_devices=1, chunk_size=chunk_size)
    memory = round_memory(algorithm_of(model), DATA, AllClients(NUM_CLIENTS), execution)
    assert memory is not None
    return memory.total / 1e6


@pytest.mark.slow
def test_32_clients_of_minilm_share_one_base(monkeypatch: pytest.MonkeyPatch) -> None:
    base = shapes_of_minilm()
    monkeypatch.setattr("fedjax_rec.text.tower.pretrained", lambda name: base)
    model = text_tower(NUM_ITEMS, 32, titles=TITLES, max_length=LENGTH)
    adapted = lora(model, "query,value", 8, trained="projection")
    rest = at_rest(algorithm_of(adapted), DATA)
    factors = 2 * SIZE.num_layers * 2 * SIZE.dim * 8
    assert rest.parameters["shared", "dense"].numbers == factors + SIZE.dim * 32
    assert rest.parameters["frozen", "dense"].numbers > 22_500_000
    assert rest.saved < 2**20  # no base in a checkpoint
    one_chunk, whole = total(adapted, NUM_CLIENTS), total(every_parameter_trained(model), 32)
    print(f"LoRA {one_chunk:.0f} MB, every parameter {whole:.0f} MB")
    assert one_chunk <= 700
    assert whole >= 12 * one_chunk
    assert total(adapted, 8) < one_chunk
