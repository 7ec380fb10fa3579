"""The twin of sequence models on pooled batches of people, against steps by hand."""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_rec import EvaluationPlan, simulate
from fedjax_rec.base import (
    PREPARE,
    Fixed,
    Model,
    Objective,
    Part,
    View,
    Weights,
    derive_key,
    empty,
    nothing_private,
)
from fedjax_rec.baselines import BASELINES
from fedjax_rec.baselines.people import PADDED_TO, _groups, pooled_people
from fedjax_rec.data import load
from fedjax_rec.data.clients import client_data
from fedjax_rec.data.interactions import from_events
from fedjax_rec.data.splits import leave_one_out
from fedjax_rec.models import matrix_factorization, sasrec
from fedjax_rec.objectives import Sampler, binary_cross_entropy, next_item, sampled, sampled_item
from fedjax_rec.simulation import build, pad_cohort
from fedjax_rec.simulation.weights import with_weights
from fedjax_rec.tree import take

LENGTH = 12
NUM_PEOPLE = 12


@pytest.fixture(scope="module")
def data() -> Any:
    return load(
        "synthetic", num_users=NUM_PEOPLE, num_items=80, mean_events=14, size_sigma=1.2, seed=1
    )


def model_of(data: Any) -> Any:
    return sasrec(data.num_items, 4, max_length=LENGTH, num_blocks=1)


def epoch(twin: Any, data: Any) -> tuple[Any, Any]:
    """The state before and after one round."""
    engine = build(twin)
    state, clients, drawn = engine.init(jax.random.key(3), data.num_clients)
    fixed = engine_fixed(twin, drawn, data)
    after, _, _ = jax.jit(engine.step)(state, clients, pad_cohort([0], 1), fixed)
    return state, after


def engine_fixed(twin: Any, drawn: Part, data: Any) -> Any:
    return Fixed(with_weights(twin.model, drawn), data.clients)


