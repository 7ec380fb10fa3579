"""FedCMF: a round against plain loops in NumPy, and its limits."""

from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.typing import NDArray

from fedjax_rec.algorithms import fedcmf
from fedjax_rec.base import (
    PREPARE,
    ClientData,
    Clients,
    FederatedAlgorithm,
    Fixed,
    Inputs,
    LengthClass,
    Part,
    Private,
    ServerState,
    View,
    derive_key,
    empty,
    nothing_private,
)
from fedjax_rec.clients import by_role, local_training
from fedjax_rec.data import HeldOut, Interactions, Split, beside, client_data
from fedjax_rec.objectives import Sampler, sampled, squared_error
from fedjax_rec.simulation import Execution, build, pad_cohort
from fedjax_rec.transforms import mean

Float = NDArray[np.float64]

NUM_TARGET, NUM_OTHER, DIM, EPOCHS, BATCH, NEGATIVES = 40, 50, 3, 2, 4, 2
NUM_ITEMS = NUM_TARGET + NUM_OTHER
TARGET = [[5, 17, 5, 33, 2], [17], [20, 21, 22], []]  # client 0 meets item 5 twice
OTHER = [[7], [9, 1, 49, 30, 12, 9], [], [8, 5, 3]]
NOTHING: list[list[int]] = [[], [], [], []]
COHORT = [3, 0, 2]  # client 1 stays away
USER_RATE, ITEM_RATE, BRIDGE_RATE, WEIGHT, GAMMA = 0.3, 0.4, 0.2, 0.7, 0.05
LENGTH = LengthClass(0, 4, num_events=7, num_excluded=6)


def domain(lists: list[list[int]], num_items: int, name: str) -> Interactions:
    users = np.repeat(np.arange(len(lists)), [len(items) for items in lists])
    items = np.array([item for own in lists for item in own], np.int32)
    return Interactions(
        users=users.astype(np.int32),
        items=items,
        values=np.ones(len(items), np.float32),
        times=np.zeros(len(items), np.int64),
        user_labels=np.arange(len(lists)).astype(str),
        item_labels=np.arange(num_items).astype(str),
        item_titles=None,
        name=name,
    )


def clients_data(other: list[list[int]] | None = OTHER) -> ClientData:
    """The clients' data in both domains; `None`: there is no other domain."""
    train = domain(TARGET, NUM_TARGET, "target")
    if other is not None:
        train = beside(train, domain(other, NUM_OTHER, "other"))
    nobody = HeldOut(np.full((len(TARGET), 1), NUM_TARGET, np.int32))
    return client_data(Split(train, nobody, nobody, "none", "hash", 0))


def options(**changes: Any) -> dict[str, Any]:
    return {
        "dim": DIM,
        "init_stddev": 0.7,
        "num_negatives": NEGATIVES,
        "batch_size": BATCH,
        "local_epochs": EPOCHS,
        "user_learning_rate": USER_RATE,
        "item_learning_rate": ITEM_RATE,
        "regularization": GAMMA,
        **changes,
    }


def make(**changes: Any) -> FederatedAlgorithm:
    own = {"num_other": NUM_OTHER, "other_weight": WEIGHT, "bridge_learning_rate": BRIDGE_RATE}
    return fedcmf(NUM_ITEMS, **options(**own | changes))


def start(algorithm: FederatedAlgorithm) -> tuple[ServerState, Clients, Part]:
    init = jax.jit(build(algorithm).init, static_argnums=1)
    return init(jax.random.key(9), len(TARGET))  # type: ignore[no-any-return]


def run(
    algorithm: FederatedAlgorithm, data: ClientData, state: Any, clients: Any, frozen: Any
) -> tuple[ServerState, Clients, Any]:
    step = jax.jit(build(algorithm, Execution(chunk_size=2)).step)
    return step(state, clients, pad_cohort(COHORT, len(TARGET)), Fixed(frozen, data))  # type: ignore[no-any-return]


class Batch(NamedTuple):
    ids: NDArray[np.int32]  # of both catalogues; real examples alone
    label: Float


