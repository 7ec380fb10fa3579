"""The types: private parts stay apart, statistics merge, keys and histories are exact."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec import base
from fedjax_rec.base import ClientData, Inputs, LengthClass, Part, Private, Stat, derive_key

SHARED = Part({"item": jnp.ones((3, 2))}, jnp.ones(2))
PRIVATE = Private({"item": jnp.ones((3, 2))}, jnp.ones(2))


# ---------------------------------------------------------------------------- parts


def add(left: Any, right: Any) -> Any:
    return jax.tree.map(jnp.add, left, right)


@pytest.mark.parametrize("pair", [(SHARED, PRIVATE), (PRIVATE, SHARED)])
def test_private_parameters_cannot_be_summed_with_shared_ones(pair: Any) -> None:
    with pytest.raises(ValueError, match="Private"):
        add(*pair)
    with pytest.raises(ValueError, match="Private"):
        jax.jit(add)(*pair)
    with pytest.raises(ValueError, match="Private"):
        add((pair[0], 1.0), (pair[1], 1.0))


def test_parts_of_one_role_are_summed() -> None:
    assert type(add(SHARED, SHARED)) is Part
    assert type(add(PRIVATE, PRIVATE)) is Private


def test_the_two_branches_of_a_condition_may_not_change_the_role() -> None:
    with pytest.raises(TypeError):
        jax.lax.cond(True, lambda: SHARED, lambda: PRIVATE)


@pytest.mark.parametrize(
    "passed",
    [
        lambda part: jax.jit(lambda part: part)(part),
        lambda part: jax.vmap(lambda part: part, in_axes=0)(
            jax.tree.map(lambda leaf: leaf[None], part)
        ),
        lambda part: jax.tree.map(lambda leaf: 2 * leaf, part),
        lambda part: jax.grad(lambda part: sum(x.sum() for x in jax.tree.leaves(part)))(part),
        lambda part: jax.lax.fori_loop(0, 2, lambda _, part: part, part),
        lambda part: jax.eval_shape(lambda part: part, part),
        lambda part: part._replace(dense=()),
        lambda part: jax.tree.unflatten(jax.tree.structure(part), jax.tree.leaves(part)),
    ],
    ids=["jit", "vmap", "map", "grad", "loop", "eval_shape", "_replace", "unflatten"],
)
def test_a_part_keeps_its_role_through(passed: Any) -> None:
    assert type(passed(PRIVATE)) is Private
    assert type(passed(SHARED)) is Part


def test_empty_parts_hold_nothing_and_keep_their_roles() -> None:
    assert jax.tree.leaves((base.empty(), base.nothing_private())) == []
    assert type(base.empty()) is Part
    assert type(base.nothing_private()) is Private
    assert jax.tree.structure(base.empty()) != jax.tree.structure(base.nothing_private())


def test_inputs_carry_their_table_through_jit() -> None:
    returned = jax.jit(lambda inputs: inputs)(Inputs(jnp.arange(2), table="song"))
    assert returned.table == "song"
    assert returned.history is None


# ----------------------------------------------------------------------- statistics


def test_statistics_merge_to_the_mean_of_everything() -> None:
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=20), rng.uniform(size=20)
    merged = Stat(jnp.float32(0), jnp.float32(0))
    for value, weight in zip(values, weights, strict=True):
        merged = merged.merge(Stat(jnp.float32(value * weight), jnp.float32(weight)))
    assert merged.mean() == pytest.approx(np.average(values, weights=weights), rel=1e-5)


def test_the_mean_of_nothing_is_zero() -> None:
    assert Stat(jnp.float32(0), jnp.float32(0)).mean() == 0


# ----------------------------------------------------------------------------- keys


def test_every_round_client_and_purpose_has_a_key_of_its_own() -> None:
    purposes = [base.PREPARE, base.TRAIN, base.ENCODE, base.DECODE, base.INIT, base.INIT_EXTRA]
    assert len(set(purposes)) == 6
    clients = [0, 1, 2, 5, base.SERVER]
    names = jnp.array(list(itertools.product(range(4), clients, purposes)), jnp.uint32)
    keys = jax.vmap(lambda name: derive_key(jax.random.key(0), *name))(names)
    assert len(np.unique(jax.random.key_data(keys), axis=0)) == len(names)


def test_a_key_is_the_same_from_numbers_and_in_a_program() -> None:
    root = jax.random.key(3)
    plain = derive_key(root, 4, base.SERVER, base.DECODE)
    traced = jax.jit(derive_key, static_argnums=(2, 3))(
        root, jnp.int32(4), base.SERVER, base.DECODE
    )
    assert jax.random.key_data(plain).tolist() == jax.random.key_data(traced).tolist()
    other = derive_key(jax.random.key(4), 4, base.SERVER, base.DECODE)
    assert jax.random.key_data(plain).tolist() != jax.random.key_data(other).tolist()


# ------------------------------------------------------------------------ histories

EVENTS = [[4, 0, 4], [], [1, 2, 3, 4, 0, 1, 2]]
EXCLUDED = [[0, 4], [2], [0, 1, 2, 3, 4]]
NUM_ITEMS = 5


def data() -> ClientData:
    def flat(lists: list[list[int]]) -> tuple[Any, Any]:
        offsets = np.append(0, np.cumsum([len(own) for own in lists]))
        return jnp.asarray(np.concatenate(lists).astype(np.int32)), jnp.asarray(offsets)

    (items, offsets), (excluded, excluded_offsets) = flat(EVENTS), flat(EXCLUDED)
    return ClientData(
        items=items,
        values=jnp.arange(10.0) + 1,
        times=jnp.arange(10) + 100,
        offsets=offsets,
        excluded=excluded,
        excluded_offsets=excluded_offsets,
        rank=jnp.array([1, 2, 0]),
        is_distinct=jnp.array([False, True, False]),
        first=jnp.int32(0),
        classes=(LengthClass(0, 1, 7, 5), LengthClass(1, 3, 4, 2)),
        num_items=NUM_ITEMS,
    )


@pytest.mark.parametrize(("client", "place"), [(0, 1), (1, 1), (2, 0), (0, 0)])
def test_a_history_is_the_clients_own_events_and_padding(client: int, place: int) -> None:
    store, length = data(), data().classes[place]
    history = jax.jit(lambda store, client: store.history(client, length))(store, client)
    events, excluded = EVENTS[client], EXCLUDED[client]
    begin = sum(map(len, EVENTS[:client]))
    padding = length.num_events - len(events)
    numbers = range(begin, begin + len(events))
    assert history.items.tolist() == events + [NUM_ITEMS] * padding
    assert history.values.tolist() == [number + 1 for number in numbers] + [0] * padding
    assert history.times.tolist() == [number + 100 for number in numbers] + [0] * padding
    assert history.num_events == len(events)
    assert history.num_excluded == len(excluded)
    left = length.num_excluded - len(excluded)
    assert history.excluded.tolist() == excluded + [NUM_ITEMS] * left


def test_a_history_too_long_for_its_class_is_cut() -> None:
    history = data().history(jnp.int32(2), data().classes[1])
    assert history.items.tolist() == EVENTS[2][:4]
    assert history.num_events == 4


def test_the_store_knows_its_size_also_in_a_program() -> None:
    assert data().num_clients == 3
    assert jax.jit(lambda store: store.num_clients + store.num_items)(data()) == 8
