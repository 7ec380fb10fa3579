"""What a run says of its privacy: a number with all that belongs to it, or why there is none."""

import json
import math

import pytest

from fedjax_rec.base import Mechanism, SamplingEvent
from fedjax_rec.privacy import add_rounds, epsilon_of, in_words, report_of

EVERYBODY = SamplingEvent("all", 943, 943.0, 943)
POISSON = SamplingEvent("poisson", 1_000, 100.0, 170)
NOISE = (Mechanism("gaussian", 6.01),)
RUN = add_rounds((), EVERYBODY, NOISE, 100)
KEYS = {
    "claims",
    "unit",
    "relation",
    "epsilon",
    "delta",
    "noise_multiplier",
    "clip_norm",
    "sampling",
    "rounds",
    "accountant",
    "trust",
    "reasons",
    "not_covered",
}


def told(ledger=RUN, delta=1e-5, clip_norm=1.0, unit="user", **options):
    report = report_of(ledger, delta, clip_norm=clip_norm, unit=unit, **options)
    return json.loads(json.dumps(report.to_dict(), allow_nan=False)), in_words(report)


def test_a_guarantee_is_told_with_all_that_belongs_to_it():
    record, words = told(add_rounds((), POISSON, (Mechanism("gaussian", 1.0),), 100))
    assert set(record) == KEYS
    assert record["claims"] == "valid"
    assert record["unit"] == "user"
    assert record["relation"] == "add_or_remove_one"
    ledger = add_rounds((), POISSON, (Mechanism("gaussian", 1.0),), 100)
    assert record["epsilon"] == epsilon_of(ledger, 1e-5)
    assert record["delta"] == 1e-5
    assert (record["noise_multiplier"], record["clip_norm"]) == (1.0, 1.0)
    assert record["sampling"] == {"kind": "poisson", "probability": 0.1, "capacity": 170}
    assert record["rounds"] == 100
    assert record["accountant"]["name"] == "pld"
    assert record["accountant"]["library"].startswith("dp-accounting 0.6")
    assert record["trust"] == "central"
    assert record["reasons"] == []
    assert words == "epsilon 7.05 (delta 1e-05, user, 100 rounds)"


@pytest.mark.parametrize(
    "word",
    [
        "metrics",
        "per-client files",
        "checkpoints",
        "seed in config.toml",
        "float32",
        "recommendations",
        "catalogue",
        "validation items",
    ],
)
def test_what_is_not_covered_is_said(word):
    record, _ = told()
    assert sum(word in sentence for sentence in record["not_covered"]) == 1


def test_a_silo_is_not_a_person():
    silo, words = told(unit="silo", extra_not_covered=["one thing more"])
    assert "silo" in words
    assert any("not a person" in sentence for sentence in silo["not_covered"])
    assert silo["not_covered"][-1] == "one thing more"
    assert not any("silo" in sentence for sentence in told()[0]["not_covered"])


def test_local_noise_asks_for_no_trust():
    local = (Mechanism("local", 20.0),)
    record, _ = told(add_rounds((), EVERYBODY, local, 10))
    assert (record["trust"], record["relation"]) == ("local", "replace_one")
    assert any("who takes part" in sentence for sentence in record["not_covered"])
    mixed = add_rounds(add_rounds((), EVERYBODY, local, 10), EVERYBODY, NOISE, 1)
    assert told(mixed)[0]["trust"] == "central"
    beside = add_rounds((), EVERYBODY, (*local, Mechanism("gaussian", 20.0, "count")), 10)
    assert told(beside)[0]["trust"] == "central"


BARE = add_rounds(RUN, EVERYBODY, (), 3)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"problems": ["weights by data size"]}, "weights by data size"),
        ({"ledger": ()}, "no round is in the log"),
        ({"ledger": BARE}, "3 rounds released updates without noise"),
        (
            {"ledger": add_rounds((), EVERYBODY, (Mechanism("gaussian", 0.0),), 1)},
            "multiplier of 0",
        ),
        ({"ledger": add_rounds((), EVERYBODY, (Mechanism("gaussian", 1e-200),), 1)}, "too weak"),
        ({"clip_norm": None}, "no bound"),
        ({"clip_norm": math.inf}, "no bound"),
        ({"clip_norm": math.nan}, "no bound"),
        ({"clip_norm": 0.0}, "no bound"),
        ({"delta": 0.01}, "below 1/943"),
        ({"delta": 1e-9}, "float32"),
        ({"delta": math.nan}, "below 1/943"),
    ],
)
def test_without_a_guarantee_there_is_no_number_but_a_reason(options, reason):
    record, words = told(**options)
    assert set(record) == KEYS
    assert (record["claims"], record["epsilon"]) == ("none", None)
    assert reason in record["reasons"][0]
    assert words.startswith("no guarantee: ")
    assert reason in words


def test_all_reasons_are_given():
    record, _ = told(BARE, clip_norm=None, problems=["one", "two"])
    assert len(record["reasons"]) == 4


def test_unlike_rounds_are_told_by_their_weakest():
    ledger = add_rounds(RUN, POISSON, (Mechanism("gaussian", 3.0),), 5)
    record, _ = told(ledger)
    assert record["sampling"] == {"kind": "mixed", "probability": 1.0, "capacity": 943}
    assert (record["noise_multiplier"], record["rounds"]) == (3.0, 105)
    assert told(BARE)[0]["noise_multiplier"] is None


@pytest.mark.parametrize("z", [0.9, 2.0, 6.0, 50.0, 4_000.0])
def test_the_words_never_flatter(z):
    ledger = add_rounds((), EVERYBODY, (Mechanism("gaussian", z),), 1)
    words = in_words(report_of(ledger, 1e-5, clip_norm=1.0, unit="user"))
    shown = float(words.split()[1])
    assert epsilon_of(ledger, 1e-5) <= shown <= 1.01 * epsilon_of(ledger, 1e-5)
    assert words.endswith("(delta 1e-05, user, 1 round)")
