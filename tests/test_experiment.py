"""From a configuration to the library's parts, and what is refused on the way."""

import tomllib
from dataclasses import replace

import jax
import numpy as np
import pytest

from fedjax_rec.config import apply_overrides, from_dict, to_toml
from fedjax_rec.config.schema import PrivacyConfig
from fedjax_rec.errors import UserError
from fedjax_rec.experiment import build, early_stop, resolve
from fedjax_rec.experiment.aggregates import aggregate_transform, shorthand
from fedjax_rec.experiment.assembly import own_settings
from fedjax_rec.sampling import (
    AllClients,
    Availability,
    CyclicPoisson,
    MinSeparation,
    Rotating,
    TruncatedPoisson,
    Uniform,
)
from fedjax_rec.simulation import EarlyStop, EvaluationPlan

DATA = {"name": "synthetic", "num_users": 30, "num_items": 40, "mean_events": 8}


def config(**sections):
    return from_dict({"data": DATA, "algorithm": {"name": "fedmf"}} | sections, "here")


def test_the_split_follows_its_section():
    rules = {"holdout": "ratio", "validation": "ratio", "share": 0.25, "seed": 4}
    data = build(config(split=rules)).data
    assert data.protocol["holdout"] == data.protocol["validation"] == "ratio"
    assert (data.protocol["holdout_share"], data.protocol["split_seed"]) == (0.25, 4)
    assert data.split.test.items.shape[1] > 1


def test_held_out_users_are_no_part_of_the_cohorts():
    rules = {"holdout": "users", "validation": "users", "share": 0.2, "max_events": 6}
    experiment = build(config(split=rules, cohort={"sampler": "uniform", "size": 5}))
    assert experiment.sampler == Uniform(18, 5)
    assert experiment.data.protocol["max_events"] == 6
    told = refusal(split=rules, algorithm={"name": "bpr_mf"})
    assert told.startswith("split.holdout: bpr_mf trains on everybody's events")


def refusal(**sections):
    with pytest.raises(UserError) as caught:
        build(config(**sections))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_section_reaches_its_part():
    experiment = build(
        config(
            split={"ties": "item_id", "validation": "second_latest", "seed": 3},
            negatives={"exclude": "heldout"},
            algorithm={"name": "fedmf", "dim": 4, "user_learning_rate": 1},
            cohort={"sampler": "uniform", "size": 5},
            evaluate={"every": 2, "at_k": [3], "candidates": "uni99", "candidates_seed": 7},
            stop={"metric": "valid/mrr@3", "patience": 4},
            checkpoint={"every": 6, "seconds": 1.5, "keep": 2},
            execution={"chunk_size": 7, "debug": True},
        )
    )
    assert (experiment.data.num_clients, experiment.data.num_items) == (30, 40)
    assert experiment.data.protocol == {
        "holdout": "leave_one_out",
        "validation": "second_latest",
        "time_ties": "item_id",
        "split_seed": 3,
        "negatives_exclude": "heldout",
    }
    assert experiment.sampler == Uniform(30, 5)
    plan = experiment.evaluation
    assert (plan.every, plan.at_k, plan.candidates, plan.candidates_seed) == (2, (3,), "uni99", 7)
    assert plan.score_ties == "pessimistic"
    assert experiment.stop == EarlyStop("valid/mrr@3", 4, None)
    saving = experiment.checkpoint
    assert (saving.every, saving.seconds, saving.keep) == (6, 1.5, 2)
    assert (experiment.execution.chunk_size, experiment.execution.is_debug) == (7, True)


def test_defaults_are_all_clients_and_no_early_stop():
    experiment = build(config())
    assert experiment.sampler == AllClients(30)
    assert experiment.stop is None
    poisson = build(config(cohort={"sampler": "poisson", "size": 5}))
    assert poisson.sampler == TruncatedPoisson(30, 5)


def test_a_target_alone_stops():
    stop = early_stop(config(stop={"target": 0.5}).stop, EvaluationPlan())
    assert stop == EarlyStop("valid/ndcg@10", 0, 0.5)


def test_selection_on_test_is_asked_for_by_name():
    asked = {"metric": "test/hit_rate@10", "select": "test_as_released"}
    stop = early_stop(config(stop=asked).stop, EvaluationPlan())
    assert stop == EarlyStop("test/hit_rate@10", select="test_as_released")
    assert stop.selection == "best on test, as released"
    for wrong in ({"metric": "test/hit_rate@10"}, {"select": "test_as_released"}):
        with pytest.raises(UserError, match=r"^stop.metric: .* is not measured"):
            early_stop(config(stop=wrong).stop, EvaluationPlan())
    with pytest.raises(UserError, match=r"use a valid/ metric"):
        EarlyStop("test/hit_rate@10", patience=3)
    with pytest.raises(UserError, match=r"use a test/ metric"):
        EarlyStop(select="test_as_released")


