"""FedNCF: two rounds of NeuMF from the formulas of the papers, back-propagation by hand."""

from typing import Any, NamedTuple

import numpy as np
import pytest

from fedjax_rec.algorithms import ALGORITHMS, fedncf
from fedjax_rec.models import neumf
from fedjax_rec.testing import Subject
from fedjax_rec.transforms import mean

RATES = {"item": 0.9, "user": 0.6, "dense": 0.3}  # those of the problem
NUM_LAYERS = 2
NUM_ITEMS, DIM = 60, 4

Weights = dict[str, Any]


def parts(problem):
    """The problem's examples and rates, on NeuMF."""
    _, objective, optimizer = problem.recommender()
    return neumf(NUM_ITEMS, DIM, NUM_LAYERS, init_stddev=0.7), objective, optimizer


def weights_of(shared, private=None) -> Weights:
    """Parameters by name, in float64; `h` and `b` by layer, the last is the score's."""
    tower = shared.dense["mlp"]
    first = np.concatenate([tower.user, tower.item]), tower.bias
    layers = [first, *tower.hidden, tower.output]
    named = {"q": shared.rows["item"]["gmf"], "q_mlp": shared.rows["item"]["mlp"]}
    named |= {"h_gmf": shared.dense["gmf"]}
    for number, (weight, bias) in enumerate(layers):
        named |= {f"h{number}": weight, f"b{number}": bias}
    if private is not None:
        named |= {"p": private.dense["gmf"], "p_mlp": private.dense["mlp"]}
    return {name: np.asarray(leaf, np.float64) for name, leaf in named.items()}


class Forward(NamedTuple):
    score: float
    hidden: list[Any]  # what enters each layer of the tower


def forward(w: Weights, item: int) -> Forward:
    hidden = [np.concatenate([w["p_mlp"], w["q_mlp"][item]])]
    for number in range(NUM_LAYERS):
        hidden.append(np.maximum(hidden[-1] @ w[f"h{number}"] + w[f"b{number}"], 0))
    last = hidden[-1] @ w[f"h{NUM_LAYERS}"] + w[f"b{NUM_LAYERS}"]
    return Forward(np.sum(w["h_gmf"] * w["p"] * w["q"][item]) + last, hidden)


def gradient(w: Weights, item: int, label: float) -> Weights:
    """Of one example's binary cross-entropy, by the chain rule."""
    score, hidden = forward(w, item)
    error = 1 / (1 + np.exp(-score)) - label
    found = {name: np.zeros_like(leaf) for name, leaf in w.items()}
    found["h_gmf"] = error * w["p"] * w["q"][item]
    found["p"] = error * w["h_gmf"] * w["q"][item]
    found["q"][item] = error * w["h_gmf"] * w["p"]
    found[f"h{NUM_LAYERS}"], found[f"b{NUM_LAYERS}"] = error * hidden[-1], error
    back = error * w[f"h{NUM_LAYERS}"]
    for number in reversed(range(NUM_LAYERS)):
        back = back * (hidden[number + 1] > 0)
        found[f"h{number}"], found[f"b{number}"] = np.outer(hidden[number], back), back
        back = w[f"h{number}"] @ back
    found["p_mlp"], found["q_mlp"][item] = back[:DIM], back[DIM:]
    return found


def rate_of(name: str) -> float:
    return RATES[{"q": "item", "p": "user"}.get(name[0], "dense")]


def train(w: Weights, batches) -> Weights:
    for ids, labels in batches:
        singles = [gradient(w, item, y) for item, y in zip(ids, labels, strict=True)]
        w = {
            name: leaf - rate_of(name) * np.mean([one[name] for one in singles], axis=0)
            for name, leaf in w.items()
        }
    return w


@pytest.fixture(scope="module")
def two_rounds(problem):
    """Start and end: `(state, clients)` each."""
    return problem.run(fedncf(*parts(problem)))[:2]


def test_two_rounds_equal_the_formulas(problem, two_rounds):
    """Rows by who changed them, the network by everyone, users by nobody."""
    before, (state, clients) = two_rounds
    shared = weights_of(before[0].shared)
    users = {
        "p": np.asarray(before[1].private.dense["gmf"], np.float64),
        "p_mlp": np.asarray(before[1].private.dense["mlp"], np.float64),
    }
    start = {name: leaf.copy() for name, leaf in (shared | users).items()}
    for t, cohort in problem.rounds():
        changes = []
        for k in cohort:
            own = shared | {name: leaf[k] for name, leaf in users.items()}
            trained = train(own, problem.batches(t, k))
            changes.append({name: trained[name] - shared[name] for name in shared})
            for name, leaf in users.items():
                leaf[k] = trained[name]
        # an item's two rows are one message, and a row that moved in either half has moved
        has_changed = np.array([c["q"].any(axis=1) | c["q_mlp"].any(axis=1) for c in changes])
        count = np.maximum(has_changed.sum(axis=0), 1)[:, None]
        for name, leaf in shared.items():
            total = sum(change[name] for change in changes)
            shared[name] = leaf + total / (count if name in ("q", "q_mlp") else len(cohort))
    found = weights_of(state.shared, clients.private)
    for name, expected in (shared | users).items():
        problem.assert_close(found[name], expected, start[name])


def test_the_network_is_deep_enough_to_be_wrong_about(problem, two_rounds):
    """In the oracle's problem units are on and off, and rows have been changed by 1 and by 2."""
    state, clients = two_rounds[0]
    w, users = weights_of(state.shared), np.asarray(clients.private.dense["mlp"], np.float64)
    on = [
        forward(w | {"p": users[k], "p_mlp": users[k]}, item).hidden[1:]
        for k in range(problem.num_clients)
        for item in range(5)
    ]
    for layer in zip(*on, strict=True):
        assert 0.1 < np.mean(np.array(layer) > 0) < 0.9
    touched = [set(np.concatenate([b.ids for b in problem.batches(0, k)])) for k in (3, 0, 4, 2)]
    counts = np.bincount([item for own in touched for item in own])
    assert {1, 2} <= set(counts)


def test_without_its_row_means_it_is_federated_averaging():
    chosen = {"aggregate": mean("client"), "model": "neumf"}
    one, other = Subject(ALGORITHMS["fedncf"], chosen), Subject(ALGORITHMS["fedavg"], chosen)
    one.assert_same(one.round(), other.round(), "the limit", tolerance=1e-6)
