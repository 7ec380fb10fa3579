"""What is random differs by round, client, purpose and seed: measured in runs, not in functions."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec import base
from fedjax_rec.algorithms.fedavg import fedavg
from fedjax_rec.base import (
    AggregateTransform,
    ClientOutput,
    ClientUpdate,
    FederatedAlgorithm,
    Model,
    Objective,
    Part,
    Private,
    ServerUpdate,
)
from fedjax_rec.config import from_dict
from fedjax_rec.data import FederatedData, client_data, from_events, hold_out
from fedjax_rec.experiment import build
from fedjax_rec.models import matrix_factorization
from fedjax_rec.objectives import Sampler, implicit
from fedjax_rec.sampling import Uniform
from fedjax_rec.simulation import EvaluationPlan, Execution, simulate

ROUNDS, NUM_CLIENTS, NUM_ITEMS, NUM_EVENTS = 3, 4, 40, 8
SERVER = 0xFFFFFFFF


@pytest.fixture(scope="module")
def data():
    """Clients with the same events: what differs between them is random."""
    users, items = np.divmod(np.arange(NUM_CLIENTS * NUM_EVENTS), NUM_EVENTS)
    times = np.arange(NUM_CLIENTS * NUM_EVENTS) % NUM_EVENTS
    everywhere = np.arange(NUM_ITEMS - NUM_EVENTS) + NUM_EVENTS  # the rest of the catalogue
    users = np.concatenate([users, np.full(len(everywhere), NUM_CLIENTS)])
    items = np.concatenate([items, everywhere])
    times = np.concatenate([times, np.arange(len(everywhere))])
    split = hold_out(from_events(users, items, times=times), validation="none")
    return FederatedData("alike", client_data(split), split, "train")


def run(algorithm, data, seed=0, rounds=ROUNDS, sampler=None):
    return simulate(
        algorithm,
        data,
        key=jax.random.key(seed),
        rounds=rounds,
        sampler=sampler,
        evaluation=EvaluationPlan(every=rounds, at_k=(5,)),
        execution=Execution(),
        notice=lambda line: None,
    )


def bits(key):
    return jax.random.bits(key, dtype=jnp.uint32)


def next_to(kept, number):
    return jnp.append(kept[1:], number)


def witness(num_items):
    """An algorithm that writes down a number of every key that it is handed."""
    nothing = jnp.zeros(ROUNDS, jnp.uint32)

    def init(key):
        return Part({}, jnp.zeros(1)), Part({}, bits(key))

    def run(key, view, task):
        kept = view.memory.dense
        number = jnp.stack([task.plan, bits(key)])
        memory = Private({}, kept.at[task.round].set(number))
        return ClientOutput(Part({}, jnp.zeros(1)), view.private, memory, jnp.float32(1), {})

    def encode(key, message, state, residual, bound):
        return message, Private({}, next_to(residual.dense, bits(key)))

    def decode(key, total, state, bound):
        return total, next_to(state, bits(key))

    return FederatedAlgorithm(
        Model(
            {"item": num_items},
            init,
            lambda view, inputs: jnp.arange(num_items, dtype=jnp.float32),
            init_private=lambda key: Private({}, bits(key)),
        ),
        Objective(lambda key, history: ({"item": None}, bits(key))),
        ClientUpdate(run),
        AggregateTransform(
            init=lambda key, template: nothing,
            init_residual=lambda template: Private({}, nothing),
            encode=encode,
            decode=decode,
        ),
        ServerUpdate(lambda shared: (), lambda state, total, cohort: state),
        init_memory=lambda shared: Private({}, jnp.zeros((ROUNDS, 2), jnp.uint32)),
        init_extra=lambda key, shared: Part({}, bits(key)),
    )


def written_down(data, seed):
    """`(round, client, purpose) -> number` of every key of a run."""
    left = run(witness(data.num_items), data, seed)
    names = ("PREPARE", "TRAIN", "ENCODE")
    found = {
        (0, SERVER, "INIT"): left.frozen.dense,
        (0, SERVER, "INIT_EXTRA"): left.state.extra.dense,
    }
    found |= {(r, SERVER, "DECODE"): left.state.aggregate_state[r] for r in range(ROUNDS)}
    for client in range(data.num_clients):
        found[0, client, "INIT"] = left.clients.private.dense[client]
        columns = [*left.clients.memory.dense[client].T, left.clients.residual.dense[client]]
        for name, column in zip(names, columns, strict=True):
            found |= {(r, client, name): column[r] for r in range(ROUNDS)}
    return {place: int(number) for place, number in found.items()}


def shared_by(found):
    """Pairs of places that have one number."""
    pairs = itertools.combinations(found, 2)
    return [(one, other) for one, other in pairs if found[one] == found[other]]


def test_no_two_of_round_client_and_purpose_share_a_key(data):
    found = written_down(data, 0)
    assert len(found) == 2 + ROUNDS + data.num_clients * (1 + 3 * ROUNDS)
    assert shared_by(found) == []
    other = written_down(data, 1)
    assert set(found.values()).isdisjoint(other.values())


@pytest.mark.parametrize("left_out", [0, 1, 2], ids=["round", "client", "purpose"])
def test_keys_that_leave_something_out_are_noticed(data, left_out, monkeypatch):
    derived = base.derive_key

    def careless(root, *parts):
        return derived(root, *(0 if n == left_out else part for n, part in enumerate(parts)))

    monkeypatch.setattr(base, "derive_key", careless)
    shared = shared_by(written_down(data, 0))
    assert shared
    assert all(
        one[left_out] != other[left_out] or {one[1], other[1]} & {SERVER} for one, other in shared
    )


def test_keys_are_folded_from_round_client_and_purpose(data):
    for (round, client, purpose), number in written_down(data, 5).items():
        key = jax.random.key(5)
        for part in (round, client, getattr(base, purpose)):
            key = jax.random.fold_in(key, part)
        assert number == int(bits(key)), (round, client, purpose)


def recorded(num_items, num_places):
    """Federated averaging that stands still; clients remember the items of each round's batch."""
    model = matrix_factorization(num_items, dim=1)
    sampler = Sampler(num_items, num_negatives=2, batch_size=num_places, is_sliced=False)
    objective = implicit(sampler, "bce")

    def run(key, view, task):
        examples = objective.batch(task.plan, jnp.int32(0))
        items = jnp.where(examples.is_valid, examples.inputs.ids, -1)
        memory = Private({}, view.memory.dense.at[task.round].set(items))
        still = jax.tree.map(jnp.zeros_like, view.shared)
        return ClientOutput(still, view.private, memory, jnp.float32(1), {})

    return replace(
        fedavg(model, objective, ClientUpdate(run)),
        init_memory=lambda shared: Private({}, jnp.full((ROUNDS, num_places), -2)),
    )


