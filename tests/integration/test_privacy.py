"""What noise promises, through whole rounds, both executors, runs and resumed runs."""

import json
import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax_privacy.matrix_factorization import toeplitz as theirs

from fedjax_rec import base
from fedjax_rec.algorithms import fedavg, fedmf
from fedjax_rec.base import AggregateTransform, Mechanism, Sampler, SamplingEvent, ServerUpdate
from fedjax_rec.baselines import popularity
from fedjax_rec.clients import by_role, local_training
from fedjax_rec.config import from_dict
from fedjax_rec.data import load
from fedjax_rec.errors import UserError
from fedjax_rec.experiment import build as build_experiment
from fedjax_rec.models import matrix_factorization
from fedjax_rec.objectives import binary_cross_entropy, sampled
from fedjax_rec.privacy import Executed, epsilon_of, from_record
from fedjax_rec.privacy.library import gaussian_epsilon
from fedjax_rec.sampling import AllClients, Rotating, TruncatedPoisson, Uniform
from fedjax_rec.simulation import (
    EarlyStop,
    EvaluationPlan,
    Execution,
    PrivacyPlan,
    build,
    pad_cohort,
    simulate,
)
from fedjax_rec.simulation.checkpoint import Checkpointer
from fedjax_rec.transforms import (
    chain,
    clip_by_norm,
    clip_by_quantile,
    gaussian_noise,
    local_noise,
    mean,
    total,
)

DATA = load("synthetic", num_users=40, num_items=90, mean_events=8, size_sigma=0.5, seed=3)
CLIP = 0.3
NOISY = chain(clip_by_norm(CLIP), mean(divisor=10), gaussian_noise(1.1))
SAMPLER = TruncatedPoisson(40, 10)
PLAN = EvaluationPlan(every=2)


def algorithm(aggregate: Any = NOISY, **settings: Any) -> Any:
    settings = {"dim": 4, "item_learning_rate": 300.0, "batch_size": 32} | settings
    return fedmf(DATA.num_items, aggregate=aggregate, **settings)


def on_whole_tables(aggregate: Any) -> Any:
    """The same with clients that get every row, as local noise asks for."""
    model = matrix_factorization(DATA.num_items, 4)
    objective = sampled(
        Sampler(DATA.num_items, 4, batch_size=32, is_sliced=False), binary_cross_entropy
    )
    update = local_training(model, objective, by_role(optax.sgd(300.0), optax.sgd(1.0)))
    return fedavg(model, objective, update, aggregate)


def run(aggregate: Any = NOISY, made: Any = algorithm, **changes: Any) -> Any:
    settings: dict[str, Any] = {
        "key": jax.random.key(5),
        "rounds": 4,
        "sampler": SAMPLER,
        "evaluation": PLAN,
        "execution": Execution(),
        "notice": lambda line: None,
    }
    return simulate(made(aggregate), DATA, **settings | changes)


# ----------------------------------------------------------------- one client more or less


def released(executor: Any, cohort: list[int], aggregate: Any, made: Any = algorithm) -> Any:
    """The table after one round."""
    of = made(aggregate)
    engine = build(of, Execution(executor, chunk_size=4))
    state, clients, frozen = jax.jit(engine.init, static_argnums=1)(jax.random.key(2), 40)
    cohort_of = pad_cohort(cohort, 40)
    state, _, info = jax.jit(engine.step)(
        state, clients, cohort_of, base.Fixed(frozen, DATA.clients)
    )
    assert float(info["clients"].total) == len(cohort)
    return np.asarray(state.shared.rows["item"], np.float64)