def test_predictions_are_evaluated_where_the_task_says_so():
    sections = {"stop": {"metric": "valid/rmse", "target": 1.5}, "evaluate": {"task": "rating"}}
    experiment = build(config(**sections))
    assert experiment.evaluation.question.keys == ("rmse", "mae", "accuracy")
    assert experiment.stop == EarlyStop("valid/rmse", 0, 1.5)


def test_the_data_seed_is_not_the_runs_seed():
    first, second = build(config()), build(config(seed=1))
    np.testing.assert_array_equal(first.data.split.train.items, second.data.split.train.items)
    other = build(config(data=DATA | {"seed": 1}))
    assert not np.array_equal(other.data.split.train.items, first.data.split.train.items)


def test_a_baseline_takes_neither_aggregate_nor_server():
    assert build(config(algorithm={"name": "popularity"})).algorithm.aggregate.is_noise is False
    told = refusal(algorithm={"name": "popularity"}, aggregate={"mean": "client"})
    assert told == "aggregate: popularity takes none; leave the table [aggregate] out"
    told = refusal(algorithm={"name": "popularity"}, server={"optimizer": "adam"})
    assert told == "server: popularity takes none; leave the table [server] out"


def test_settings_are_the_scalars_of_the_factory():
    def factory(num_items, *, dim=3, rate=0.5, name="a", flag=True, aggregate=None): ...

    assert own_settings(factory) == {"dim": 3, "rate": 0.5, "name": "a", "flag": True}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"algorithm": {"name": "fedmff"}}, "unknown algorithm 'fedmff' (did you mean 'fedmf'?)"),
        (
            {"algorithm": {"name": "fedmf", "dmi": 3}},
            "algorithm.dmi: fedmf has no such setting (did you mean 'dim'?)",
        ),
        (
            {"algorithm": {"name": "popularity", "dim": 3}},
            "algorithm.dim: popularity has no such setting (it has none)",
        ),
        (
            {"algorithm": {"name": "fedmf", "dim": "x"}},
            "algorithm.dim: expected an integer, got 'x'",
        ),
        (
            {"algorithm": {"name": "fedmf", "dim": True}},
            "algorithm.dim: expected an integer, got True",
        ),
        ({"data": {"name": "ml-100"}}, "data set 'ml-100' is not known (did you mean 'ml-100k'?)"),
        ({"server": {"optimizer": "adm"}}, "unknown optimizer 'adm' (did you mean 'adam'?)"),
        (
            {"stop": {"metric": "valid/ndgc@10"}},
            "stop.metric: 'valid/ndgc@10' is not measured (did you mean 'valid/ndcg@10'?)",
        ),
        (
            {"stop": {"patience": 1}, "evaluate": {"at_k": [5]}},
            "stop.metric: 'valid/ndcg@10' is not measured (did you mean 'valid/ndcg@5'?)",
        ),
        (
            {"stop": {"patience": 1}, "evaluate": {"task": "label"}},
            "stop.metric: 'valid/ndcg@10' is not measured",
        ),
        (
            {"stop": {"target": 1.5}},
            "stop.target: valid/ndcg@10 is at most 1, got 1.5",
        ),
        (
            {"cohort": {"sampler": "uniform", "size": 31}},
            "cohort.size: cohort size must be between 1 and the 30 clients, got 31",
        ),
        (
            {"cohort": {"sampler": "poisson", "size": 31}},
            "cohort.size: expected cohort size must be",
        ),
        ({"server": {"optimizer": "adam", "momentum": 0.9}}, "optimizer adam takes no momentum"),
        (
            {"algorithm": {"name": "item_knn"}, "privacy": {"epsilon": 1.0}},
            "privacy: item_knn does not clip what its clients send",
        ),
        (
            {"algorithm": {"name": "scaffold"}, "privacy": {"noise_multiplier": 1.0}},
            "privacy: scaffold does not clip what its clients send",
        ),
        (
            {"privacy": {"noise_multiplier": 1.0, "delta": 0.1}},
            "privacy.delta 0.1",
        ),
    ],
)
def test_what_cannot_be_built_is_told_in_one_line(sections, message):
    assert refusal(**sections).startswith(message)


