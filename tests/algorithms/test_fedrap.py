"""FedRAP: a round against plain loops in float64, curriculum, decay and early stop included."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_rec.algorithms import fedopt, fedrap, pfedrec
from fedjax_rec.base import PREPARE, Fixed, LengthClass, Part, derive_key
from fedjax_rec.clients import by_role
from fedjax_rec.data import load
from fedjax_rec.evaluation.personal import scores_of, without_own
from fedjax_rec.simulation import Execution, build, pad_cohort
from fedjax_rec.testing import assert_same_movement

DATA = load("synthetic", num_users=7, num_items=40, mean_events=9, seed=3)
LONGEST = LengthClass.covering(DATA.clients.classes)
ROUND, EPOCHS, DIM = 2, 4, 3
RATE, HEAD_RATE, DECAY, LAMBDA, MU = 3.0, 0.2, 0.01, 0.3, 0.2
COHORT = [5, 0, 3]


def make(**options):
    return fedrap(
        DATA.num_items,
        dim=DIM,
        num_negatives=2,
        batch_size=8,
        local_epochs=EPOCHS,
        head_learning_rate=HEAD_RATE,
        item_learning_rate=RATE,
        weight_decay=DECAY,
        difference=LAMBDA,
        sparsity=MU,
        **options,
    )


@cache
def start():
    """A round in which own tables and heads are not as they began."""
    init = jax.jit(build(make()).init, static_argnums=1)
    state, clients, frozen = init(jax.random.key(4), DATA.num_clients)
    keys = iter(jax.random.split(jax.random.key(8)))
    private = jax.tree.map(
        lambda leaf: 0.3 * jax.random.normal(next(keys), leaf.shape), clients.private
    )
    state, clients = state._replace(round=jnp.int32(ROUND)), clients._replace(private=private)
    return state, clients, Fixed(frozen, DATA.clients)


def epochs_of(algorithm, client):
    """`[epoch][step] -> (ids, labels)` of the real examples."""
    state, _, fixed = start()
    key = derive_key(state.key, ROUND, client, PREPARE)
    _, plan = algorithm.objective.prepare(key, fixed.data.history(client, LONGEST))
    num_steps = int(algorithm.objective.num_steps(plan))
    steps = []
    for number in range(num_steps):
        batch = algorithm.objective.batch(plan, jnp.int32(number))
        is_valid = np.asarray(batch.is_valid)
        steps.append((np.asarray(batch.inputs.ids)[is_valid], np.asarray(batch.label)[is_valid]))
    size = num_steps // EPOCHS
    return [steps[begin : begin + size] for begin in range(0, num_steps, size)]


def gradients(common, own, head, ids, labels, growth):
    """By C, D and the head, one example at a time; with the sum of cross-entropies."""
    by_common, by_own, by_head = (np.zeros_like(leaf) for leaf in (common, own, head))
    loss, count = 0.0, len(ids)
    for item, label in zip(ids, labels, strict=True):
        vector = common[item] + own[item]
        score = vector @ head[:-1] + head[-1]
        p = 1 / (1 + np.exp(-score))
        loss += -np.log(p if label else 1 - p)
        by_common[item] += (p - label) * head[:-1] / count
        by_own[item] += (p - label) * head[:-1] / count
        by_head += (p - label) * np.append(vector, 1) / count
        gap = own[item] - common[item]
        by_own[item] -= growth * LAMBDA * 2 * gap / (count * DIM)
        by_common[item] += growth * LAMBDA * 2 * gap / (count * DIM)
        by_common[item] += growth * MU * np.sign(common[item]) / (count * DIM)
        loss -= growth * (LAMBDA * (gap**2).mean() - MU * np.abs(common[item]).mean())
    return (by_common, by_own, by_head), loss


def train(common, own, head, epochs, growth, tolerance):
    """One client's round; returns its parameters and how many epochs it made."""
    params, number, last = [common.copy(), own.copy(), head.copy()], 0, np.inf
    made = 0
    for epoch in epochs:
        made += 1
        total = 0.0
        for ids, labels in epoch:
            grads, loss = gradients(*params, ids, labels, growth)
            scale = 0.97**ROUND * 0.95**number
            for place, rate in enumerate((RATE, RATE, HEAD_RATE)):
                params[place] -= scale * rate * (grads[place] + DECAY * params[place])
            total, number = total + loss, number + 1
        if abs(total - last) < tolerance * abs(last):
            break
        last = total
    return params, made