def batches(data, seed=0, sampler=None):
    """`[clients, rounds, positives, 1 + negatives]` items that clients were shown; -2: absent."""
    num_positives = NUM_EVENTS - 1
    left = run(recorded(data.num_items, 3 * num_positives), data, seed, sampler=sampler)
    items = np.asarray(left.clients.memory.dense)[:NUM_CLIENTS]
    return items.reshape(NUM_CLIENTS, ROUNDS, num_positives, 3)


def all_differ(arrays):
    return all(not np.array_equal(a, b) for a, b in itertools.combinations(arrays, 2))


def test_shuffles_and_negatives_differ_by_client_round_and_seed(data):
    found, other = batches(data), batches(data, seed=1)
    positives, negatives = found[..., 0], found[..., 1:]
    assert (np.sort(positives, axis=-1) == np.arange(NUM_EVENTS - 1)).all()  # the same for all
    assert (negatives >= NUM_EVENTS - 1).all()
    assert all_differ(np.sort(negatives.reshape(NUM_CLIENTS * ROUNDS, -1), axis=-1))
    # affine orders of 7 are 42, so that two of 12 may well be one
    orders = {order.tobytes() for order in positives.reshape(NUM_CLIENTS * ROUNDS, -1)}
    assert len(orders) >= 8
    assert all(len({order.tobytes() for order in of_one}) > 1 for of_one in positives)
    assert not np.array_equal(found, other)
    np.testing.assert_array_equal(found, batches(data))


def test_cohorts_differ_by_round_and_seed(data):
    sampler = Uniform(data.num_clients, 2)
    drawn = {}
    for seed in range(3):
        shown = batches(data, seed, sampler=sampler)
        drawn[seed] = (shown[:, :, 0, 0] != -2).T  # [rounds, clients]
        assert (drawn[seed].sum(axis=1) <= 2).all()
    assert any(all_differ(cohorts) for cohorts in drawn.values())
    assert len({cohorts.tobytes() for cohorts in drawn.values()}) == 3


CLIP, MULTIPLIER = 0.5, 40.0


def changes(seed, **aggregate):
    """What each of two rounds of one run changed the item table by."""
    config = from_dict(
        {
            "seed": seed,
            "data": {"name": "synthetic", "num_users": 12, "num_items": 300, "mean_events": 8},
            "algorithm": {"name": "fedmf", "dim": 4, "batch_size": 32},
            "cohort": {"sampler": "all"},
            "aggregate": aggregate,
            "privacy": {"clip_norm": CLIP, "noise_multiplier": MULTIPLIER},
        },
        "here",
    )
    experiment = build(config)
    tables = [np.asarray(experiment.algorithm.model.init(_server_key(seed))[0].rows["item"])]
    for rounds in (1, 2):
        left = run(experiment.algorithm, experiment.data, seed, rounds, experiment.sampler)
        tables.append(np.asarray(left.state.shared.rows["item"]))
    return np.diff(tables, axis=0).reshape(2, -1)


def _server_key(seed):
    return base.derive_key(jax.random.key(seed), 0, base.SERVER, base.INIT)


def correlation(one, other):
    return float(np.corrcoef(one, other)[0, 1])


def test_noise_of_one_run_is_new_in_each_round_and_of_the_right_size():
    first, second = changes(0, mean="sum")
    tolerance = 5 / np.sqrt(first.size)  # five standard errors
    assert abs(correlation(first, second)) < tolerance
    assert correlation(first, first + 0.1 * second) > tolerance  # what would be noticed
    for change in (first, second):
        assert change.std() == pytest.approx(CLIP * MULTIPLIER, rel=5 / np.sqrt(2 * change.size))


def test_a_noisy_mean_divides_the_noise_by_the_expected_cohort():
    for change in changes(0, mean="client"):
        expected = CLIP * MULTIPLIER / 12
        assert change.std() == pytest.approx(expected, rel=5 / np.sqrt(2 * change.size))