NOISY = PrivacyConfig(clip_norm=2.0, noise_multiplier=0.5)


def event_of(size):
    return TruncatedPoisson(100, size).event


def test_noise_divides_by_the_expected_cohort_size():
    section = config(aggregate={"mean": "client"}).aggregate
    transform = aggregate_transform(section, NOISY, event_of(5), 9)
    assert transform.is_noise
    assert not transform.releases_counts
    assert transform.public_size == 5.0
    assert transform.bound(float("inf"), None) == 2.0


def test_a_sum_with_noise_has_no_divisor_to_leak():
    section = config(aggregate={"mean": "sum"}).aggregate
    transform = aggregate_transform(section, NOISY, event_of(5), 9)
    assert not transform.releases_counts
    assert transform.public_size == 5.0, "the weight that the server's rule reads"
    assert aggregate_transform(section, PrivacyConfig(), event_of(5), 9).public_size is None


@pytest.mark.parametrize("name", ["scaffold", "feddyn", "popularity"])
@pytest.mark.parametrize("mean", ["row", "client"])
def test_a_key_that_is_set_to_its_default_is_set(name, mean):
    told = refusal(algorithm={"name": name}, aggregate={"mean": mean})
    assert told == f"aggregate: {name} takes none; leave the table [aggregate] out"


def test_a_chain_is_refused_where_there_is_no_aggregate():
    told = refusal(algorithm={"name": "scaffold"}, aggregate={"chain": [{"name": "total"}]})
    assert told == "aggregate: scaffold takes none; leave the table [aggregate] out"


def test_what_a_run_writes_out_is_not_asked_for():
    asked = resolve(config(algorithm={"name": "scaffold"}))
    written = tomllib.loads(to_toml(asked))
    assert written["aggregate"]["mean"] == "row"
    assert build(from_dict(written, "there")).config == asked
    old = {key: value for key, value in written.items() if key != "given"}
    assert build(from_dict(old, "there", is_record=True)).config == asked
    told = apply_overrides(written, ["--aggregate.mean", "row"])
    with pytest.raises(UserError, match="scaffold takes none"):
        build(from_dict(told, "there"))


def test_any_model_can_be_named_with_what_goes_with_it():
    experiment = build(config(algorithm={"name": "fedavg", "model": "sasrec", "num_blocks": 1}))
    assert experiment.algorithm.model.needs_history
    settings = experiment.config.algorithm.settings
    assert (settings["objective"], settings["local_optimizer"]) == ("next_item", "adam")
    assert (settings["num_blocks"], settings["max_length"]) == (1, 50)
    again = build(from_dict(tomllib.loads(to_toml(experiment.config)), "there"))
    assert again.config == experiment.config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "sasrek"}, "unknown model 'sasrek' (did you mean 'sasrec'?)"),
        ({"objective": "next"}, "unknown objective 'next' (did you mean 'next_item'?)"),
        ({"model": "sasrec", "num_negatives": 4}, "algorithm.num_negatives: fedavg has no such"),
        (
            {"model": "sasrec", "user_learning_rate": 1.0},
            "algorithm.user_learning_rate: fedavg has",
        ),
        ({"model": "mf", "num_blocks": 1}, "algorithm.num_blocks: fedavg has no such setting"),
        ({"feedback": "explicit", "loss": "bce"}, "algorithm.loss: fedavg has no such setting"),
    ],
)
def test_what_a_model_or_objective_does_not_read_is_refused(settings, message):
    assert refusal(algorithm={"name": "fedavg"} | settings).startswith(message)


CHAIN = [{"name": "clip_by_norm", "clip_norm": 2}, {"name": "mean", "by": "client", "divisor": 5}]


