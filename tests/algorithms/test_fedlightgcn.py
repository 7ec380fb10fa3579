"""Federated LightGCN: two rounds by the matrix of each client's graph, and known limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.algorithms import fedlightgcn, fedmf
from fedjax_rec.evaluation.personal import scores_of
from fedjax_rec.testing import Subject
from fedjax_rec.transforms import mean

NUM_ITEMS, DIM = 60, 3
USER_RATE, ITEM_RATE = 0.6, 0.9
EVENTS = [[5, 17, 5, 5, 33, 2], [17], [40, 41, 42, 43, 44, 45, 46, 17], [2, 2], [50, 5, 33]]
OPTIONS = {
    "dim": DIM,
    "init_stddev": 0.7,
    "num_negatives": 2,
    "batch_size": 5,
    "local_epochs": 2,
    "user_learning_rate": USER_RATE,
    "item_learning_rate": ITEM_RATE,
}


def layer_mean(client, num_layers):
    """`[1 + I, 1 + I]` from layer 0 to the mean of the layers; node 0 is the user.

    `1/(K+1) sum_k (D^-1/2 A D^-1/2)^k`, A the adjacency of the client's edges alone.
    """
    adjacency = np.zeros((1 + NUM_ITEMS, 1 + NUM_ITEMS))
    for item in EVENTS[client]:
        adjacency[0, 1 + item] = adjacency[1 + item, 0] = 1
    degree = adjacency.sum(axis=0)
    scale = np.where(degree > 0, 1 / np.sqrt(np.maximum(degree, 1)), 0)
    normalised = scale[:, None] * adjacency * scale
    powers = [np.linalg.matrix_power(normalised, k) for k in range(num_layers + 1)]
    return sum(powers) / len(powers)


def train(nodes, batches, client, num_layers):
    """Local steps on the mean binary cross-entropy; `nodes` are e_u^(0) and all e_i^(0)."""
    convolve = layer_mean(client, num_layers)
    rates = np.append(USER_RATE, np.full(NUM_ITEMS, ITEM_RATE))[:, None]
    for ids, labels in batches:
        final = convolve @ nodes
        by_final = np.zeros_like(nodes)
        for item, label in zip(ids, labels, strict=True):
            error = 1 / (1 + np.exp(-final[0] @ final[1 + item])) - label
            by_final[0] += error * final[1 + item] / len(ids)
            by_final[1 + item] += error * final[0] / len(ids)
        nodes = nodes - rates * (convolve.T @ by_final)
    return nodes


def parameters(state, clients):
    return (np.asarray(x, np.float64) for x in (state.shared.rows["item"], clients.private.dense))


@pytest.mark.parametrize(("num_layers", "is_sliced"), [(1, True), (3, False)])
def test_two_rounds_equal_the_convolution_of_each_graph(problem, num_layers, is_sliced):
    algorithm = fedlightgcn(
        NUM_ITEMS,
        **OPTIONS,
        num_layers=num_layers,
        is_sliced=is_sliced,
        aggregate=mean("client"),
    )
    before, (state, clients), _, fixed = problem.run(algorithm)
    table, users = start, first_users = tuple(x.copy() for x in parameters(*before))
    users = users.copy()
    for t, cohort in problem.rounds():
        changes = []
        for k in cohort:
            nodes = train(np.vstack([users[k], table]), problem.batches(t, k), k, num_layers)
            users[k] = nodes[0]
            changes.append(nodes[1:] - table)
        table = table + np.mean(changes, axis=0)
    problem.assert_close(state.shared.rows["item"], table, start)
    problem.assert_close(clients.private.dense, users, first_users)

    ids = jnp.arange(problem.num_clients)
    scores = scores_of(algorithm, state, clients, fixed)
    found = jax.jit(lambda: scores(problem.length, ids, ids))()
    final = [layer_mean(k, num_layers) @ np.vstack([users[k], table]) for k in range(len(EVENTS))]
    np.testing.assert_allclose(found, [one[1:] @ one[0] for one in final], atol=1e-5)


@pytest.mark.parametrize("loss", ["bce", "bpr"])
def test_without_layers_it_is_fedmf(loss):
    chosen = {"loss": loss, "num_negatives": 2}
    one = Subject(fedlightgcn, chosen | {"num_layers": 0})
    other = Subject(fedmf, chosen)
    one.assert_same(one.round(), other.round(), "the limit", tolerance=1e-6)


def test_the_oracle_is_asked_about_clients_whose_own_items_matter(problem):
    """With a layer, a client's round is another than without."""
    nodes = np.random.default_rng(0).normal(size=(1 + NUM_ITEMS, DIM))
    ends = [train(nodes, problem.batches(0, 0), 0, num_layers) for num_layers in (0, 1)]
    assert np.abs(ends[0] - ends[1]).max() > 0.1


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"num_layers": -1}, "num_layers must be at least 0, got -1"),
        ({"dim": 0}, "dim must be at least 1"),
        ({"loss": "mse"}, "loss must be bce or bpr"),
    ],
    ids=str,
)
def test_numbers_out_of_range_are_refused(option, match):
    with pytest.raises(ValueError, match=match):
        fedlightgcn(NUM_ITEMS, **option)