@pytest.mark.parametrize("executor", ["general", "streaming"])
@pytest.mark.parametrize("clip", [CLIP, 1e-3])
def test_one_client_moves_what_is_released_by_the_clip_at_most(executor: str, clip: float) -> None:
    """Noise of one key is the same with and without it, and cancels."""
    aggregate = chain(clip_by_norm(clip), total(), gaussian_noise(1e-2))
    everybody = list(range(40))
    whole = released(executor, everybody, aggregate)
    moved = [
        np.linalg.norm(whole - released(executor, everybody[:k] + everybody[k + 1 :], aggregate))
        for k in (0, 7, 39)
    ]
    rounding = 1e-6 * np.abs(whole).max() * math.sqrt(whole.size)
    assert max(moved) <= clip * (1 + 1e-5) + rounding
    assert max(moved) >= clip * (1 - 1e-3) - rounding, "the clip is not felt: this shows nothing"


def test_behind_noise_the_server_sees_the_update_and_public_numbers_alone() -> None:
    seen: list[Any] = []

    def watched(aggregate: AggregateTransform) -> Any:
        def apply(state: Any, message: Any, cohort: Any) -> Any:
            seen.append((sorted(message.row_weight), sorted(message.stats)))
            told = jnp.stack(
                [message.weight, 1.0 * jnp.sum(cohort.client_id), 1.0 * jnp.sum(cohort.is_valid)]
            )
            return state._replace(opt_state=told)

        server = ServerUpdate(lambda shared: jnp.zeros(3), apply)
        of = replace(algorithm(aggregate), server_update=server)
        engine = build(of, Execution())
        state, clients, frozen = engine.init(jax.random.key(0), 40)
        fixed = base.Fixed(frozen, DATA.clients)
        return jax.jit(engine.step)(state, clients, pad_cohort([4, 9, 2], 6), fixed)[0].opt_state

    counted = clip_by_quantile(CLIP, cohort_size=10, largest=CLIP, count_stddev=0.5)
    assert watched(NOISY).tolist() == [10, 0, 0]
    assert watched(chain(counted, total(), gaussian_noise(1.0))).tolist() == [10, 0, 0]
    assert seen == [([], []), ([], [])]
    clip, noise = clip_by_norm(CLIP), gaussian_noise(1.0)
    assert watched(chain(clip, total(size=8), noise)).tolist() == [8, 0, 0]
    assert watched(chain(clip, total(), noise)).tolist() == [1, 0, 0], "nobody states it"
    assert watched(chain(clip_by_norm(CLIP), mean())).tolist() == [3, 15, 3], "the control"
    assert watched(chain(clip_by_norm(CLIP), mean("row"))).tolist() == [3, 15, 3]
    assert seen[-1] == (["item"], [])


def test_noise_without_a_bound_is_refused_wherever_it_is_used() -> None:
    for alone in (gaussian_noise(1.0), local_noise(1.0)):
        with pytest.raises(ValueError, match="noise needs a bounded update"):
            build(algorithm(alone))


# ------------------------------------------------------------------------- what is said


def test_epsilon_is_that_of_the_rounds_that_were_executed(tmp_path: Any) -> None:
    result = run(rounds=5, output=tmp_path)
    said = result.summary["privacy"]
    assert (said["claims"], said["unit"], said["relation"]) == (
        "valid",
        "user",
        "add_or_remove_one",
    )
    assert said["rounds"] == 5
    assert said["sampling"] == {
        "kind": "poisson",
        "probability": 0.25,
        "capacity": SAMPLER.event.capacity,
    }
    assert (said["noise_multiplier"], said["clip_norm"]) == (1.1, CLIP)
    record = Checkpointer(tmp_path / "checkpoints").record(5)
    ledger = from_record(record["ledger"])
    assert ledger == (Executed(SAMPLER.event, (Mechanism("gaussian", 1.1),), 5),)
    assert said["epsilon"] == epsilon_of(ledger, said["delta"])
    assert said == json.loads((tmp_path / "summary.json").read_text())["privacy"]


def test_a_resumed_run_accounts_all_of_its_rounds(tmp_path: Any) -> None:
    once = run(rounds=5).summary["privacy"]
    run(rounds=2, output=tmp_path)
    run(rounds=3, output=tmp_path)
    resumed = run(rounds=5, output=tmp_path).summary["privacy"]
    assert resumed == once
    assert resumed["epsilon"] > run(rounds=3).summary["privacy"]["epsilon"]


