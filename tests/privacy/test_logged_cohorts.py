"""What a run says it cost, against a script that knows nothing but who took part."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from fedjax_rec.algorithms import fedmf
from fedjax_rec.data import load
from fedjax_rec.sampling import CyclicPoisson, Rotating, TruncatedPoisson, Uniform
from fedjax_rec.simulation import EvaluationPlan, Execution, PrivacyPlan, simulate
from fedjax_rec.transforms import chain, clip_by_norm, gaussian_noise, mean
from tests.privacy import oracle

NUM_CLIENTS, SIZE, NOISE, ROUNDS = 200, 30.0, 1.3, 30
DATA = load("synthetic", num_users=NUM_CLIENTS, num_items=60, mean_events=5)


class Logged:
    """A sampler that writes down whom it drew."""

    def __init__(self, sampler, event=None):
        self.sampler, self.cohorts = sampler, []
        self.event = event or sampler.event

    def draw(self, seed, round):
        drawn = self.sampler.draw(seed, round)
        assert round == len(self.cohorts), "each round is drawn once, in order"
        self.cohorts.append([int(client) for client in drawn])
        return drawn


def executed(sampler, rounds=ROUNDS, **changes):
    """The report of a run, and its log."""
    aggregate = chain(clip_by_norm(0.5), mean(divisor=SIZE), gaussian_noise(NOISE))
    result = simulate(
        fedmf(DATA.num_items, aggregate=aggregate, dim=2, batch_size=32),
        DATA,
        key=jax.random.key(7),
        rounds=rounds,
        sampler=sampler,
        evaluation=EvaluationPlan(every=rounds),
        execution=Execution(),
        privacy=PrivacyPlan(delta=oracle.DELTA, **changes),
        notice=lambda line: None,
    )
    log = {
        "num_clients": NUM_CLIENTS,
        "probability": SIZE / NUM_CLIENTS,
        "noise_multiplier": NOISE,
        "cohorts": sampler.cohorts,
    }
    return result.summary["privacy"], log


@pytest.fixture(scope="module")
def poisson():
    return executed(Logged(TruncatedPoisson(NUM_CLIENTS, SIZE)))


def by_script(log, folder):
    file = folder / "log.json"
    file.write_text(json.dumps(log))
    return subprocess.run(
        [sys.executable, "-I", Path(oracle.__file__), file], capture_output=True, text=True
    )


def test_the_epsilon_of_a_run_is_that_of_its_logged_cohorts(poisson, tmp_path):
    said, log = poisson
    script = by_script(log, tmp_path)
    assert script.returncode == 0, script.stderr
    assert said["claims"] == "valid"
    assert said["epsilon"] == pytest.approx(float(script.stdout), rel=0.01)
    one_more = dict(log, cohorts=[*log["cohorts"], log["cohorts"][0]])
    assert oracle.recomputed(one_more) > 1.01 * said["epsilon"], "the control: rounds count"


def test_a_run_that_ends_early_is_accounted_for_the_cohorts_that_it_drew(poisson):
    budget = poisson[0]["epsilon"] * 0.8
    said, log = executed(Logged(TruncatedPoisson(NUM_CLIENTS, SIZE)), epsilon=budget)
    assert len(log["cohorts"]) == said["rounds"] < ROUNDS
    assert said["epsilon"] == pytest.approx(oracle.recomputed(log), rel=0.01)
    assert said["epsilon"] <= budget


def test_the_script_finds_out_who_draws_otherwise_than_claimed():
    """A fixed size, a queue, groups and other rates behind a Poisson sampler's event."""
    event = TruncatedPoisson(NUM_CLIENTS, SIZE).event
    liars = (
        Uniform(NUM_CLIENTS, int(SIZE)),
        Rotating(NUM_CLIENTS, int(SIZE)),
        CyclicPoisson(NUM_CLIENTS, SIZE, 6),
        TruncatedPoisson(NUM_CLIENTS, SIZE * 1.15),
        TruncatedPoisson(NUM_CLIENTS, SIZE * 0.85),
    )
    for sampler in liars:
        cohorts = [sampler.draw(1, round) for round in range(4 * ROUNDS)]
        assert oracle.why_not_poisson(cohorts, NUM_CLIENTS, event.probability), sampler
    honest = TruncatedPoisson(NUM_CLIENTS, SIZE)
    for seed in range(20):
        cohorts = [honest.draw(seed, round) for round in range(ROUNDS)]
        assert not oracle.why_not_poisson(cohorts, NUM_CLIENTS, event.probability)


def test_groups_in_turn_cost_what_one_group_does():
    """By the same integration: the turns of a client's own group, at the rate within it."""
    sampler = Logged(CyclicPoisson(NUM_CLIENTS, 10.0, 10))
    said, log = executed(sampler)
    by_group = {}
    for round, cohort in enumerate(log["cohorts"]):
        by_group.setdefault(round % 10, []).append(cohort)
    members = [set().union(*group) for group in by_group.values()]
    assert all(not one & other for one in members for other in members if one is not other)
    turns = {len(group) for group in by_group.values()}
    assert turns == {3}
    assert said["epsilon"] == pytest.approx(oracle.by_convolution(0.5, NOISE, 3), rel=0.01)
