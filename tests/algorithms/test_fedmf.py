"""A whole FedMF round, against plain loops in float64 NumPy."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.typing import NDArray

from fedjax_rec.algorithms import ALGORITHMS, fedavg, fedmf, optax_server
from fedjax_rec.base import (
    PREPARE,
    ClientData,
    Fixed,
    LengthClass,
    Message,
    Part,
    ServerState,
    derive_key,
)
from fedjax_rec.simulation import Execution, build, pad_cohort
from fedjax_rec.testing import CHECKS, Subject
from fedjax_rec.transforms import mean

Float = NDArray[np.float64]

NUM_ITEMS, DIM = 60, 3
EVENTS = [
    [5, 17, 5, 5, 33, 2],  # item 5 recurs
    [17],
    [40, 41, 42, 43, 44, 45, 46, 17],
    [2, 2],
    [50, 5, 33],
]
LENGTH = LengthClass(0, len(EVENTS), num_events=8, num_excluded=8)
COHORT = [3, 0, 4, 2]  # all but client 1
USER_RATE, ITEM_RATE, SERVER_RATE = 0.6, 0.9, 0.5
BATCH = {"bce": 5, "bpr": 6}  # groups of three are torn, or whole


def clients_data() -> ClientData:
    def flat(lists: list[list[int]]) -> tuple[Any, Any]:
        offsets = np.append(0, np.cumsum([len(own) for own in lists]))
        return jnp.asarray(np.concatenate(lists)), jnp.asarray(offsets)

    items, offsets = flat(EVENTS)
    excluded, excluded_offsets = flat([sorted(set(own)) for own in EVENTS])
    return ClientData(
        items,
        jnp.ones(len(items)),
        jnp.zeros_like(items),
        offsets,
        excluded,
        excluded_offsets,
        rank=jnp.array([1, 4, 0, 3, 2]),
        is_distinct=jnp.array([len(set(own)) == len(own) for own in EVENTS]),
        first=jnp.int32(0),
        classes=(LENGTH,),
        num_items=NUM_ITEMS,
    )


class Examples(NamedTuple):
    """One client's round, `[steps, B]`."""

    ids: NDArray[np.int32]  # of the catalogue
    label: Float
    is_valid: NDArray[np.bool_]


class Trained(NamedTuple):
    """What one client made."""

    change: Float  # [I, D]
    user: Float  # [D]
    num_examples: int


def options(epochs: int, loss: str = "bce") -> dict[str, Any]:
    return {
        "dim": DIM,
        "init_stddev": 0.7,
        "loss": loss,
        "num_negatives": 2,
        "batch_size": BATCH[loss],
        "local_epochs": epochs,
        "user_learning_rate": USER_RATE,
        "item_learning_rate": ITEM_RATE,
    }


@cache
def start(epochs: int) -> tuple[ServerState, Any, Fixed]:
    init = jax.jit(build(fedmf(NUM_ITEMS, **options(epochs))).init, static_argnums=1)
    state, clients, frozen = init(jax.random.key(9), len(EVENTS))
    return state._replace(round=jnp.int32(3)), clients, Fixed(frozen, clients_data())


