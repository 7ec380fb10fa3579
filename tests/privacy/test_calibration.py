"""Noise for a wish, on the safe side, found once; and rounds for a budget."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedjax_rec.base import Mechanism, SamplingEvent
from fedjax_rec.cache import cache_folder
from fedjax_rec.errors import UserError
from fedjax_rec.privacy import add_rounds, calibration, epsilon_of, noise_multiplier_for
from fedjax_rec.privacy import rounds_within as within

EVERYBODY = SamplingEvent("all", 943, 943.0, 943)
POISSON = SamplingEvent("poisson", 943, 94.0, 159)
UNIFORM = SamplingEvent("uniform", 943, 94.0, 94)
CUT = SamplingEvent("poisson", 943, 94.0, 100)
DELTA = 1e-5


@pytest.fixture(autouse=True)
def _empty(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDJAX_REC_CACHE", str(tmp_path / "cache"))


def gaussian(z):
    return (Mechanism("gaussian", z),)


def cost(event, z, rounds, make=gaussian):
    return epsilon_of(add_rounds((), event, make(z), rounds), DELTA)


@pytest.mark.parametrize(
    ("event", "epsilon", "rounds"),
    [
        (EVERYBODY, 8.0, 100),
        (EVERYBODY, 0.05, 10),
        (POISSON, 8.0, 100),
        (POISSON, 1.0, 30),
        (POISSON, 0.05, 10),
        (UNIFORM, 1.0, 30),
        (CUT, 8.0, 100),
    ],
)
def test_it_is_safe_and_hardly_more_than_needed(event, epsilon, rounds):
    z = noise_multiplier_for(event, rounds, epsilon, DELTA)
    assert 0.97 * epsilon < cost(event, z, rounds) <= epsilon
    assert cost(event, z * (1 - 2e-3), rounds) > epsilon


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_clients", "size", "rounds", "delta", "epsilon", "known"),
    [
        (943, 94, 200, 1e-5, 1.0, 5.41),
        (6_040, 604, 100, 1e-5, 3.0, 1.68),
        (6_040, 60, 1_000, 1e-5, 8.0, 0.59),
        (1_000_000, 10_000, 1_000, 1_000_000**-1.1, 8.0, 0.63),
    ],
)
def test_it_finds_the_known_multipliers(num_clients, size, rounds, delta, epsilon, known):
    event = SamplingEvent("poisson", num_clients, float(size), num_clients)
    z = noise_multiplier_for(event, rounds, epsilon, delta)
    assert z == pytest.approx(known, abs=0.006)


@pytest.mark.slow
@settings(max_examples=20)
@given(
    st.sampled_from([EVERYBODY, SamplingEvent("rotating", 943, 94.0, 94, most=94, within=943)]),
    st.floats(0.01, 100),
    st.integers(1, 1_000),
)
def test_it_is_always_safe(event, epsilon, rounds):
    z = noise_multiplier_for(event, rounds, epsilon, DELTA)
    assert cost(event, z, rounds) <= epsilon


def with_count(z):
    return (Mechanism("gaussian", z), Mechanism("gaussian", 20.0, "count"))


def test_what_is_released_beside_the_update_takes_its_part():
    z = noise_multiplier_for(EVERYBODY, 10, 4.0, DELTA, make=with_count)
    alone = noise_multiplier_for(EVERYBODY, 10, 4.0, DELTA)
    assert z > alone * 1.001
    assert z == pytest.approx((alone**-2 - 20.0**-2) ** -0.5, rel=1e-3)
    assert cost(EVERYBODY, z, 10, with_count) <= 4.0


def test_correlated_noise_is_solved_too():
    def make(z):
        return (Mechanism("correlated", z, "update", (1.0, 0.5, *[0.0] * 98)),)

    z = noise_multiplier_for(EVERYBODY, 4, 1.0, DELTA, make=make)
    assert z == pytest.approx(3.730632 * math.sqrt(7.75), rel=1e-3)


def test_what_no_noise_can_meet_is_refused_with_the_way_out():
    with pytest.raises(
        UserError, match=r"cannot be met in 1000 rounds by any noise .*fewer rounds"
    ):
        noise_multiplier_for(EVERYBODY, 1_000, 1.0, DELTA, make=with_count)
    with pytest.raises(UserError, match="larger epsilon"):
        noise_multiplier_for(EVERYBODY, 1_000, 1e-8, DELTA)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, 1_001.0, math.inf, math.nan])
def test_an_epsilon_that_means_nothing_is_refused(epsilon):
    with pytest.raises(UserError, match=r"privacy\.epsilon .*leave it out"):
        noise_multiplier_for(EVERYBODY, 10, epsilon, DELTA)


def test_a_bad_delta_or_no_rounds_are_refused():
    with pytest.raises(UserError, match="below 1/943"):
        noise_multiplier_for(EVERYBODY, 10, 1.0, 0.01)
    for rounds in (0, -1):
        with pytest.raises(UserError, match="rounds"):
            noise_multiplier_for(EVERYBODY, rounds, 1.0, DELTA)


# ------------------------------------------------------------------------- cache


def refuse_to_solve(monkeypatch):
    def solving(*arguments, **options):
        raise AssertionError("it is solved again")

    monkeypatch.setattr(calibration, "_smallest", solving)


def test_a_solution_is_found_once(monkeypatch):
    first = noise_multiplier_for(POISSON, 10, 2.0, DELTA)
    refuse_to_solve(monkeypatch)
    assert noise_multiplier_for(POISSON, 10, 2.0, DELTA) == first
    assert not list(cache_folder().rglob("*.part"))


@pytest.mark.parametrize(
    "other",
    [
        {"event": UNIFORM},
        {"rounds": 11},
        {"epsilon": 2.0000001},
        {"delta": 1.1e-5},
        {"make": with_count},
    ],
)
def test_another_question_is_another_solution(monkeypatch, other):
    question = {"event": EVERYBODY, "rounds": 10, "epsilon": 2.0, "delta": DELTA}
    noise_multiplier_for(**question)
    refuse_to_solve(monkeypatch)
    with pytest.raises(AssertionError, match="solved again"):
        noise_multiplier_for(**{**question, **other})


def test_another_version_of_the_library_solves_again(monkeypatch):
    noise_multiplier_for(EVERYBODY, 10, 2.0, DELTA)
    monkeypatch.setattr("fedjax_rec.privacy.solved.library_version", lambda: "dp-accounting 9")
    refuse_to_solve(monkeypatch)
    with pytest.raises(AssertionError, match="solved again"):
        noise_multiplier_for(EVERYBODY, 10, 2.0, DELTA)


def kept():
    (file,) = (cache_folder() / "privacy").iterdir()
    return file


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b"\xff\xfe",
        b'{"answer": 1}',
        b'{"question": "another", "answer": 0.001}',
    ],
)
def test_a_damaged_file_is_ignored_and_mended(content):
    first = noise_multiplier_for(EVERYBODY, 10, 2.0, DELTA)
    good = kept().read_bytes()
    kept().write_bytes(content)
    assert noise_multiplier_for(EVERYBODY, 10, 2.0, DELTA) == first
    assert kept().read_bytes() == good


@pytest.mark.parametrize("answer", [None, "1", -1, 0, math.inf, math.nan, [1]])
def test_an_answer_that_is_no_multiplier_is_ignored(answer):
    first = noise_multiplier_for(EVERYBODY, 10, 2.0, DELTA)
    kept().write_text(json.dumps({**json.loads(kept().read_text()), "answer": answer}))
    assert noise_multiplier_for(EVERYBODY, 10, 2.0, DELTA) == first


def test_a_folder_that_cannot_be_written_is_no_matter(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FEDJAX_REC_CACHE", str(tmp_path / "file"))
    assert noise_multiplier_for(EVERYBODY, 10, 2.0, DELTA) > 1


# ------------------------------------------------------------------------ budget


@pytest.mark.parametrize("event", [EVERYBODY, POISSON])
def test_a_run_ends_at_the_last_round_within_its_budget(event):
    z = noise_multiplier_for(event, 20, 2.0, DELTA)
    assert within((), event, gaussian(z), 2.0, DELTA, most=20) == 20
    assert within((), event, gaussian(z), 2.0, DELTA, most=60) == 20


def test_what_was_executed_counts_against_the_budget():
    z = noise_multiplier_for(EVERYBODY, 20, 2.0, DELTA)
    spent = add_rounds((), EVERYBODY, gaussian(z), 15)
    assert within(spent, EVERYBODY, gaussian(z), 2.0, DELTA, most=60) == 5
    assert within(spent, EVERYBODY, gaussian(z), 1.0, DELTA, most=60) == 0


def test_other_rounds_count_against_the_budget():
    before = add_rounds((), EVERYBODY, gaussian(6.0), 50)
    more = within(before, EVERYBODY, gaussian(12.0), 8.0, DELTA, most=10_000)
    longer = add_rounds(before, EVERYBODY, gaussian(12.0), more)
    assert epsilon_of(longer, DELTA) <= 8.0
    assert epsilon_of(add_rounds(longer, EVERYBODY, gaussian(12.0), 1), DELTA) > 8.0
    assert 0 < more < 10_000


def test_without_noise_or_without_a_wish_there_are_no_rounds():
    assert within((), EVERYBODY, (), 8.0, DELTA, most=10) == 0
    assert within((), EVERYBODY, gaussian(6.0), 8.0, DELTA, most=0) == 0
    bare = add_rounds((), EVERYBODY, (), 1)
    assert within(bare, EVERYBODY, gaussian(100.0), 8.0, DELTA, most=10) == 0
