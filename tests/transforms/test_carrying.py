"""What a transform carries from round to round: server state, and a residual a client."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_rec import tree
from fedjax_rec.algorithms import optax_server
from fedjax_rec.base import (
    AggregateTransform,
    ClientData,
    ClientOutput,
    ClientUpdate,
    FederatedAlgorithm,
    Fixed,
    LengthClass,
    Message,
    Model,
    Objective,
    Part,
    Private,
)
from fedjax_rec.simulation import Execution, build, pad_cohort
from fedjax_rec.testing import check_transform
from fedjax_rec.transforms import chain, gaussian_noise, mean, total

# ------------------------------------------------------ state: a clip norm that adapts

QUANTILE, RATE = 0.5, 0.3


def adaptive_clip(first_norm: float) -> AggregateTransform:
    """The clip norm follows the median norm, by how many clients lie below it."""

    def encode(key: Any, message: Message, norm: Any, residual: Any, bound: Any) -> Any:
        own = optax.tree.norm(message.update)
        scale = jnp.minimum(1.0, norm / own.clip(1e-12))
        update = jax.tree.map(lambda leaf: scale * leaf, message.update)
        return message._replace(update=update, stats={"below": 1.0 * (own <= norm)}), residual

    def decode(key: Any, summed: Message, norm: Any, bound: Any) -> Any:
        share = summed.stats["below"] / jnp.maximum(summed.weight, 1)
        return summed, norm * jnp.exp(-RATE * (share - QUANTILE))

    return AggregateTransform(
        init=lambda key, template: jnp.float32(first_norm),
        encode=encode,
        decode=decode,
        bound=lambda bound, norm: min(bound, first_norm) if norm is None else norm,
    )


def test_an_adaptive_clip_norm_follows_the_clients_and_scales_what_stands_behind_it() -> None:
    links = chain(adaptive_clip(4.0), mean(divisor=5), gaussian_noise(0.5))
    bounds = []
    sizes = np.array([0.2, 0.5, 1.0, 2.0, 8.0])
    directions = np.random.default_rng(0).normal(size=(5, 5000))
    updates = sizes[:, None] * directions / np.linalg.norm(directions, axis=1)[:, None]

    @jax.jit
    def aggregate(key: Any, state: Any, updates: Any) -> Any:
        def encode(update: Any) -> Message:
            message = Message(Part({}, update), jnp.float32(1), {}, {})
            return links.encode(key, message, state, ((), (), ()), jnp.float32(jnp.inf))[0]

        summed = jax.tree.map(lambda leaf: leaf.sum(0), jax.vmap(encode)(updates))
        bound = links.bound(jnp.float32(jnp.inf), state)
        return bound, links.decode(key, summed, state, jnp.float32(jnp.inf))

    state, norm = links.init(jax.random.key(0), Part({}, jnp.zeros(5000))), 4.0
    for round in range(6):
        bound, (decoded, state) = aggregate(
            jax.random.key(round), state, jnp.asarray(updates, jnp.float32)
        )
        bounds.append(float(bound))
        assert bounds[-1] == pytest.approx(norm, rel=1e-5)
        clipped = updates * np.minimum(1, norm / sizes)[:, None]
        added = np.asarray(decoded.update.dense) - clipped.sum(0) / 5
        assert added.std() == pytest.approx(0.5 * norm / 5, rel=0.05)
        norm *= np.exp(-RATE * ((sizes <= norm).mean() - QUANTILE))
    assert bounds[0] == 4
    assert bounds[-1] < 3, "the control: it moves towards the median, 1"


def test_a_transform_with_state_and_stats_keeps_the_contract() -> None:
    check_transform(adaptive_clip(2.0))
    check_transform(chain(adaptive_clip(2.0), mean(divisor=3), gaussian_noise(0.1)))


# ------------------------------------------- residual: sparse updates, error fed back


def top_1() -> AggregateTransform:
    """Sends the largest number of the update, and keeps the others for the next round."""

    def encode(key: Any, message: Message, state: Any, residual: Any, bound: Any) -> Any:
        whole = jax.tree.map(jnp.add, message.update, Part(*residual))
        largest = jnp.max(jnp.stack([jnp.abs(leaf).max() for leaf in jax.tree.leaves(whole)]))
        sent = jax.tree.map(lambda x: jnp.where(jnp.abs(x) == largest, x, 0.0), whole)
        return message._replace(update=sent), Private(*tree.subtract(whole, sent))

    return AggregateTransform(
        init_residual=lambda template: Private(*tree.zeros_like(template)), encode=encode
    )


NUM_ITEMS = 6
TOUCHED = np.array([[0, 2], [2, 5], [1, 4]])  # the rows that each client changes
CHANGES = np.random.default_rng(1).normal(size=(3, 2))
HEADS = np.random.default_rng(2).normal(size=3)


def constant_clients(is_sliced: bool) -> FederatedAlgorithm:
    """Every client sends the same change in every round."""

    def init(key: Any) -> Any:
        return Part({"item": jnp.zeros(NUM_ITEMS)}, jnp.zeros(())), Part({}, ())

    def prepare(key: Any, history: Any) -> Any:
        client = history.items[0]  # each client's only event names it
        rows = jnp.append(jnp.asarray(TOUCHED)[client], NUM_ITEMS)  # and one of padding
        return {"item": rows if is_sliced else None}, (client, rows)

    def run(key: Any, view: Any, task: Any) -> ClientOutput:
        client, rows = task.plan
        change = jnp.append(jnp.asarray(CHANGES, jnp.float32)[client], 0.0)
        if not is_sliced:
            change = jnp.zeros(NUM_ITEMS).at[rows].set(change, mode="drop")
        update = Part({"item": change}, jnp.asarray(HEADS, jnp.float32)[client])
        return ClientOutput(update, view.private, view.memory, jnp.float32(1), {})

    return FederatedAlgorithm(
        Model({"item": NUM_ITEMS}, init, lambda view, inputs: view.shared.rows["item"]),
        Objective(prepare),
        ClientUpdate(run),
        chain(top_1(), total()),
        optax_server(optax.sgd(1.0)),
    )


def three_clients() -> ClientData:
    ids, offsets = jnp.arange(3), jnp.arange(4)
    return ClientData(
        ids,
        jnp.ones(3),
        jnp.zeros(3, jnp.int32),
        offsets,
        ids,
        offsets,
        ids,
        is_distinct=jnp.ones(3, bool),
        first=jnp.int32(0),
        classes=(LengthClass(0, 3, 1, 1, is_distinct=True),),
        num_items=NUM_ITEMS,
    )


@pytest.mark.parametrize("is_sliced", [True, False])
def test_what_a_client_did_not_send_waits_in_its_own_residual(is_sliced: bool) -> None:
    engine = build(constant_clients(is_sliced), Execution(chunk_size=2))
    state, clients, frozen = engine.init(jax.random.key(0), 3)
    fixed, step = Fixed(frozen, three_clients()), jax.jit(engine.step)

    table, head = np.zeros(NUM_ITEMS), 0.0
    waiting = np.zeros((3, NUM_ITEMS + 1))  # the last column is the head
    for cohort in ([0, 1, 2], [1, 0], [2], [0, 2, 1], [1]):
        state, clients, _ = step(state, clients, pad_cohort(cohort, 3), fixed)
        for client in cohort:
            waiting[client, TOUCHED[client]] += CHANGES[client]
            waiting[client, -1] += HEADS[client]
            largest = np.abs(waiting[client]).argmax()
            if largest == NUM_ITEMS:
                head += waiting[client, largest]
            else:
                table[largest] += waiting[client, largest]
            waiting[client, largest] = 0
        np.testing.assert_allclose(state.shared.rows["item"], table, atol=1e-6)
        np.testing.assert_allclose(state.shared.dense, head, atol=1e-6)
        residual = clients.residual[0]
        assert isinstance(residual, Private)
        np.testing.assert_allclose(residual.rows["item"], waiting[:, :-1], atol=1e-6)
        np.testing.assert_allclose(residual.dense, waiting[:, -1], atol=1e-6)


def test_error_feedback_keeps_the_contract() -> None:
    check_transform(chain(top_1(), mean()))