@cache
def examples_of(epochs: int, loss: str = "bce") -> Callable[[int], Examples]:
    """Each client's examples of round 3, by the objective alone."""
    objective = fedmf(NUM_ITEMS, **options(epochs, loss)).objective
    max_steps = epochs * -(-LENGTH.num_events * 3 // BATCH[loss])
    state, _, fixed = start(epochs)

    @jax.jit
    def draw(client: Any) -> Any:
        key = derive_key(state.key, 3, client, PREPARE)
        rows, plan = objective.prepare(key, fixed.data.history(client, LENGTH))
        assert objective.batch is not None
        batches = jax.vmap(objective.batch, (None, 0))(plan, jnp.arange(max_steps))
        ids = batches.inputs.ids if rows["item"] is None else rows["item"][batches.inputs.ids]
        return objective.num_steps(plan), (ids, batches.label, batches.is_valid)

    def of_client(client: int) -> Examples:
        num_steps, arrays = draw(client)
        return Examples(*(np.asarray(array)[: int(num_steps)] for array in arrays))

    return of_client


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def slopes(scores: Float, label: Float, loss: str) -> tuple[Float, int]:
    """Of the summed loss of a batch by each score, and of how many terms it is the sum."""
    if loss == "bce":
        return sigmoid(scores) - label, len(scores)
    slope, positive, num_pairs = np.zeros(len(scores)), 0, 0
    for place, y in enumerate(label):
        if y == 1:
            positive = place
        else:
            wrong = sigmoid(scores[place] - scores[positive])
            slope[place] += wrong
            slope[positive] -= wrong
            num_pairs += 1
    return slope, num_pairs


def train(table: Float, user: Float, examples: Examples, loss: str = "bce") -> Trained:
    """Local steps on the mean loss of each batch, one example at a time."""
    local, user, num_terms = table.copy(), user.copy(), 0
    for ids, label, is_valid in zip(*examples, strict=True):
        ids, label = ids[is_valid], label[is_valid]
        slope, count = slopes(local[ids] @ user, label, loss)
        table_gradient, user_gradient = np.zeros_like(local), np.zeros_like(user)
        for item, error in zip(ids, slope, strict=True):
            table_gradient[item] += error * user / count
            user_gradient += error * local[item] / count
        local -= ITEM_RATE * table_gradient
        user -= USER_RATE * user_gradient
        num_terms += count
    return Trained(local - table, user, num_terms)


def average(trained: list[Trained], by: str) -> Float:
    if by == "client":
        return sum(one.change for one in trained) / len(trained)
    if by == "example":
        weighted = sum(one.num_examples * one.change for one in trained)
        return weighted / sum(one.num_examples for one in trained)
    averaged = np.zeros((NUM_ITEMS, DIM))
    for item in range(NUM_ITEMS):
        sent = [one.change[item] for one in trained if one.change[item].any()]
        if sent:
            averaged[item] = sum(sent) / len(sent)
    return averaged


def relative_error(got: Any, expected: Float) -> float:
    return float(np.linalg.norm(np.asarray(got) - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize(
    ("by", "epochs", "loss"),
    [("client", 1, "bce"), ("example", 2, "bce"), ("row", 2, "bce"), ("row", 1, "bpr")],
)
def test_a_round_equals_plain_loops(by: Any, epochs: int, loss: str) -> None:
    algorithm = fedmf(
        NUM_ITEMS,
        **options(epochs, loss),
        aggregate=mean(by),
        server_optimizer=optax.sgd(SERVER_RATE),
    )
    state, clients, fixed = start(epochs)
    step = jax.jit(build(algorithm, Execution(chunk_size=3)).step)
    new_state, new_clients, info = step(state, clients, pad_cohort(COHORT, 5), fixed)

    table = np.asarray(state.shared.rows["item"], np.float64)
    users = np.asarray(clients.private.dense, np.float64)
    draw = examples_of(epochs, loss)
    trained = {c: train(table, users[c], draw(c), loss) for c in COHORT}
    moved = SERVER_RATE * average(list(trained.values()), by)
    for client, one in trained.items():
        users[client] = one.user

    new_table = np.asarray(new_state.shared.rows["item"], np.float64)
    assert relative_error(new_table, table + moved) < 1e-6
    assert relative_error(new_table - table, moved) < 1e-5
    assert relative_error(new_clients.private.dense, users) < 1e-6
    is_still = (moved == 0).all(1)
    assert is_still.any()
    np.testing.assert_array_equal(new_table[is_still], table[is_still])

    assert int(new_state.round) == 4
    num_examples = sum(one.num_examples for one in trained.values())
    terms = {"bce": 3, "bpr": 2}[loss]  # of each event with its two negatives
    assert num_examples == epochs * terms * sum(len(EVENTS[c]) for c in COHORT)
    assert float(info["loss"].weight) == float(info["examples"].total) == num_examples
    assert float(info["clients"].total) == len(COHORT)
    num_touched = sum(one.change.any(1).sum() for one in trained.values())
    assert float(info["rows_touched/item"].total) == num_touched


def test_the_problem_of_the_loops_is_sliced_uneven_and_recurs() -> None:
    state, _, fixed = start(2)
    objective = fedmf(NUM_ITEMS, **options(2)).objective
    rows, _ = jax.eval_shape(objective.prepare, state.key, fixed.data.history(0, LENGTH))
    assert rows["item"].shape[0] < NUM_ITEMS
    sizes = [len(examples_of(2)(client).ids) for client in COHORT]
    assert len(set(sizes)) > 2
    ids, label, is_valid = (array.ravel() for array in examples_of(2)(0))
    _, counts = np.unique(ids[is_valid & (label == 1)], return_counts=True)
    assert counts.max() == 2 * 3  # three times in each epoch


# ------------------------------------------------------------- the slots it is made of


def test_the_server_takes_minus_the_aggregate_for_a_gradient() -> None:
    rng = np.random.default_rng(0)
    shared, change = (jnp.asarray(rng.normal(size=4), jnp.float32) for _ in range(2))
    optimizer = optax.adam(0.1)
    server = optax_server(optimizer)
    state = ServerState(
        jax.random.key(0), jnp.int32(0), Part({}, shared), server.init(Part({}, shared)), (), ()
    )
    expected, opt_state = shared, optimizer.init(shared)
    for _ in range(3):
        updates, opt_state = optimizer.update(-change, opt_state, expected)
        expected = optax.apply_updates(expected, updates)
        total = Message(Part({}, change), jnp.float32(1), {}, {})
        state = server.apply(state, total, pad_cohort([0], 1))
    np.testing.assert_allclose(state.shared.dense, expected, rtol=1e-6)
    assert np.sign(state.shared.dense - shared).tolist() == np.sign(change).tolist()


def test_federated_averaging_adds_the_mean_by_client_by_default() -> None:
    parts = fedmf(NUM_ITEMS)
    algorithm = fedavg(parts.model, parts.objective, parts.client_update)
    state = ServerState(jax.random.key(0), jnp.int32(0), Part({}, jnp.ones(2)), (), (), ())
    state = state._replace(opt_state=algorithm.server_update.init(state.shared))
    link_states = algorithm.aggregate.init(jax.random.key(0), state.shared)
    summed = Message(Part({}, jnp.array([6.0, -3.0])), jnp.float32(3), {}, {})
    total, _ = algorithm.aggregate.decode(state.key, summed, link_states, jnp.float32(jnp.inf))
    moved = algorithm.server_update.apply(state, total, pad_cohort([0], 1))
    assert moved.shared.dense.tolist() == [3, 0]


def test_fedmf_is_registered() -> None:
    assert ALGORITHMS["fedmf"] is fedmf


# ------------------------------------------------------------------------- pairwise


@pytest.mark.parametrize("check", ["equals_whole_table", "ignores_the_executor", "learns"])
def test_by_pairs_it_keeps_the_laws(check: str) -> None:
    rates = {"user_learning_rate": 2.0, "item_learning_rate": 20.0}
    CHECKS[check](Subject(fedmf, {"loss": "bpr", "num_negatives": 2} | rates))


def test_any_algorithm_on_recommenders_may_rank_pairs() -> None:
    """FedNCF on matrix factorisation is FedMF, by pairs too."""
    chosen = {"loss": "bpr", "num_negatives": 2}
    one = Subject(fedmf, chosen)
    other = Subject(ALGORITHMS["fedncf"], {"model": "mf"} | chosen)
    one.assert_same(one.round(), other.round(), "the limit", tolerance=1e-6)


def test_a_loss_that_is_unknown_or_torn_is_refused() -> None:
    with pytest.raises(ValueError, match="loss must be bce or bpr, got 'mse'"):
        fedmf(NUM_ITEMS, loss="mse")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"batch_size must be a multiple of .* = 5"):
        fedmf(NUM_ITEMS, loss="bpr", batch_size=256)