def test_more_rounds_end_at_the_last_within_the_budget(tmp_path: Any) -> None:
    """Whatever was run before, and without other noise."""
    costs = [run(rounds=n).summary["privacy"]["epsilon"] for n in (3, 4)]
    budget = PrivacyPlan(epsilon=sum(costs) / 2)
    told: list[str] = []
    whole = run(rounds=9, privacy=budget, notice=told.append)
    assert whole.summary["rounds"] == 3
    assert any("ends at round 3 of 9, the last within epsilon" in line for line in told)
    run(rounds=2, privacy=budget, output=tmp_path)
    again = run(rounds=9, privacy=budget, output=tmp_path)
    assert again.summary["privacy"] == whole.summary["privacy"]
    np.testing.assert_array_equal(again.state.shared.rows["item"], whole.state.shared.rows["item"])
    with pytest.raises(UserError, match=r"one round costs more than 0\.001"):
        run(privacy=PrivacyPlan(epsilon=0.001))


def test_a_silo_is_not_a_person() -> None:
    said = run(privacy=PrivacyPlan(unit="silo")).summary["privacy"]
    assert said["unit"] == "silo"
    assert any("silo is not a person" in one for one in said["not_covered"])


@pytest.mark.parametrize("sampler", [AllClients(40), Uniform(40, 10), Rotating(40, 10)])
def test_who_does_not_draw_by_poisson_gets_no_amplification(sampler: Any) -> None:
    said = run(sampler=sampler).summary["privacy"]
    assert said["claims"] == "valid"
    assert said["sampling"]["kind"] == sampler.event.kind
    assert said["epsilon"] > 1.05 * run().summary["privacy"]["epsilon"]


NO_CLAIM: dict[str, tuple[dict[str, Any], str]] = {
    "no noise": ({"aggregate": chain(clip_by_norm(1.0), mean())}, "no noise is added"),
    "noise of 0": (
        {"aggregate": chain(clip_by_norm(1.0), mean(divisor=10), gaussian_noise(0.0))},
        "",
    ),
    "noise of next to nothing": (
        {"aggregate": chain(clip_by_norm(1.0), mean(divisor=10), gaussian_noise(1e-5))},
        "the noise is too weak",
    ),
    "the best round by validation": (
        {"stop": EarlyStop("valid/ndcg@10", patience=3)},
        "chosen on clients' held-out items",
    ),
    "noise on a count alone": (
        {"aggregate": chain(clip_by_quantile(1.0, cohort_size=9, largest=2.0, count_stddev=1.0))},
        "",
    ),
}


@pytest.mark.parametrize("name", NO_CLAIM)
def test_where_a_rule_is_broken_nothing_is_claimed(name: str) -> None:
    changes, words = NO_CLAIM[name]
    said = run(**changes).summary["privacy"]
    assert (said["claims"], said["epsilon"]) == ("none", None)
    assert words in " ".join(said["reasons"])


@pytest.mark.parametrize(
    ("promise", "words"),
    [
        ({"releases_counts": True}, "divided by counts of private data"),
        ({"mechanisms": ()}, "no noise is added"),
        ({"bound": lambda bound, state: bound}, "updates have no bound"),
    ],
)
def test_a_transform_that_no_chain_has_checked_claims_no_more(promise: Any, words: str) -> None:
    of = algorithm()
    result = simulate(
        replace(of, aggregate=replace(of.aggregate, **promise)),
        DATA,
        key=jax.random.key(5),
        rounds=1,
        sampler=SAMPLER,
        execution=Execution(),
        notice=lambda line: None,
    )
    assert words in " ".join(result.summary["privacy"]["reasons"])


def test_a_baseline_claims_nothing() -> None:
    result = simulate(
        popularity(DATA.num_items), DATA, key=jax.random.key(0), rounds=1, execution=Execution()
    )
    assert result.summary["privacy"]["claims"] == "none"