def test_a_chain_is_built_in_its_order():
    noisy = [*CHAIN, {"name": "gaussian_noise", "noise_multiplier": 1.0}]
    experiment = build(config(aggregate={"chain": noisy}))
    transform = experiment.algorithm.aggregate
    assert transform.is_noise
    assert not transform.releases_counts
    assert transform.bound(float("inf"), None) == 2.0
    numbers = experiment.algorithm.recipe.numbers
    assert numbers["aggregate.chain.0.clip_norm"] == 2.0
    assert numbers["aggregate.chain.1.divisor"] == 5.0
    again = from_dict(tomllib.loads(to_toml(experiment.config)), "there")
    assert again.aggregate == experiment.config.aggregate


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        ([{"name": "clip"}], "aggregate.chain.0.name: unknown transform 'clip'"),
        ([{"name": "clip_by_norm"}], "aggregate.chain.0.clip_norm: clip_by_norm needs it"),
        ([CHAIN[0] | {"norm": 1}], "aggregate.chain.0.norm: clip_by_norm has no such setting"),
        ([CHAIN[0] | {"clip_norm": "x"}], "aggregate.chain.0.clip_norm: expected a number"),
        ([CHAIN[0] | {"clip_norm": -1}], "aggregate: clip_norm must be positive"),
        (
            [{"name": "total"}, *CHAIN[:0], {"name": "gaussian_noise", "noise_multiplier": 1}],
            "aggregate: noise needs a bounded update",
        ),
    ],
)
def test_a_chain_that_cannot_be_built_is_told_in_one_line(chain, message):
    assert refusal(aggregate={"chain": chain}).startswith(message)


def test_a_shorthand_is_the_chain_that_it_stands_for():
    section = config(aggregate={"mean": "client"}).aggregate
    assert [(link.name, link.settings) for link in shorthand(section, NOISY, event_of(30), 9)] == [
        ("clip_by_norm", {"clip_norm": 2.0}),
        ("mean", {"by": "client", "divisor": 30.0}),
        ("gaussian_noise", {"noise_multiplier": 0.5}),
    ]
    plain = shorthand(section, PrivacyConfig(), event_of(30), 9)
    assert [(link.name, link.settings) for link in plain] == [("mean", {"by": "client"})]


def test_an_unknown_sampler_is_told():
    told = refusal(cohort={"sampler": "unifrm", "size": 3})
    assert told == "cohort.sampler: unknown cohort sampler 'unifrm' (did you mean 'uniform'?)"


def test_what_would_void_a_promise_is_switched_and_told(capsys):
    asked = config(
        privacy={"epsilon": 4.0},
        aggregate={"mean": "example"},
        cohort={"sampler": "uniform", "size": 6},
        stop={"patience": 2, "target": 0.9},
    )
    experiment = build(asked)
    told = capsys.readouterr().err
    for words in (
        "aggregate.mean is client in place of example",
        "cohort.sampler is poisson in place of uniform",
        "stop.patience is 0 in place of 2",
        "stop.target is 0 in place of 0.9",
        "noise_multiplier is",
    ):
        assert f"privacy: {words}" in told
    assert experiment.stop is None
    assert experiment.sampler == TruncatedPoisson(30, 6)
    written = experiment.config
    assert (written.aggregate.mean, written.cohort.sampler, written.cohort.size) == (
        "client",
        "poisson",
        6,
    )
    assert written.privacy.noise_multiplier > 0
    assert experiment.algorithm.aggregate.mechanisms[0].noise_multiplier == pytest.approx(
        written.privacy.noise_multiplier
    )
    again = build(from_dict(tomllib.loads(to_toml(written)), "there", is_record=True))
    assert again.config == written
    assert "privacy" not in capsys.readouterr().err


def test_everybody_takes_part_where_that_is_asked_for_by_name():
    sampler = build(config(privacy={"epsilon": 4.0}, cohort={"sampler": "all"})).sampler
    assert isinstance(sampler, AllClients)


@pytest.mark.parametrize(
    ("mechanism", "made"), [("gaussian", TruncatedPoisson(30, 6)), ("local", Rotating(30, 6))]
)
@pytest.mark.parametrize("rounds", [1, 9])
def test_a_size_alone_is_that_of_the_cohorts_that_privacy_takes(mechanism, made, rounds):
    wish = {"epsilon": 4.0, "mechanism": mechanism}
    assert build(config(rounds=rounds, privacy=wish, cohort={"size": 6})).sampler == made
    told = refusal(privacy=wish, cohort={"sampler": "all", "size": 6})
    assert told.startswith("cohort.size: set cohort.sampler")


def test_correlated_noise_takes_cohorts_in_turn(capsys):
    asked = config(
        rounds=9, privacy={"epsilon": 4.0, "mechanism": "correlated"}, cohort={"sampler": "all"}
    )
    asked = replace(asked, given=frozenset())
    experiment = build(asked)
    told = capsys.readouterr().err
    assert "cohort.sampler is rotating in place of all" in told
    assert experiment.sampler == Rotating(30, 3)
    (mechanism,) = experiment.algorithm.aggregate.mechanisms
    assert (mechanism.kind, len(mechanism.strategy)) == ("correlated", 9)
    link = shorthand(
        experiment.config.aggregate, experiment.config.privacy, experiment.sampler.event, 9
    )[-1]
    assert link.name == "correlated_noise"
    assert link.settings["min_separation"] == 10
    assert link.settings["participations"] == 1


