"""The log of executed rounds: short, exact, and refused where it is damaged."""

import copy
import json
import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedjax_rec.base import Mechanism, SamplingEvent
from fedjax_rec.errors import UserError
from fedjax_rec.privacy import add_rounds, from_record, num_rounds, to_record
from fedjax_rec.sampling import Rotating

EVENTS = st.builds(
    lambda kind, num_clients, share, capacity, most, within, burst: SamplingEvent(
        kind, num_clients, max(share * num_clients, 1e-9), capacity, most, within, burst
    ),
    st.sampled_from(["all", "uniform", "rotating", "poisson", "cyclic_poisson", "availability"]),
    st.integers(1, 10**9),
    st.floats(1e-6, 1),
    st.integers(1, 10**9),
    st.integers(1, 10**9),
    st.integers(1, 10**9),
    st.integers(0, 10**9),
)
MECHANISMS = st.builds(
    Mechanism,
    st.sampled_from(["gaussian", "correlated", "local"]),
    st.floats(0, 1e6),
    st.sampled_from(["update", "count"]),
    st.lists(st.floats(0, 1), max_size=4).map(tuple),
)
PARTS = st.tuples(EVENTS, st.lists(MECHANISMS, max_size=3).map(tuple), st.integers(0, 10**6))


@given(st.lists(PARTS, max_size=5))
def test_it_comes_back_from_json_to_the_bit(parts):
    ledger = ()
    for event, mechanisms, rounds in parts:
        ledger = add_rounds(ledger, event, mechanisms, rounds)
    text = json.dumps(to_record(ledger), allow_nan=False)
    assert from_record(json.loads(text)) == ledger
    assert num_rounds(ledger) == sum(rounds for _, _, rounds in parts)


def test_equal_neighbours_are_one_entry_and_others_stay_apart():
    event, other = SamplingEvent("all", 9, 9.0, 9), SamplingEvent("all", 8, 8.0, 8)
    one, two = (Mechanism("gaussian", 1.0),), (Mechanism("gaussian", 2.0),)
    ledger = ()
    for _ in range(1_000):
        ledger = add_rounds(ledger, event, one, 1)
    assert [entry.rounds for entry in ledger] == [1_000]
    for what in ((event, two), (event, one), (other, one), (other, one)):
        ledger = add_rounds(ledger, *what, 1)
    assert [entry.rounds for entry in ledger] == [1_000, 1, 1, 2]
    assert add_rounds(ledger, event, two, 0) == ledger


def test_numbers_of_numpy_are_written_as_numbers():
    event = SamplingEvent("all", np.int64(9), np.float64(9), np.int32(9))
    mechanism = Mechanism("correlated", np.float32(0.1), "update", (np.float32(0.1), 1))
    ledger = add_rounds((), event, [mechanism], np.int64(3))
    again = from_record(json.loads(json.dumps(to_record(ledger))))
    assert again == ledger
    assert again[0].mechanisms[0].noise_multiplier == float(np.float32(0.1))


def test_an_array_of_jax_is_a_number():
    event = SamplingEvent("all", 9, 9.0, 9)
    ledger = add_rounds((), event, [Mechanism("gaussian", jnp.float32(0.5))], 1)
    assert ledger == add_rounds((), event, [Mechanism("gaussian", 0.5)], 1)
    assert hash(ledger[0].mechanisms)


GOOD = to_record(
    add_rounds((), SamplingEvent("poisson", 100, 10.0, 40), [Mechanism("gaussian", 1.0)], 7)
)


def damage(path, value):
    records = copy.deepcopy(GOOD)
    *before, last = path
    place = records
    for step in before:
        place = place[step]
    place[last] = value
    return records


@pytest.mark.parametrize(
    "records",
    [
        None,
        5,
        "poisson",
        {},
        [None],
        [[]],
        [{}],
        [{**GOOD[0], "more": 1}],
        damage([0, "rounds"], -1),
        damage([0, "rounds"], 0),
        damage([0, "rounds"], 1.5),
        damage([0, "rounds"], True),
        damage([0, "rounds"], "7"),
        damage([0, "rounds"], math.inf),
        damage([0, "event"], []),
        damage([0, "event"], {"kind": "all"}),
        damage([0, "event", "kind"], 3),
        damage([0, "event", "num_clients"], 0),
        damage([0, "event", "num_clients"], None),
        damage([0, "event", "expected_size"], 101),
        damage([0, "event", "expected_size"], math.nan),
        damage([0, "event", "surprise"], 1),
        damage([0, "event", "most"], 0),
        damage([0, "event", "within"], 0),
        damage([0, "event", "within"], 1.5),
        damage([0, "event", "burst"], -1),
        damage([0, "event", "burst"], "1"),
        damage([0, "mechanisms"], None),
        damage([0, "mechanisms"], ["gaussian"]),
        damage([0, "mechanisms"], [[1]]),
        damage([0, "mechanisms", 0, "noise_multiplier"], -1),
        damage([0, "mechanisms", 0, "noise_multiplier"], math.nan),
        damage([0, "mechanisms", 0, "noise_multiplier"], math.inf),
        damage([0, "mechanisms", 0, "noise_multiplier"], 10**400),
        damage([0, "mechanisms", 0, "noise_multiplier"], "1"),
        damage([0, "mechanisms", 0, "strategy"], 5),
        damage([0, "mechanisms", 0, "strategy"], "abc"),
        damage([0, "mechanisms", 0, "kind"], ["gaussian"]),
    ],
)
def test_a_damaged_record_is_refused_in_one_line(records):
    assert from_record(GOOD)[0].rounds == 7
    with pytest.raises(UserError, match="log of executed rounds is damaged") as refusal:
        from_record(records)
    assert "\n" not in str(refusal.value)


OLD = ("kind", "num_clients", "expected_size", "capacity")


def before_laws(kind):
    """A record that was written before events said how often a client comes."""
    record = copy.deepcopy(GOOD[0])
    record["event"] = {name: record["event"][name] for name in OLD} | {"kind": kind}
    return [record]


@pytest.mark.parametrize("kind", ["all", "uniform", "poisson", "rotating", "of a plug-in"])
def test_an_older_record_means_what_it_meant(kind):
    (entry,) = from_record(before_laws(kind))
    assert entry.event.participations(25) == (10 if kind == "rotating" else 25)
    assert entry.event.min_separation() == (2 if kind == "rotating" else 1)
    assert from_record(to_record((entry,))) == (entry,)


def test_a_queue_of_an_older_record_goes_on_as_one_run():
    old = before_laws("rotating")
    old[0]["event"]["expected_size"] = 40.0
    (entry,) = from_record(old)
    assert entry.event == Rotating(100, 40).event


def test_a_record_with_a_hole_where_it_matters_is_refused():
    with pytest.raises(UserError, match="does not say how often a client comes"):
        from_record(before_laws("cyclic_poisson"))
    for name in ("most", "within", "burst"):
        record = copy.deepcopy(GOOD)
        del record[0]["event"][name]
        with pytest.raises(UserError, match=f"its event has no {name}"):
            from_record(record)


@pytest.mark.parametrize("rounds", [-1, 0.5, math.nan])
def test_rounds_that_cannot_have_been_are_refused(rounds):
    with pytest.raises(UserError, match="no such round"):
        add_rounds((), SamplingEvent("all", 9, 9.0, 9), [], rounds)