@pytest.mark.parametrize("delta", [0.5, 1 / 40, 1e-12])
def test_a_delta_that_promises_nothing_is_refused_before_training(delta: float) -> None:
    with pytest.raises(UserError, match=r"privacy\.delta"):
        run(privacy=PrivacyPlan(delta=delta))


@pytest.mark.slow
def test_the_second_release_of_a_clip_that_adapts_is_accounted() -> None:
    def epsilon(count_stddev: float) -> float:
        clip = clip_by_quantile(CLIP, cohort_size=10, largest=1.0, count_stddev=count_stddev)
        found = run(chain(clip, mean(divisor=10), gaussian_noise(1.1))).summary["privacy"]
        assert found["claims"] == "valid"
        return float(found["epsilon"])

    plain = run().summary["privacy"]["epsilon"]
    assert epsilon(0.5) > 1.1 * plain
    assert epsilon(50.0) == pytest.approx(plain, rel=0.01)
    both = Mechanism("gaussian", (1.1**-2 + (2 * 0.5) ** -2) ** -0.5)
    expected = epsilon_of((Executed(SAMPLER.event, (both,), 4),), 1e-5)
    assert epsilon(0.5) == pytest.approx(expected, rel=1e-6)


def test_private_popularity_counts_with_noise_and_says_what_it_costs() -> None:
    def counts(aggregate: Any) -> Any:
        result = simulate(
            popularity(DATA.num_items, noise=aggregate),
            DATA,
            key=jax.random.key(1),
            rounds=1,
            execution=Execution(),
            notice=lambda line: None,
        )
        return np.asarray(result.state.shared.rows["item"]), result.summary["privacy"]

    exact, said = counts(None)
    assert (said["claims"], exact.max() > 1) == ("none", True)
    clipped, _ = counts(chain(clip_by_norm(1.0), total()))
    noisy, said = counts(chain(clip_by_norm(1.0), total(), gaussian_noise(3.0)))
    assert said["claims"] == "valid"
    noise = noisy - clipped
    assert noise.std() == pytest.approx(3.0, rel=5 / math.sqrt(2 * noise.size))


# --------------------------------------------------------------------------- local noise


def test_local_noise_hides_each_message_and_says_so() -> None:
    aggregate = chain(clip_by_norm(CLIP), mean(divisor=10), local_noise(3.0))
    said = run(aggregate, on_whole_tables).summary["privacy"]
    assert (said["trust"], said["relation"], said["claims"]) == ("local", "replace_one", "valid")
    assert said["epsilon"] > run(NOISY).summary["privacy"]["epsilon"]


def test_each_client_has_local_noise_of_its_own_on_every_row() -> None:
    aggregate = chain(clip_by_norm(1e-6), total(), local_noise(2e6))

    def moved(*cohort: int) -> Any:
        start, end = (
            released("general", ids, aggregate, on_whole_tables) for ids in ([], list(cohort))
        )
        return end - start

    one, other = moved(3), moved(4)
    for noise in (one, other):
        assert (noise != 0).all()
        assert noise.std() == pytest.approx(2.0, rel=5 / math.sqrt(2 * noise.size))
    tolerance = 5 / math.sqrt(one.size)
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < tolerance
    np.testing.assert_allclose(moved(3, 4), one + other, atol=1e-4)


# -------------------------------------------------------------------------------- noise


def test_noise_is_the_same_on_more_devices_and_after_a_resume(tmp_path: Any) -> None:
    whole = run(rounds=4)
    run(rounds=2, output=tmp_path)
    resumed = run(rounds=4, output=tmp_path)
    np.testing.assert_array_equal(
        whole.state.shared.rows["item"], resumed.state.shared.rows["item"]
    )
    devices = run(rounds=4, execution=Execution(num_devices=2))
    np.testing.assert_allclose(
        whole.state.shared.rows["item"], devices.state.shared.rows["item"], atol=1e-5
    )