@cache
def drawn() -> Any:
    """Every client's number of steps and batches of round 0, by the objective alone."""
    objective, data = make().objective, clients_data()
    most = 2 * EPOCHS * -(-LENGTH.num_events * (1 + NEGATIVES) // BATCH)

    @jax.jit
    @jax.vmap
    def draw(client: Any) -> Any:
        key = derive_key(jax.random.key(9), 0, client, PREPARE)
        rows, plan = objective.prepare(key, data.history(client, LENGTH))
        assert objective.batch is not None
        examples = jax.vmap(objective.batch, (None, 0))(plan, jnp.arange(most))
        assert rows["item"] is not None
        ids = rows["item"][examples.inputs.ids]
        return objective.num_steps(plan), (ids, examples.label, examples.is_valid)

    return jax.device_get(draw(jnp.arange(len(TARGET))))


def batches(client: int) -> list[Batch]:
    num_steps, arrays = drawn()
    steps = zip(*(array[client, : num_steps[client]] for array in arrays), strict=True)
    return [Batch(ids[ok], label[ok].astype(np.float64)) for ids, label, ok in steps]


# --------------------------------------------------------------------------- a round


def train(
    table: Float, bridge: Float, user: Float, of_client: list[Batch]
) -> tuple[Float, Float, Float]:
    """Local steps, one example at a time; a step's batch is of one domain."""
    for ids, label in of_client:
        to_table, to_bridge, to_user = np.zeros_like(table), np.zeros_like(bridge), np.zeros(DIM)
        for item, y in zip(ids, label, strict=True):
            is_other = item >= NUM_TARGET
            reads = user + bridge @ user if is_other else user
            scale = (WEIGHT if is_other else 1) / len(ids)
            error = 2 * scale * (table[item] @ reads - y)
            to_table[item] += error * reads + 2 * scale * GAMMA * table[item]
            to_user += error * table[item] + 2 * scale * GAMMA * user
            if is_other:
                to_user += error * bridge.T @ table[item]
                to_bridge += error * np.outer(table[item], user)
        table, user = table - ITEM_RATE * to_table, user - USER_RATE * to_user
        bridge = bridge - BRIDGE_RATE * to_bridge
    return table, bridge, user


@pytest.mark.parametrize("bridge", ["none", "linear"])
def test_a_round_equals_plain_loops(bridge: Any) -> None:
    algorithm = make(bridge=bridge, aggregate=mean("client"))
    state, clients, frozen = start(algorithm)
    is_bridged = bridge == "linear"
    if is_bridged:  # a bridge that is not zero, so that every term counts
        map_ = jnp.asarray(np.random.default_rng(0).normal(size=(DIM, DIM)), jnp.float32)
        state = state._replace(shared=state.shared._replace(dense=map_))
    new_state, new_clients, info = run(algorithm, clients_data(), state, clients, frozen)

    table = np.asarray(state.shared.rows["item"], np.float64)
    start_map = np.asarray(state.shared.dense, np.float64) if is_bridged else np.zeros((DIM, DIM))
    users = np.asarray(clients.private.dense, np.float64)
    moved, moved_map = np.zeros_like(table), np.zeros_like(start_map)
    expected_users = users.copy()
    for client in COHORT:
        local, local_map, expected_users[client] = _trained(
            table, start_map, users[client], client, is_bridged
        )
        moved += (local - table) / len(COHORT)
        moved_map += (local_map - start_map) / len(COHORT)
    assert_moved(new_state.shared.rows["item"], table, moved)
    assert_moved(new_clients.private.dense, users, expected_users - users)
    if is_bridged:
        assert_moved(new_state.shared.dense, start_map, moved_map)
    else:
        assert new_state.shared.dense == ()
    is_still = (moved == 0).all(axis=1)
    assert is_still.any()
    np.testing.assert_array_equal(
        np.asarray(new_state.shared.rows["item"])[is_still], table[is_still]
    )
    assert float(info["examples"].total) == sum(
        len(batch.ids) for client in COHORT for batch in batches(client)
    )


def _trained(
    table: Float, bridge: Float, user: Float, client: int, is_bridged: bool
) -> tuple[Float, Float, Float]:
    if is_bridged:
        return train(table, bridge, user, batches(client))
    for batch in batches(client):  # without a bridge it stays at zero
        table, _, user = train(table, bridge, user, [batch])
    return table, bridge, user


def assert_moved(got: Any, begin: Float, moved: Float) -> None:
    """To 1e-5 of what has moved, in float32."""
    size, error = np.linalg.norm(moved), np.linalg.norm(np.asarray(got) - begin - moved)
    assert size > 1e-2, "nothing moved"
    assert error <= 1e-5 * size + 1e-7 * np.linalg.norm(begin), f"{error:.2e} of {size:.2e}"


# ------------------------------------------------------------------------- reductions


@pytest.mark.parametrize(
    ("weight", "other"), [(WEIGHT, NOTHING), (0.0, OTHER)], ids=["no events", "no weight"]
)
def test_with_nothing_to_learn_from_the_other_domain_it_is_the_target_alone(
    weight: float, other: list[list[int]]
) -> None:
    algorithm = make(other_weight=weight)
    state, clients, frozen = start(algorithm)
    both, kept, _ = run(algorithm, clients_data(other), state, clients, frozen)
    begin, end = (np.asarray(one.shared.rows["item"]) for one in (state, both))
    table, users = target_alone()
    assert_moved(end[:NUM_TARGET], begin[:NUM_TARGET], table - begin[:NUM_TARGET])
    assert_moved(kept.private.dense, clients.private.dense, users - clients.private.dense)
    np.testing.assert_array_equal(end[NUM_TARGET:], begin[NUM_TARGET:])


@cache
def target_alone() -> tuple[Any, Any]:
    """Item table and users where there is one domain, from where `make()` begins."""
    state, clients, frozen = start(make())
    alone = fedcmf(NUM_TARGET, num_other=0, **options())
    target = Part({"item": state.shared.rows["item"][:NUM_TARGET]}, ())
    state, clients, _ = run(
        alone, clients_data(None), state._replace(shared=target), clients, frozen
    )
    return jax.device_get((state.shared.rows["item"], clients.private.dense))  # type: ignore[no-any-return]


def test_alone_and_without_a_penalty_it_is_local_training_on_squared_errors() -> None:
    alone = fedcmf(NUM_TARGET, num_other=0, **options(regularization=0.0))
    state, clients, frozen = start(alone)
    data = clients_data(None)
    expected = replace(
        alone,
        client_update=local_training(
            alone.model,
            sampled(Sampler(NUM_TARGET, NEGATIVES, EPOCHS, BATCH), squared_error),
            by_role(optax.sgd(ITEM_RATE), optax.sgd(USER_RATE)),
        ),
    )
    (one, kept, _), (other, expected_kept, _) = (
        run(algorithm, data, state, clients, frozen) for algorithm in (alone, expected)
    )
    begin = np.asarray(state.shared.rows["item"])
    assert_moved(one.shared.rows["item"], begin, other.shared.rows["item"] - begin)
    users = np.asarray(clients.private.dense)
    assert_moved(kept.private.dense, users, expected_kept.private.dense - users)


def test_a_bridge_that_stays_at_zero_is_no_bridge() -> None:
    plain, bridged = make(), make(bridge="linear")
    state, clients, frozen = start(plain)
    with_map, same_clients, fixed = start(bridged)
    np.testing.assert_array_equal(state.shared.rows["item"], with_map.shared.rows["item"])
    view = View(with_map.shared, Private({}, clients.private.dense[0]), fixed, *_nothing())
    flat = view._replace(shared=state.shared, frozen=frozen)
    for ids in (None, jnp.array([3, NUM_TARGET + 3])):
        np.testing.assert_allclose(
            bridged.model.score(view, Inputs(ids)), plain.model.score(flat, Inputs(ids)), 1e-6
        )
    np.testing.assert_array_equal(clients.private.dense, same_clients.private.dense)


def test_the_bridge_is_read_by_the_other_domain_alone() -> None:
    algorithm = make(bridge="linear")
    state, clients, frozen = start(algorithm)
    turn = jnp.asarray(np.random.default_rng(1).normal(size=(DIM, DIM)), jnp.float32)
    shared, user = state.shared._replace(dense=turn), clients.private.dense[0]
    view = View(shared, Private({}, user), frozen, *_nothing())
    scores = algorithm.model.score(view, Inputs(None))
    table = np.asarray(shared.rows["item"])
    np.testing.assert_allclose(scores[:NUM_TARGET], table[:NUM_TARGET] @ user, 1e-5, 1e-6)
    mapped = np.asarray(user + turn @ user)
    np.testing.assert_allclose(scores[NUM_TARGET:], table[NUM_TARGET:] @ mapped, 1e-5, 1e-6)


def _nothing() -> tuple[Private, Part]:
    return nothing_private(), empty()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"num_other": -1}, "num_other must be 0 to num_items - 1, got -1 of 90"),
        ({"num_other": NUM_ITEMS}, "num_other must be 0 to num_items - 1, got 90 of 90"),
        ({"bridge": "arched"}, "bridge must be none or linear, got 'arched'"),
        ({"other_weight": -0.1}, "regularization and other_weight must be at least 0"),
        ({"bridge_learning_rate": 0.0}, "learning rates must be above 0"),
    ],
)
def test_a_setting_out_of_range_is_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        make(**changes)
