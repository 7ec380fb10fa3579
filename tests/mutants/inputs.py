"""Faults in cohorts, partitions, rows, examples and losses."""

from tests.mutants.record import Mutant

COHORTS = (
    Mutant(
        "the-same-cohort-each-round",
        "sampling/draws.py",
        "np.random.SeedSequence([seed, round])",
        "np.random.SeedSequence([seed, 0])",
        "test_sampling.py::test_the_next_round_does_not_depend_on_this_one "
        "test_sampling.py::test_every_client_is_equally_likely",
    ),
    Mutant(
        "cohorts-ignore-the-seed",
        "sampling/draws.py",
        "np.random.SeedSequence([seed, round])",
        "np.random.SeedSequence([0, round])",
        "test_sampling.py::test_a_cohort_is_a_function_of_seed_and_round_alone",
    ),
    Mutant(
        "the-queue-is-shuffled-each-round",
        "sampling/__init__.py",
        "queue = generator_of(seed, 0).permutation(self.num_clients)",
        "queue = generator_of(seed, round).permutation(self.num_clients)",
        "test_sampling.py::test_a_queue_goes_round_in_one_order",
    ),
    Mutant(
        "poisson-cohorts-have-one-size",
        "sampling/__init__.py",
        "size = generator.binomial(self.num_clients, self.expected_size / self.num_clients)",
        "size = int(self.expected_size)",
        "test_sampling.py::test_poisson_sizes_are_binomial",
    ),
    Mutant(
        "poisson-capacity-is-the-mean",
        "sampling/draws.py",
        "math.ceil(mean + 7 * deviation)",
        "math.ceil(mean + 0 * deviation)",
        "test_sampling.py::test_the_capacity_is_the_mean_and_seven_standard_deviations",
    ),
    Mutant(
        "keys-of-clients-are-alike",
        "base/rounds.py",
        "for part in (round, client_id, purpose):",
        "for part in (round, purpose):",
        "integration/test_randomness.py",
    ),
    Mutant(
        "keys-of-rounds-are-alike",
        "base/rounds.py",
        "for part in (round, client_id, purpose):",
        "for part in (client_id, purpose):",
        "integration/test_randomness.py",
    ),
    Mutant(
        "keys-of-purposes-are-alike",
        "base/rounds.py",
        "for part in (round, client_id, purpose):",
        "for part in (round, client_id):",
        "integration/test_randomness.py",
    ),
)

ROWS = (
    Mutant(
        "padding-reads-the-last-row",
        "tree.py",
        'leaf.at[ids].get(mode="fill", fill_value=0)',
        'leaf.at[ids].get(mode="clip")',
        "test_tree.py::test_padding_ids_read_zero",
    ),
    Mutant(
        "a-mask-multiplies",
        "tree.py",
        "jnp.where(is_kept, leaf, jnp.zeros_like(leaf))",
        "leaf * is_kept",
        "test_tree.py::test_mask_keeps_all_or_gives_zeros_also_in_place_of_nan",
    ),
    Mutant(
        "one-finite-number-is-enough",
        "tree.py",
        "jnp.all(jnp.isfinite(leaf))",
        "jnp.any(jnp.isfinite(leaf))",
        "test_tree.py::test_is_finite_looks_at_every_number_that_could_fail",
    ),
    Mutant(
        "rows-are-touched-in-all-leaves-only",
        "tree.py",
        "return jnp.any(jnp.stack(flags), axis=0)",
        "return jnp.all(jnp.stack(flags), axis=0)",
        "test_tree.py::test_a_row_is_touched_when_any_number_of_any_leaf_changed",
    ),
    Mutant(
        "added-rows-replace-one-another",
        "simulation/sums.py",
        'leaf.at[ids].add(new, mode="drop")',
        'leaf.at[ids].set(new, mode="drop")',
        "simulation/test_engine.py::test_rows_are_scattered_to_the_items_a_client_has",
    ),
    Mutant(
        "diverged-clients-are-let-in",
        "simulation/general.py",
        "is_good &= tree.is_finite((message, residual))",
        "is_good &= True",
        "simulation/test_engine.py::test_a_transform_that_makes_a_number_bad_is_guarded_too",
    ),
    Mutant(
        "bad-clients-are-not-counted",
        "simulation/general.py",
        "bad = Stat((entry.is_valid & ~is_good)",
        "bad = Stat((entry.is_valid & is_good & ~is_good)",
        "integration/test_resume_of_states.py::test_bytes_of_clients_that_diverge_are_counted",
    ),
)

EXAMPLES = (
    Mutant(
        "labels-are-upside-down",
        "objectives/losses.py",
        "jax.nn.softplus((1 - 2 * examples.label) * scores)",
        "jax.nn.softplus((2 * examples.label - 1) * scores)",
        "objectives/test_losses.py",
    ),
    Mutant(
        "wrong-and-sure-has-a-gradient",
        "objectives/losses.py",
        "slope = (p - label) * q / jnp.maximum(q, 1e-12)",
        "slope = p - label",
        "objectives/test_losses.py",
    ),
    Mutant(
        "squared-error-without-its-square",
        "objectives/losses.py",
        "loss = jnp.square(examples.label - scores)",
        "loss = jnp.abs(examples.label - scores)",
        "objectives/test_losses.py",
    ),
    Mutant(
        "epochs-share-their-negatives",
        "objectives/implicit.py",
        "(epoch * num_positives + number) * sampler.num_negatives",
        "number * sampler.num_negatives",
        "objectives/test_implicit.py",
    ),
    Mutant(
        "the-last-batch-is-left-out",
        "objectives/implicit.py",
        "(num_positives * group + sampler.batch_size - 1) // sampler.batch_size",
        "(num_positives * group) // sampler.batch_size",
        "objectives/test_implicit.py",
    ),
    Mutant(
        "negatives-are-positives",
        "objectives/implicit.py",
        "(is_positive & is_valid).astype(jnp.float32)",
        "is_valid.astype(jnp.float32)",
        "objectives/test_implicit.py",
    ),
)

PARTITIONS = (
    Mutant(
        "alpha-does-not-skew",
        "data/partitions.py",
        "concentration = alpha * num_left / label.size",
        "concentration = 10.0 * num_left / label.size",
        "data/test_partitions.py::test_the_skew_is_that_of_the_dirichlet_law",
    ),
    Mutant(
        "silos-of-users-part-events",
        "data/partitions.py",
        'return silo if by == "event" else silo[interactions.users]',
        'return np.resize(silo, interactions.num_events) if by == "user" else silo',
        "data/test_partitions.py",
    ),
    Mutant(
        "a-server-of-two-rates-is-plain",
        "optimizers.py",
        "if found is None or not is_zero(found.momentum) or len(set(found.groups)) > 1:",
        "if found is None or len(set(found.groups)) > 1:",
        "test_optimizers.py::test_a_server_is_plain_sgd_without_momentum_only",
    ),
    Mutant(
        "two-rates-are-one",
        "optimizers.py",
        "if found is None or len(set(found.groups)) > len(set(roles)):",
        "if found is None:",
        "test_optimizers.py::test_private_leaves_of_two_rates_are_not_plain_sgd",
    ),
)

MUTANTS = COHORTS + ROWS + EXAMPLES + PARTITIONS
