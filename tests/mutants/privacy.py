"""Faults in clips and noise, and in what is said of them."""

from tests.mutants.record import Mutant

RUNS = "integration/test_privacy.py::"
STREAMED = "simulation/test_streaming.py::test_a_streamed_round_is_the_general_one"
NOISE = "transforms/test_noise.py::"

MUTANTS = (
    Mutant(
        "no-noise",
        "transforms/noise.py",
        "noised(key, total.update, noise_multiplier * bound)",
        "total.update",
        f"{NOISE}test_the_decoded_mean_has_normal_noise_of_z_times_bound_over_divisor",
    ),
    Mutant(
        "a-tenth-of-the-noise",
        "transforms/noise.py",
        "noised(key, total.update, noise_multiplier * bound)",
        "noised(key, total.update, noise_multiplier * bound / 10)",
        f"{NOISE}test_the_decoded_mean_has_normal_noise_of_z_times_bound_over_divisor",
    ),
    Mutant(
        "clients-share-their-local-noise",
        "transforms/noise.py",
        "update = noised(key, message.update, noise_multiplier * bound)",
        "update = noised(jax.random.key(0), message.update, noise_multiplier * bound)",
        f"{RUNS}test_each_client_has_local_noise_of_its_own_on_every_row",
    ),
    Mutant(
        "a-clip-that-clips-nothing",
        "transforms/clip.py",
        "jnp.where(is_finite, leaf * scale, 0)",
        "jnp.where(is_finite, leaf, 0)",
        "transforms/test_clip.py::test_no_hostile_update_leaves_with_more_than_the_bound",
    ),
    Mutant(
        "a-clip-by-leaf",
        "transforms/clip.py",
        "norm = optax.tree.norm(update)",
        "norm = jnp.max(jnp.stack([jnp.sqrt(jnp.sum(x**2)) for x in jax.tree.leaves(update)]))",
        "transforms/test_clip.py::test_no_hostile_update_leaves_with_more_than_the_bound",
    ),
    Mutant(
        "a-clip-in-the-type-of-the-update",
        "transforms/clip.py",
        'leaf.astype(jnp.promote_types(leaf.dtype, "float32"))',
        "leaf",
        "transforms/test_clip.py::test_no_hostile_update_leaves_with_more_than_the_bound",
    ),
    Mutant(
        "weights-by-data-size",
        "transforms/means.py",
        'if by == "example":\n            update',
        'if by != "row":\n            update',
        "transforms/test_means.py::test_clipped_updates_are_averaged_by_client",
    ),
    Mutant(
        "the-divisor-is-the-realised-size",
        "transforms/means.py",
        "weight = total.weight if divisor is None else divisor",
        "weight = total.weight",
        f"{NOISE}test_the_decoded_mean_has_normal_noise_of_z_times_bound_over_divisor",
    ),
    Mutant(
        "a-streamed-clip-clips-nothing",
        "simulation/replay.py",
        "scaled = chunk._replace(encoding=encoding)",
        "scaled = plain",
        f"{STREAMED}[clipped]",
    ),
    Mutant(
        "a-streamed-norm-is-of-the-last-block",
        "simulation/replay.py",
        "seen.squares + _squares(block.changes)",
        "_squares(block.changes)",
        f"{STREAMED}[clipped]",
    ),
    Mutant(
        "streaming-loses-stats",
        "simulation/streaming.py",
        "jax.vmap(tree.mask)(is_good, encoding.stats)",
        "tree.zeros_like(encoding.stats)",
        "simulation/test_streaming.py::test_stats_are_summed_over_clients",
    ),
    Mutant(
        "padding-clients-are-counted",
        "simulation/streaming.py",
        "jax.vmap(tree.mask)(is_good, encoding.stats)",
        "encoding.stats",
        "simulation/test_streaming.py::test_stats_are_summed_over_clients",
    ),
    Mutant(
        "the-server-sees-who-took-part",
        "simulation/engine.py",
        "if not aggregate.mechanisms:\n        return total, cohort",
        "if True:\n        return total, cohort",
        f"{RUNS}test_behind_noise_the_server_sees_the_update_and_public_numbers_alone",
    ),
    Mutant(
        "resumed-rounds-are-not-accounted",
        "simulation/progress.py",
        'known["ledger"] = from_record(known.get("ledger", []))',
        'known["ledger"] = ()',
        f"{RUNS}test_a_resumed_run_accounts_all_of_its_rounds",
    ),
    Mutant(
        "rounds-past-the-budget",
        "simulation/promise.py",
        "last = done + more",
        "last = done + more + 1",
        f"{RUNS}test_more_rounds_end_at_the_last_within_the_budget",
    ),
    Mutant(
        "a-chosen-round-costs-nothing",
        "simulation/promise.py",
        'stop.patience and stop.target to 0": self.stop is not None,',
        'stop.patience and stop.target to 0": False,',
        f"{RUNS}test_where_a_rule_is_broken_nothing_is_claimed",
    ),
    Mutant(
        "correlated-noise-takes-nothing-back",
        "transforms/correlated.py",
        "return fresh - jnp.tensordot(scales, buffer, axes=1)",
        "return fresh",
        "transforms/test_correlated.py::test_the_covariance_over_rounds_is_that_of_the_strategy",
    ),
    Mutant(
        "correlated-noise-is-accounted-past-its-strategy",
        "privacy/releases.py",
        "if any(length < entry.rounds for length in made_for):",
        "if False:",
        "privacy/test_accounting.py::test_correlated_noise_ends_with_its_strategy",
    ),
    Mutant(
        "a-fixed-size-is-called-poisson",
        "privacy/releases.py",
        'if is_secret and event.kind == "poisson" and event.probability < 1:',
        "if is_secret and event.probability < 1:",
        "privacy/test_canonical.py::test_a_fixed_size_never_gets_the_number_of_poisson",
    ),
    Mutant(
        "the-count-beside-the-update-is-free",
        "privacy/releases.py",
        "for one in entry.mechanisms if not _is_shared(one))",
        "for one in entry.mechanisms[-1:] if not _is_shared(one))",
        f"{RUNS}test_the_second_release_of_a_clip_that_adapts_is_accounted",
    ),
    Mutant(
        "local-noise-hides-a-client-from-itself",
        "privacy/releases.py",
        "return 4 * bare",
        "return bare",
        "privacy/test_accounting.py"
        "::test_local_noise_is_for_replacement_and_gains_nothing_by_sampling",
    ),
    Mutant(
        "noise-is-calibrated-for-one-round",
        "experiment/private.py",
        "event, config.rounds, privacy.epsilon, delta, make",
        "event, 1, privacy.epsilon, delta, make",
        "cli/test_run.py::test_a_promise_is_kept_where_a_run_goes_on",
    ),
    Mutant(
        "an-early-stop-stays-beside-a-promise",
        "experiment/private.py",
        "config = replace(config, stop=StopConfig(metric=stop.metric))",
        "pass",
        "test_experiment.py::test_what_would_void_a_promise_is_switched_and_told",
    ),
    Mutant(
        "noise-is-calibrated-again-for-more-rounds",
        "experiment/private.py",
        "if config.privacy.is_on and not config.value(key):",
        'if key == "cohort.size" and not config.value(key):',
        "cli/test_run.py::test_a_promise_is_kept_where_a_run_goes_on",
    ),
)