@pytest.mark.parametrize(
    "kind",
    [
        "chunked",
        "sampled",
        pytest.param("all items", marks=pytest.mark.slow),
        pytest.param("two steps", marks=pytest.mark.slow),
    ],
)
def test_one_batch_of_everybody_is_one_step_by_hand(data: Any, kind: str) -> None:
    model = model_of(data)
    objective = {
        "all items": next_item(data.num_items, LENGTH),
        "chunked": next_item(data.num_items, LENGTH, items_at_once=7),
        "sampled": sampled_item(data.num_items, LENGTH, num_negatives=10),
        "two steps": next_item(data.num_items, LENGTH, local_epochs=2),
    }[kind]
    counts = np.diff(np.asarray(data.clients.offsets))
    assert len(set(np.searchsorted(PADDED_TO, counts))) >= 3
    twin = pooled_people(model, objective, data.clients, optax.sgd(0.5), batch_size=32)
    state, after = epoch(twin, data)
    expected = by_hand(model, objective, data.clients, state, 2 if kind == "two steps" else 1)
    moved = jax.tree.map(jnp.subtract, after.shared, state.shared)
    for one, other in zip(jax.tree.leaves(moved), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def by_hand(model: Any, objective: Any, clients: Any, state: Any, num_steps: int) -> Part:
    """What SGD of rate 0.5 moves, person by person."""
    group_of = {
        person: group
        for group in _groups(clients, 1)
        for person in np.argsort(np.asarray(clients.rank))[group.start : group.stop].tolist()
    }

    @partial(jax.jit, static_argnums=2)
    def of_one(shared: Part, person: Any, group: Any, step: Any) -> tuple[Any, Any]:
        """The slope of a person's summed loss, and the weight of their examples."""
        key = derive_key(state.key, state.round, person, PREPARE)
        row_ids, plan = objective.prepare(key, clients.history(person, group))

        def summed(shared: Part) -> tuple[Any, Any]:
            view = View(
                take(shared, row_ids), nothing_private(), empty(), nothing_private(), empty()
            )
            examples = objective.batch(plan, step)
            loss, weight = objective.loss(model.score(view, examples.inputs), examples)
            weight = weight * (objective.num_steps(plan) > 0)
            return (loss * weight).sum(), weight.sum()

        return jax.grad(summed, has_aux=True)(shared)

    shared = state.shared
    for step in range(num_steps):
        slopes, weights = zip(
            *(
                of_one(shared, jnp.int32(person), group_of[person], jnp.int32(step))
                for person in range(clients.num_clients)
            ),
            strict=True,
        )
        total = sum(weights)
        shared = jax.tree.map(
            lambda leaf, *by, total=total: leaf - 0.5 * sum(by) / total, shared, *slopes
        )
    return jax.tree.map(jnp.subtract, shared, state.shared)


class Asked(NamedTuple):
    """An example that says who it is of."""

    inputs: Any


def test_every_batch_has_its_share_of_each_length_and_everybody_comes_once(data: Any) -> None:
    counts = np.diff(np.asarray(data.clients.offsets))
    own = replace(
        data.clients, items=jnp.repeat(jnp.arange(NUM_PEOPLE), counts)
    )  # each one's own number
    objective = Objective(
        lambda key, history: ({}, history.items[0]),
        batch=lambda person, step: Asked(person),
        loss=lambda score, asked: (score, jnp.ones(())),
    )
    table = Part({"item": jnp.zeros(NUM_PEOPLE)}, ())
    spied_on = Model(
        {"item": NUM_PEOPLE},
        init=lambda key: (table, Part({}, ())),
        score=lambda view, person: view.shared.rows["item"][person],
    )

    def spy(slope: Any, seen: Any, params: Any = None) -> tuple[Any, Any]:
        number, of_steps = seen
        is_asked = slope[0].rows["item"] != 0
        still = jax.tree.map(jnp.zeros_like, slope)
        return still, (number + 1, of_steps.at[number].set(is_asked))

    optimizer = optax.GradientTransformation(
        lambda params: (jnp.int32(0), jnp.zeros((9, NUM_PEOPLE), bool)),
        spy,  # type: ignore[arg-type]
    )
    _, after = epoch(pooled_people(spied_on, objective, own, optimizer, batch_size=3), data)
    number, of_steps = after.extra.dense.opt_state
    assert int(number) == 4
    assert of_steps.sum(axis=0).tolist() == [1] * NUM_PEOPLE
    groups = np.searchsorted(PADDED_TO, counts)
    for group in np.unique(groups):
        most = -(-(groups == group).sum() // 4)
        assert of_steps[:, groups == group].sum(axis=1).max() <= most


@pytest.mark.parametrize(
    ("num_batches", "padded_to"), [(1, [150, 128, 64, 32]), (2, [150, 64, 32]), (4, [150, 32])]
)
def test_long_people_are_padded_by_twice_as_many_where_every_batch_has_some(
    num_batches: int, padded_to: list[int]
) -> None:
    lengths = [20, 70, 150, 40, 30, 65, 50]
    with_held_out = [length + 2 for length in lengths]
    users = np.repeat(np.arange(len(lengths)), with_held_out)
    items = np.concatenate([np.arange(length) for length in with_held_out])
    split = leave_one_out(from_events(users, items, times=np.arange(len(items))))
    groups = _groups(client_data(split), num_batches)
    assert [group.num_events for group in groups] == [
        max(length for length in lengths if length <= most) for most in padded_to
    ]
    ends = [0, *(group.stop for group in groups)]
    assert [group.start for group in groups] == ends[:-1]
    assert ends[-1] == len(lengths)


def test_it_learns_by_name(data: Any) -> None:
    options = {"num_negatives": 16, "people": 4, "dim": 8, "max_length": LENGTH, "num_blocks": 1}
    rates = {"item_learning_rate": 0.02, "dense_learning_rate": 0.02}
    twin = BASELINES["centralised"](
        data.num_items,
        data=data.clients,
        model="sasrec",
        objective="sampled_item",
        **options,
        **rates,
    )
    result = simulate(
        twin, data, key=jax.random.key(0), rounds=12, evaluation=EvaluationPlan(every=1)
    )
    found = [line["valid/auc"] for line in result.metrics]
    assert max(found) > found[0] + 0.02  # so few people are soon learnt by heart


def test_frozen_parameters_reach_the_twin(data: Any) -> None:
    model = model_of(data)
    likes = 0.1 * np.arange(data.num_items, dtype=np.float32)

    def score(view: View, inputs: Any) -> jax.Array:
        # with items that the base likes the loss is another than that of the model alone
        return model.score(view, inputs) + view.frozen.dense["liked"]

    liked = model.with_score(
        score,
        weights=Weights(lambda: Part({}, {"liked": likes}), "made here", "0" * 64),
    )
    objective = next_item(data.num_items, LENGTH)
    moved = []
    for one in (model, liked):
        state, after = epoch(pooled_people(one, objective, data.clients, optax.sgd(0.5)), data)
        moved.append(np.asarray(after.shared.rows["item"] - state.shared.rows["item"]))
    assert np.abs(moved[0] - moved[1]).max() > 1e-3


def test_what_it_cannot_train_is_refused(data: Any) -> None:
    sampler = Sampler(data.num_items)
    with pytest.raises(ValueError, match="the model has private parameters and is not row-wise"):
        pooled_people(
            matrix_factorization(data.num_items),
            sampled(sampler, binary_cross_entropy),
            data.clients,
        )
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        pooled_people(model_of(data), next_item(data.num_items), data.clients, batch_size=0)