@pytest.mark.parametrize("variant", ["clean", "as_released"])
@pytest.mark.parametrize("tolerance", [0.0, 0.35])
def test_a_round_equals_plain_loops(variant, tolerance):
    algorithm = make(variant=variant, tolerance=tolerance)
    state, clients, fixed = start()
    step = jax.jit(build(algorithm, Execution(chunk_size=2)).step)
    new_state, new_clients, _ = step(state, clients, pad_cohort(COHORT, DATA.num_clients), fixed)

    growth = np.tanh(ROUND / 10) if variant == "clean" else 1.0
    table = np.asarray(state.shared.rows["item"], np.float64)
    first_table = np.asarray(fixed.frozen.rows["item"], np.float64)
    first_head = np.asarray(fixed.frozen.dense, np.float64)
    tables, epochs_made = [], set()
    for client in COHORT:
        own = first_table + np.asarray(clients.private.rows["item"][client])
        head = first_head + np.asarray(clients.private.dense[client])
        epochs = epochs_of(algorithm, client)
        (common, own, head), made = train(table, own, head, epochs, growth, tolerance)
        tables.append(common)
        epochs_made.add(made)
        found = new_clients.private
        np.testing.assert_allclose(found.rows["item"][client], own - first_table, atol=5e-5)
        np.testing.assert_allclose(found.dense[client], head - first_head, atol=5e-5)
    np.testing.assert_allclose(new_state.shared.rows["item"], np.mean(tables, axis=0), atol=5e-5)
    assert (epochs_made == {EPOCHS}) == (tolerance == 0)


def test_one_step_without_penalties_moves_both_tables_as_federated_averaging_moves_their_sum():
    options = {"dim": DIM, "num_negatives": 2, "batch_size": 1000, "local_epochs": 1}
    additive = fedrap(
        DATA.num_items,
        **options,
        head_learning_rate=HEAD_RATE,
        item_learning_rate=RATE,
        weight_decay=0.0,
        difference=0.0,
        sparsity=0.0,
    )
    rates = {"private": optax.sgd(HEAD_RATE), "shared": optax.sgd(RATE)}
    plain = fedopt(pfedrec(DATA.num_items, dim=DIM).model, additive.objective, by_role(**rates))

    init = jax.jit(build(additive).init, static_argnums=1)
    state, clients, frozen = init(jax.random.key(4), DATA.num_clients)
    own = frozen.rows["item"]
    together = Part({"item": state.shared.rows["item"] + own}, ())
    heads = clients._replace(private=Part({}, clients.private.dense))
    cohort = pad_cohort(COHORT, DATA.num_clients)
    one, after, _ = jax.jit(build(additive).step)(
        state, clients, cohort, Fixed(frozen, DATA.clients)
    )
    summed, moved, _ = jax.jit(build(plain).step)(
        state._replace(shared=together), heads, cohort, Fixed(Part({}, frozen.dense), DATA.clients)
    )
    expected = summed.shared.rows["item"] - own
    assert_same_movement(
        state.shared.rows["item"], expected, one.shared.rows["item"], "the table of all", 1e-5
    )
    np.testing.assert_allclose(after.private.dense, moved.private.dense, atol=1e-6)
    kept = np.mean(after.private.rows["item"][jnp.array(COHORT)], axis=0)
    np.testing.assert_allclose(kept, expected - state.shared.rows["item"], atol=1e-6)


def test_scores_with_and_without_the_own_table():
    state, clients, fixed = start()
    slots = jnp.arange(DATA.num_clients)
    heads = fixed.frozen.dense + clients.private.dense
    for algorithm, own in (
        (make(), fixed.frozen.rows["item"] + clients.private.rows["item"]),
        (without_own(make()), jnp.zeros_like(clients.private.rows["item"])),
    ):
        found = scores_of(algorithm, state, clients, fixed)(LONGEST, slots, slots)
        items = state.shared.rows["item"] + own
        expected = jnp.einsum("nid,nd->ni", items, heads[:, :-1]) + heads[:, -1:]
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="as_released"):
        make(variant="released")
