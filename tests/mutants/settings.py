"""Faults between a configuration and the run that it asks for, and between a run and its resume."""

from tests.mutants.record import Mutant

SETTING = "integration/test_every_setting.py::test_a_setting_changes_what_it_says"
RESUME = "integration/test_resume_of_states.py"
RANDOM = "integration/test_randomness.py"
STATES = f"{RESUME}::test_every_part_of_the_state_outlives_a_kill"

BUILD = (
    Mutant(
        "build-ignores-score-ties",
        "experiment/experiment.py",
        "        score_ties=config.evaluate.score_ties,\n",
        "",
        f"{SETTING}[evaluate.score_ties]",
    ),
    Mutant(
        "the-plans-score-ties-are-ignored",
        "simulation/plans.py",
        "return Ranking(self.at_k, self.score_ties)",
        "return Ranking(self.at_k)",
        f"{SETTING}[evaluate.score_ties]",
    ),
    Mutant(
        "build-ignores-the-payload",
        "experiment/experiment.py",
        "            payload=self.config.communication.payload,\n",
        "",
        f"{SETTING}[communication.payload]",
    ),
    Mutant(
        "build-ignores-the-servers-rate",
        "experiment/assembly.py",
        "config.server.optimizer, config.server.learning_rate, config",
        "config.server.optimizer, 1.0, config",
        f"{SETTING}[server.learning_rate]",
    ),
    Mutant(
        "build-ignores-the-mean",
        "experiment/aggregates.py",
        'by = "client" if is_on and config.mean != "sum" else config.mean',
        'by = "client" if is_on and config.mean != "sum" else "row"',
        f"{SETTING}[aggregate.mean]",
    ),
    Mutant(
        "build-adds-noise-of-one",
        "experiment/aggregates.py",
        '{"noise_multiplier": privacy.noise_multiplier}',
        '{"noise_multiplier": 1.0}',
        f"{SETTING}[privacy.noise_multiplier]",
    ),
    Mutant(
        "build-ignores-the-executor",
        "experiment/experiment.py",
        "            executor=config.execution.executor,\n",
        "",
        f"{SETTING}[execution.executor]",
    ),
    Mutant(
        "build-ignores-the-candidates-seed",
        "experiment/experiment.py",
        "candidates_seed=config.evaluate.candidates_seed,\n        score_ties",
        "score_ties",
        f"{SETTING}[evaluate.candidates_seed]",
    ),
    Mutant(
        "build-ignores-the-runs-seed",
        "experiment/experiment.py",
        "return jax.random.key(self.config.seed)",
        "return jax.random.key(0)",
        f"{SETTING}[seed]",
    ),
    Mutant(
        "noise-is-divided-by-one",
        "experiment/aggregates.py",
        'settings["size" if by == "sum" else "divisor"] = event.expected_size',
        'settings["size" if by == "sum" else "divisor"] = 1.0',
        f"{RANDOM}::test_a_noisy_mean_divides_the_noise_by_the_expected_cohort",
    ),
    Mutant(
        "mean-before-clip",
        "experiment/aggregates.py",
        'Link(name="clip_by_norm", settings={"clip_norm": privacy.clip_norm}),\n        weigh,',
        'weigh,\n        Link(name="clip_by_norm", settings={"clip_norm": privacy.clip_norm}),',
        "test_experiment.py::test_a_shorthand_is_the_chain_that_it_stands_for",
    ),
)

ROUNDS = (
    Mutant(
        "noise-of-the-first-round-in-every-round",
        "simulation/engine.py",
        "base.derive_key(state.key, state.round, base.SERVER, base.DECODE)",
        "base.derive_key(state.key, 0, base.SERVER, base.DECODE)",
        f"{RANDOM}::test_noise_of_one_run_is_new_in_each_round_and_of_the_right_size",
    ),
    Mutant(
        "noise-with-another-purposes-key",
        "simulation/engine.py",
        "base.derive_key(state.key, state.round, base.SERVER, base.DECODE)",
        "base.derive_key(state.key, state.round, base.SERVER, base.INIT)",
        f"{RANDOM}::test_no_two_of_round_client_and_purpose_share_a_key",
    ),
    Mutant(
        "global-metrics-are-personal",
        "simulation/scoring.py",
        "return without_own(algorithm) if kind else algorithm",
        "return algorithm",
        "integration/test_what_is_evaluated.py",
    ),
    Mutant(
        "validation-items-stay-candidates-at-test",
        "simulation/scoring.py",
        'held_out_set("test", split.test, valid)',
        'held_out_set("test", split.test)',
        "integration/test_what_is_evaluated.py",
    ),
)

GOING_ON = (
    Mutant(
        "resume-counts-bytes-from-zero",
        "simulation/progress.py",
        'known["communication"] = Communication(**known["communication"])',
        'known["communication"] = Communication(known["communication"]["payload"])',
        f"{RESUME}::test_bytes_rounds_and_clocks_go_on_counting",
    ),
    Mutant(
        "resume-starts-the-clocks",
        "simulation/progress.py",
        "if name in record}",
        'if name in record and name != "seconds"}',
        f"{RESUME}::test_bytes_rounds_and_clocks_go_on_counting",
    ),
    Mutant(
        "resume-renews-patience",
        "simulation/progress.py",
        "if name in record}",
        'if name in record and name != "num_stale"}',
        f"{RESUME}::test_patience_goes_on_counting",
    ),
    Mutant(
        "resume-loses-the-servers-optimizer",
        "simulation/checkpoint.py",
        "        return tree, record\n",
        "        return (tree[0]._replace(opt_state=like[0].opt_state), tree[1]), record\n",
        f"{STATES}[optimizer]",
    ),
    Mutant(
        "resume-loses-memory",
        "simulation/checkpoint.py",
        "        return tree, record\n",
        "        return (tree[0], tree[1]._replace(memory=like[1].memory)), record\n",
        f"{STATES}[memory+extra]",
    ),
    Mutant(
        "resume-loses-residuals",
        "simulation/checkpoint.py",
        "        return tree, record\n",
        "        return (tree[0], tree[1]._replace(residual=like[1].residual)), record\n",
        f"{STATES}[residual+aggregate]",
    ),
    Mutant(
        "resume-loses-extra",
        "simulation/checkpoint.py",
        "        return tree, record\n",
        "        return (tree[0]._replace(extra=like[0].extra), tree[1]), record\n",
        f"{STATES}[memory+extra]",
    ),
    Mutant(
        "resume-loses-the-aggregates-state",
        "simulation/checkpoint.py",
        "        return tree, record\n",
        '        kept = {"aggregate_state": like[0].aggregate_state}\n'
        "        return (tree[0]._replace(**kept), tree[1]), record\n",
        f"{STATES}[residual+aggregate]",
    ),
    Mutant(
        "held-out-users-train",
        "simulation/rounds.py",
        "= training_clients[drawn]",
        "= drawn",
        f"{RESUME}::test_whoever_is_held_out_never_trains",
    ),
    Mutant(
        "diverged-clients-send-for-nothing",
        "simulation/progress.py",
        'round(float(seen["clients"].total + seen["bad_clients"].total))',
        'round(float(seen["clients"].total))',
        f"{RESUME}::test_bytes_of_clients_that_diverge_are_counted",
    ),
)

MUTANTS = BUILD + ROUNDS + GOING_ON