def test_a_transform_may_have_a_random_state_of_its_own() -> None:
    """`init` gets a key: another for each seed and for each link."""
    drawn = AggregateTransform(init=lambda key, template: jax.random.normal(key, (3,)))
    links = chain(drawn, drawn)

    def state(seed: int) -> Any:
        engine = build(algorithm(links), Execution())
        return np.stack(jax.tree.leaves(engine.init(jax.random.key(seed), 40)[0].aggregate_state))

    first, again, other = state(0), state(0), state(1)
    np.testing.assert_array_equal(first, again)
    assert len({*first.ravel().tolist(), *other.ravel().tolist()}) == 12


@pytest.mark.parametrize("sampler", ["rotating", "cyclic_poisson", "min_separation"])
def test_correlated_noise_of_a_wish_is_accounted_by_its_cohorts(
    tmp_path: Any, sampler: str
) -> None:
    """From the configuration to the claim."""
    table = {
        "rounds": 9,
        "data": {"name": "synthetic", "num_users": 30, "num_items": 40, "mean_events": 5},
        "algorithm": {"name": "fedmf_explicit", "dim": 2},
        "cohort": {"sampler": sampler, "size": 3},
        "privacy": {"epsilon": 4.0, "mechanism": "correlated"},
        "evaluate": {"every": 9},
        "execution": {"num_devices": 1},
    }
    experiment = build_experiment(from_dict(table, "here"), lambda line: None)
    event = experiment.sampler.event
    (mechanism,) = experiment.algorithm.aggregate.mechanisms
    result = experiment.run(
        tmp_path, resume=False, report=lambda report: None, notice=lambda line: None
    )
    said = result.summary["privacy"]
    assert said["sampling"]["kind"] == sampler
    assert said["rounds"] == 9
    square = theirs.minsep_sensitivity_squared(
        np.array(mechanism.strategy),
        event.min_separation(),
        max_participations=event.participations(9),
        n=9,
    )
    exact = gaussian_epsilon(mechanism.noise_multiplier / float(square) ** 0.5, said["delta"])
    assert said["claims"] == "valid"
    assert said["epsilon"] == pytest.approx(exact, rel=1e-3)
    assert 3.9 < said["epsilon"] <= 4.0


def test_local_noise_of_a_wish_is_accounted_by_every_message_of_a_client(tmp_path: Any) -> None:
    """From the configuration to the claim: another message is up to 2 C away."""
    table = {
        "rounds": 25,
        "data": {"name": "synthetic", "num_users": 30, "num_items": 40, "mean_events": 5},
        "algorithm": {"name": "fedmf_explicit", "dim": 2},
        "cohort": {"sampler": "uniform", "size": 3},
        "privacy": {"epsilon": 4.0, "mechanism": "local"},
        "evaluate": {"every": 25},
        "execution": {"num_devices": 1},
    }
    told: list[str] = []
    experiment = build_experiment(from_dict(table, "here"), told.append)
    assert experiment.config.algorithm.settings["is_sliced"] is False
    assert sum(line.startswith("privacy: algorithm.is_sliced is false") for line in told) == 1
    (mechanism,) = experiment.algorithm.aggregate.mechanisms
    result = experiment.run(
        tmp_path, resume=False, report=lambda report: None, notice=lambda line: None
    )
    said = result.summary["privacy"]
    assert (said["trust"], said["relation"], said["claims"]) == ("local", "replace_one", "valid")
    assert said["sampling"]["kind"] == "rotating"
    messages = 3  # of a queue of 30 in 25 rounds of 3
    exact = gaussian_epsilon(mechanism.noise_multiplier / (2 * messages**0.5), said["delta"])
    assert said["epsilon"] == pytest.approx(exact, rel=1e-3)
    assert 3.9 < said["epsilon"] <= 4.0


def test_a_sampling_event_states_its_participation() -> None:
    rotating = Rotating(40, 12).event
    assert (rotating.min_separation(), rotating.participations(7)) == (3, 3)
    drawn = [Rotating(40, 12).draw(0, round) for round in range(7)]
    assert max(np.bincount(np.concatenate(drawn))) == 3
    assert SamplingEvent("poisson", 40, 10.0, 30).participations(7) == 7
