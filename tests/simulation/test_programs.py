"""Numbers and seeds are inputs of compiled programs."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.algorithms import ALGORITHMS, fedmf
from fedjax_rec.algorithms.fedopt import fedavgm
from fedjax_rec.base import FederatedAlgorithm, Fixed, LengthClass, parametric
from fedjax_rec.baselines import BASELINES, local_only
from fedjax_rec.data import load
from fedjax_rec.evaluation.personal import scores_of
from fedjax_rec.recommenders import recommender
from fedjax_rec.simulation import EvaluationPlan, simulate, simulate_many
from fedjax_rec.simulation.engine import build, pad_cohort
from fedjax_rec.simulation.programs import Shared, clear_programs
from fedjax_rec.testing import Subject, toy_data_for

FACTORIES = {**ALGORITHMS, **BASELINES}
DATA = load("synthetic", num_users=30, num_items=60, mean_events=9, seed=5)
SMALL = {"dim": 4, "batch_size": 32}


@pytest.fixture
def compiled():
    """How many programs XLA has compiled since the test began."""
    count = []

    def listen(event, duration, **kwargs):
        if event == "/jax/core/compile/backend_compile_duration":
            count.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield count
    jax.monitoring.unregister_event_duration_listener(listen)


def run(algorithm, seed=0, **changes):
    settings = {"rounds": 4, "evaluation": EvaluationPlan(every=2, at_k=(10,))} | changes
    return simulate(algorithm, DATA, key=jax.random.key(seed), notice=lambda line: None, **settings)


def assert_equal(one, other):
    for a, b in zip(
        jax.tree.leaves((one.state.shared, one.clients)),
        jax.tree.leaves((other.state.shared, other.clients)),
        strict=True,
    ):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    assert one.summary["metrics"] == other.summary["metrics"]


def test_another_seed_or_rate_compiles_nothing(compiled):
    run(fedmf(DATA.num_items, **SMALL))
    assert compiled
    compiled.clear()
    first = run(fedmf(DATA.num_items, **SMALL), seed=1)
    second = run(fedmf(DATA.num_items, item_learning_rate=3.0, init_stddev=0.2, **SMALL), seed=1)
    assert not compiled
    assert first.summary["metrics"] != second.summary["metrics"]


def test_many_trials_equal_single_runs_to_the_bit(compiled):
    trials = [
        ({"item_learning_rate": rate, **SMALL}, seed) for rate in (5.0, 20.0) for seed in (3, 4)
    ]
    options = {"rounds": 3, "evaluation": EvaluationPlan(every=3), "notice": lambda line: None}
    clear_programs()
    many = simulate_many(fedmf, DATA, trials, **options)
    for (settings, seed), found in zip(trials, many, strict=True):
        clear_programs()
        single = run(
            fedmf(DATA.num_items, **settings), seed=seed, rounds=3, evaluation=options["evaluation"]
        )
        assert_equal(found, single)


def test_a_number_means_what_it_means_as_a_constant():
    """The same algorithm without a recipe is compiled with its numbers inside."""
    given = fedmf(DATA.num_items, item_learning_rate=7.0, user_learning_rate=3.0, **SMALL)
    assert given.recipe
    assert replace(given).recipe is None
    as_input, as_constant = run(given), run(replace(given))
    for a, b in zip(
        jax.tree.leaves(as_input.state.shared),
        jax.tree.leaves(as_constant.state.shared),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_changed_algorithm_does_not_run_the_program_of_the_one_it_was_made_from():
    given = fedmf(DATA.num_items, **SMALL)
    still = replace(
        given, server_update=replace(given.server_update, apply=lambda state, total, cohort: state)
    )
    still = replace(still, server_update=replace(still.server_update, learning_rate=None))
    run(given)
    start = run(still, rounds=1).state.shared
    later = run(still, rounds=2).state.shared
    for a, b in zip(jax.tree.leaves(start), jax.tree.leaves(later), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_zero_is_structure(compiled):
    parts = recommender(DATA.num_items, **SMALL)
    with_momentum = fedavgm(*parts, server_momentum=0.5)
    without = fedavgm(*parts, server_momentum=0.0)
    assert with_momentum.recipe.key != without.recipe.key
    assert "server_momentum" in with_momentum.recipe.numbers
    assert "server_momentum" not in without.recipe.numbers
    assert with_momentum.recipe.key == fedavgm(*parts, server_momentum=0.7).recipe.key
    assert without.server_update.learning_rate == 1.0
    assert with_momentum.server_update.learning_rate is None


def test_equal_rates_of_two_roles_are_no_structure():
    """That the items' rate happens to be the users' is not a kind of optimizer."""
    rates = [{"user_learning_rate": 5.0, "item_learning_rate": item} for item in (5.0, 6.0)]
    one, other = (fedmf(DATA.num_items, **SMALL, **each).recipe.key for each in rates)
    assert one == other


def test_numbers_of_an_algorithm_inside_another_are_inputs_too(compiled):
    one, other = (
        local_only(fedmf(DATA.num_items, item_learning_rate=rate, **SMALL)) for rate in (5.0, 50.0)
    )
    assert "algorithm.item_learning_rate" in one.recipe.numbers
    first = run(one)
    compiled.clear()
    second = run(other)
    assert not compiled
    assert first.summary["metrics"] != second.summary["metrics"]


@parametric
def branching(num_items: int, *, strength: float = 0.5, rate: float = 2.0) -> FederatedAlgorithm:
    """Looks at one of its numbers while it is traced, as a plug-in may."""
    made = fedmf(num_items, item_learning_rate=rate, **SMALL)
    score = made.model.score

    def branched(view, inputs):
        return score(view, inputs) * (2.0 if strength > 1 else 1.0)

    return replace(made, model=replace(made.model, score=branched, score_vjp=None))


def test_who_branches_on_a_number_gets_a_constant_and_one_line(compiled):
    lines = []

    def found(**settings):
        return simulate(
            branching(DATA.num_items, **settings),
            DATA,
            key=jax.random.key(0),
            rounds=2,
            evaluation=EvaluationPlan(every=2),
            notice=lines.append,
        )

    low, high = found(strength=0.5), found(strength=3.0)
    said = [line for line in lines if "constant" in line]
    assert len(said) == 1
    assert said[0].startswith("strength of ")
    assert low.summary["metrics"] != high.summary["metrics"]
    compiled.clear()
    found(strength=3.0, rate=1.0)
    assert not compiled


@cache
def subject(name):
    options = {"bridge": "linear"} if name == "fedcmf" else {}
    return Subject(FACTORIES[name], options, data=toy_data_for(FACTORIES[name]))


@pytest.mark.parametrize("name", FACTORIES)
def test_every_number_of_every_algorithm_can_be_an_input(name):
    """It is traced, not compiled; and what is traced reads every number."""
    one = subject(name)
    algorithm, data = one.algorithm, one.data
    if algorithm.recipe is None or not algorithm.recipe.numbers:
        pytest.skip("has no numbers")
    programs = Shared(algorithm, pytest.fail)
    num_clients = data.num_clients

    def everything(numbers):
        built = algorithm.recipe.rebuild(numbers)
        engine = build(built)
        state, clients, frozen = engine.init(jax.random.key(0), num_clients)
        cohort = pad_cohort(jnp.arange(num_clients), num_clients)
        fixed = Fixed(frozen, data.clients)
        moved, kept, _ = engine.step(state, clients, cohort, fixed)
        length = LengthClass.covering(data.clients.classes)
        one = jnp.array([0])
        return moved, kept, scores_of(built, moved, kept, fixed)(length, one, one)

    traced = jax.make_jaxpr(everything)(programs.numbers)
    used = {id(v) for eqn in traced.jaxpr.eqns for v in eqn.invars}
    unread = [
        number
        for number, variable in zip(sorted(programs.numbers), traced.jaxpr.invars, strict=True)
        if id(variable) not in used
    ]
    assert not unread
