"""Bytes counted by hand."""

import jax
import jax.numpy as jnp
import pytest

from fedjax_rec.algorithms import colr, fedmf, gpfedrec, recommender, scaffold
from fedjax_rec.base import Part
from fedjax_rec.errors import UserError
from fedjax_rec.evaluation.communication import (
    ClientBytes,
    Communication,
    bytes_per_client,
    received,
)
from fedjax_rec.simulation import build

SHARED = Part(
    {"item": {"embedding": jnp.zeros((100, 8)), "bias": jnp.zeros(100)}},
    {"layer": jnp.zeros((8, 2))},
)
UPDATE = Part(
    {"item": {"embedding": jnp.zeros((100, 8), jnp.int8), "bias": jnp.zeros(100, jnp.int8)}},
    {"layer": jnp.zeros((8, 2))},
)


def test_a_table_travels_whole_both_ways():
    found = bytes_per_client(SHARED, UPDATE)
    assert found == ClientBytes(down=100 * 9 * 4 + 16 * 4, up=100 * 9 * 1 + 16 * 4)


def test_rows_travel_in_the_order_of_the_ids_that_were_asked_for():
    found = bytes_per_client(SHARED, UPDATE, "rows", {"item": 7})
    assert found == ClientBytes(down=7 * 9 * 4 + 16 * 4, up=7 * (9 * 1 + 4) + 16 * 4)


def test_shapes_are_enough():
    shapes = jax.eval_shape(lambda: (SHARED, UPDATE))
    assert bytes_per_client(*shapes) == bytes_per_client(SHARED, UPDATE)


@pytest.mark.parametrize(
    ("algorithm", "down", "up"),
    [
        (fedmf(30, dim=8), 30 * 8, 30 * 8),
        (colr(30, dim=8, rank=2), 30 * 8 + 2 * 8, 30 * 2),  # with the round's basis
        (gpfedrec(30, num_slots=5, dim=8), 2 * 30 * 8, 30 * 8),  # V and R_u
        (
            scaffold(*recommender(30, dim=8, is_sliced=False), num_clients=5),
            2 * 30 * 8,  # x and c
            2 * 30 * 8,  # what they change by
        ),
    ],
    ids=["fedmf", "colr", "gpfedrec", "scaffold"],
)
def test_what_is_broadcast_is_what_is_counted(algorithm, down, up):
    init = build(algorithm).init
    state, *_ = jax.eval_shape(lambda: init(jax.random.key(0), 5))
    sent = jax.eval_shape(algorithm.template, state.shared)
    assert bytes_per_client(received(algorithm, state), sent) == ClientBytes(4 * down, 4 * up)


def test_each_table_has_its_own_rows():
    two = Part({"item": jnp.zeros((50, 2)), "word": jnp.zeros((90, 3), jnp.float16)}, ())
    found = bytes_per_client(two, two, "rows", {"item": 5, "word": 6})
    rows = 5 * 8 + 6 * 6
    assert found == ClientBytes(down=rows, up=rows + 4 * 11)


def test_nothing_sent_is_nothing_counted():
    nothing = Part({}, ())
    assert bytes_per_client(nothing, nothing) == ClientBytes(0, 0)
    assert bytes_per_client(nothing, nothing, "rows", {}) == ClientBytes(0, 0)


def test_an_unknown_payload_is_refused():
    with pytest.raises(UserError, match=r"'row'.*'rows'"):
        bytes_per_client(SHARED, UPDATE, "row")


def test_rows_need_the_number_of_rows():
    with pytest.raises(ValueError, match="rows_touched"):
        bytes_per_client(SHARED, UPDATE, "rows")


def test_a_record_adds_up_rounds_of_different_cohorts():
    record = Communication("rows")
    record = record.add(ClientBytes(down=10, up=20), num_clients=3)
    record = record.add(ClientBytes(down=12.5, up=25), num_clients=2)
    assert record.to_dict() == {
        "payload": "rows",
        "rounds": 2,
        "client_rounds": 5,
        "bytes_down_per_client_round": 11.0,
        "bytes_up_per_client_round": 22.0,
        "total_down": 55,
        "total_up": 110,
    }


def test_a_record_of_no_rounds_is_zero():
    assert Communication().to_dict()["bytes_up_per_client_round"] == 0