@pytest.mark.parametrize(
    ("sampler", "made"),
    [
        ("cyclic_poisson", CyclicPoisson(30, 3)),
        ("min_separation", MinSeparation(30, 3)),
        ("availability", Availability(30, 3)),
    ],
)
@pytest.mark.parametrize("mechanism", ["gaussian", "correlated"])
def test_who_knows_when_clients_come_is_believed(capsys, sampler, made, mechanism):
    asked = config(
        rounds=9,
        privacy={"noise_multiplier": 4.0, "mechanism": mechanism},
        cohort={"sampler": sampler},
    )
    experiment = build(asked)
    assert "cohort.sampler" not in capsys.readouterr().err
    assert experiment.sampler.event == made.event
    (noise,) = experiment.algorithm.aggregate.mechanisms
    assert (noise.kind, len(noise.strategy)) == (mechanism, 9 * (mechanism == "correlated"))
    if mechanism == "correlated":
        link = shorthand(
            experiment.config.aggregate, experiment.config.privacy, experiment.sampler.event, 9
        )[-1]
        assert link.settings["min_separation"] == made.event.min_separation()
        assert link.settings["participations"] == made.event.participations(9)


@pytest.mark.parametrize("noise", [{"epsilon": 4.0}, {"noise_multiplier": 4.0}])
def test_correlated_noise_has_bands_where_they_are_asked_for(noise):
    def made(bands):
        privacy = {"mechanism": "correlated", "bands": bands} | noise
        cohort = {"sampler": "rotating", "size": 3}
        return config(rounds=20, privacy=privacy, cohort=cohort)

    (mechanism,) = build(made(4)).algorithm.aggregate.mechanisms
    assert (len(mechanism.strategy), sum(c > 0 for c in mechanism.strategy)) == (20, 4)
    with pytest.raises(UserError, match="bands must be at most min_separation, 10, got 11"):
        build(made(11))
    with pytest.raises(UserError, match=r"privacy\.bands: set privacy\.mechanism to correlated"):
        config(privacy={"bands": 4} | noise)


def test_a_separation_is_for_samplers_that_keep_one():
    sampler = build(
        config(cohort={"sampler": "min_separation", "size": 3, "separation": 7})
    ).sampler
    assert sampler == MinSeparation(30, 3, 7)
    told = refusal(cohort={"sampler": "rotating", "size": 3, "separation": 7})
    assert told == "cohort.separation: rotating takes none; leave it out"
    told = refusal(cohort={"sampler": "cyclic_poisson", "size": 3, "separation": 11})
    assert told.startswith("cohort: with cohorts of 3 among 30 clients the separation is at most")
    told = refusal(cohort={"sampler": "availability"})
    assert told == "cohort.size: availability needs at least 1 client"


def test_popularity_has_a_private_form_of_one_round():
    plain = build(config(algorithm={"name": "popularity"}, rounds=1))
    assert plain.algorithm.aggregate.mechanisms == ()
    noisy = build(config(algorithm={"name": "popularity"}, rounds=1, privacy={"epsilon": 2.0}))
    assert isinstance(noisy.sampler, AllClients), "one round of all is the most there is"
    (mechanism,) = noisy.algorithm.aggregate.mechanisms
    assert 1.5 < mechanism.noise_multiplier < 2.5


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"algorithm": {"name": "popularity"}},
        {"rounds": 9, "privacy": {"noise_multiplier": 1.0, "mechanism": "correlated"}},
    ],
)
def test_noise_and_clip_are_inputs_of_a_program(changes):
    """Another epsilon compiles nothing."""
    algorithm = build(config(**{"privacy": {"noise_multiplier": 1.0}} | changes)).algorithm
    names = ("privacy.noise_multiplier", "privacy.clip_norm")

    def inside(noise, clip):
        rebuilt = algorithm.recipe.rebuild(dict(zip(names, (noise, clip), strict=True)))
        return rebuilt.aggregate.mechanisms[0].noise_multiplier, rebuilt.aggregate.bound(9.0, None)

    assert set(names) <= set(algorithm.recipe.numbers)
    assert [float(x) for x in jax.jit(inside)(3.0, 2.0)] == [3.0, 2.0]
