"""Rows of parts, views, and arithmetic of trees."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec import tree
from fedjax_rec.algorithms import fedmf
from fedjax_rec.base import Entry, FederatedAlgorithm, Part, Private, ServerState, empty

TABLE = np.arange(12.0).reshape(4, 3)


def part(kind: Any = Part) -> Any:
    return kind(
        {"item": {"a": jnp.asarray(TABLE), "b": jnp.asarray(TABLE[:, 0])}, "user": jnp.arange(2.0)},
        {"head": jnp.ones(5)},
    )


@pytest.mark.parametrize("kind", [Part, Private])
def test_take_cuts_the_named_tables_and_leaves_the_rest(kind: Any) -> None:
    taken = tree.take(part(kind), {"item": jnp.array([3, 1])})
    assert type(taken) is kind
    np.testing.assert_array_equal(taken.rows["item"]["a"], TABLE[[3, 1]])
    np.testing.assert_array_equal(taken.rows["item"]["b"], TABLE[[3, 1], 0])
    np.testing.assert_array_equal(taken.rows["user"], [0, 1])
    np.testing.assert_array_equal(taken.dense["head"], np.ones(5))


def test_padding_ids_read_zero() -> None:
    taken = tree.take(part(), {"item": jnp.array([4, 2, 100])})
    np.testing.assert_array_equal(taken.rows["item"]["a"], [[0] * 3, TABLE[2], [0] * 3])


@pytest.mark.parametrize("row_ids", [{}, {"item": None}, {"other": jnp.array([1])}])
def test_none_and_no_entry_are_the_whole_table(row_ids: Any) -> None:
    whole, taken = part(), tree.take(part(), row_ids)
    for left, right in zip(jax.tree.leaves(whole), jax.tree.leaves(taken), strict=True):
        np.testing.assert_array_equal(left, right)


def test_take_is_differentiated_into_the_rows_it_read() -> None:
    def read(table: Any) -> Any:
        taken = tree.take(Part({"item": table}, ()), {"item": jnp.array([2, 4])})
        return taken.rows["item"].sum()

    expected = np.zeros((4, 3))
    expected[2] = 1
    np.testing.assert_array_equal(jax.grad(read)(jnp.asarray(TABLE)), expected)


# ---------------------------------------------------------------------------- views


def state(extra: Part) -> ServerState:
    return ServerState(jax.random.key(0), jnp.int32(0), part(), (), (), extra)


def view(algorithm: FederatedAlgorithm) -> Any:
    return tree.client_view(
        algorithm,
        state(Part({"item": jnp.asarray(10 * TABLE)}, ())),
        Part({"item": jnp.asarray(20 * TABLE)}, ()),
        Entry(jnp.int32(7), jnp.int32(7), jnp.bool_(True)),
        Private({"item": jnp.asarray(30 * TABLE)}, jnp.ones(2)),
        Private({"item": jnp.asarray(40 * TABLE)}, ()),
        {"item": jnp.array([1, 3])},
    )


def test_a_view_is_every_part_cut_to_the_same_rows() -> None:
    seen = view(fedmf(4))
    np.testing.assert_array_equal(seen.shared.rows["item"]["a"], TABLE[[1, 3]])
    for scale, cut in (10, seen.extra), (20, seen.frozen), (30, seen.private), (40, seen.memory):
        np.testing.assert_array_equal(cut.rows["item"], scale * TABLE[[1, 3]])
    assert isinstance(seen.private, Private)
    assert isinstance(seen.memory, Private)


def test_a_broadcast_of_its_own_replaces_what_the_server_sends() -> None:
    def broadcast(state: ServerState, entry: Entry, row_ids: Any) -> Any:
        return Part({}, 100 + entry.client_id), empty()

    seen = view(replace(fedmf(4), broadcast=broadcast))
    assert int(seen.shared.dense) == 107
    assert seen.extra == empty()
    np.testing.assert_array_equal(seen.private.rows["item"], 30 * TABLE[[1, 3]])


# ----------------------------------------------------------------------- arithmetic


def test_is_part_knows_both_kinds() -> None:
    assert tree.is_part(part())
    assert tree.is_part(part(Private))
    assert not tree.is_part({"rows": 1})


def test_subtract_goes_leaf_by_leaf_and_refuses_mixed_roles() -> None:
    other = jax.tree.map(lambda leaf: leaf - 1, part())
    assert all((leaf == 1).all() for leaf in jax.tree.leaves(tree.subtract(part(), other)))
    with pytest.raises(ValueError):
        tree.subtract(part(), part(Private))


def test_zeros_like_takes_shapes_as_well_as_arrays() -> None:
    shapes = jax.eval_shape(part)
    for zeros in (tree.zeros_like(part()), tree.zeros_like(shapes)):
        assert jax.tree.structure(zeros) == jax.tree.structure(part())
        for zero, leaf in zip(jax.tree.leaves(zeros), jax.tree.leaves(part()), strict=True):
            assert (zero.shape, zero.dtype) == (leaf.shape, leaf.dtype)
            assert not zero.any()


def test_mask_keeps_all_or_gives_zeros_also_in_place_of_nan() -> None:
    mixed = {"x": jnp.array([1.0, jnp.nan, jnp.inf]), "n": jnp.array([3]), "b": jnp.array([True])}
    kept = tree.mask(jnp.bool_(True), mixed)
    np.testing.assert_array_equal(kept["x"], mixed["x"])
    gone = tree.mask(jnp.bool_(False), mixed)
    for name, leaf in gone.items():
        assert leaf.dtype == mixed[name].dtype
        assert not leaf.any()


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({"x": jnp.ones(2)}, True),
        ({"x": jnp.array([1.0, jnp.nan])}, False),
        ({"x": jnp.ones(2), "y": (jnp.array(-jnp.inf),)}, False),
        ({"n": jnp.array([2**31 - 1]), "b": jnp.array([True])}, True),
        ({"n": jnp.array([1]), "x": jnp.array([jnp.inf])}, False),
        ({"x": jnp.array([jnp.nan], jnp.bfloat16)}, False),
        ({"z": jnp.array([1 + 1j * jnp.nan])}, False),
        ({"x": jnp.zeros((0, 3))}, True),
        ({}, True),
    ],
)
def test_is_finite_looks_at_every_number_that_could_fail(numbers: Any, expected: bool) -> None:
    assert bool(tree.is_finite(numbers)) is expected


def test_is_finite_passes_over_random_keys() -> None:
    assert bool(tree.is_finite({"key": jax.random.key(0), "x": jnp.ones(1)}))
    assert not bool(tree.is_finite({"key": jax.random.key(0), "x": jnp.array(jnp.nan)}))


def test_a_row_is_touched_when_any_number_of_any_leaf_changed() -> None:
    change = {
        "wide": jnp.zeros((5, 2, 2)).at[1, 1, 0].set(-1e-30).at[4, 0, 0].set(jnp.nan),
        "flat": jnp.zeros(5).at[2].set(3.0),
    }
    assert tree.touched(change).tolist() == [False, True, True, False, True]
