"""Faults in what a run is, whom it asks, what it merges and what it compiles."""

from tests.mutants.record import Mutant

MUTANTS = (
    Mutant(
        "a-zero-is-an-input",
        "base/recipes.py",
        "inputs = {k: v for k, v in numbers.items() if v and math.isfinite(v)}",
        "inputs = {k: v for k, v in numbers.items() if math.isfinite(v)}",
        "simulation/test_programs.py::test_a_zero_is_structure",
    ),
    Mutant(
        "every-number-is-structure",
        "base/recipes.py",
        "return (self.name, tuple(sorted(self.numbers)), self.structure, self.answers)",
        "return (self.name, tuple(sorted(self.numbers.items())), self.structure, self.answers)",
        "simulation/test_programs.py::test_another_seed_or_rate_compiles_nothing",
    ),
    Mutant(
        "numbers-inside-are-forgotten",
        "base/recipes.py",
        '{k: given.get(f"{name}.{k}", v) for k, v in part.recipe.numbers.items()}',
        "{k: v for k, v in part.recipe.numbers.items()}",
        "simulation/test_programs.py::test_numbers_of_an_algorithm_inside_another_are_inputs_too",
    ),
    Mutant(
        "people-are-chosen-by-place",
        "simulation/people.py",
        "order = holders[np.argsort(hash_users(data.split.train, plan.clients_seed)[holders])]",
        "order = holders",
        "simulation/test_scoring_people.py"
        "::test_fewer_people_are_some_of_more_and_another_seed_chooses_others",
    ),
    Mutant(
        "everybody-is-asked",
        "simulation/people.py",
        "jnp.where(is_asked[:, None], held_out.targets, num_items)",
        "jnp.where(is_asked[:, None] | True, held_out.targets, num_items)",
        "simulation/test_scoring_people.py"
        "::test_the_metrics_of_some_are_means_of_the_values_they_have_in_a_whole_evaluation",
    ),
    Mutant(
        "training-asks-all-who-are-chosen",
        "simulation/people.py",
        "return final, final[: plan.training_clients or None]",
        "return final, final",
        "simulation/test_scoring_people.py"
        "::test_training_is_watched_on_fewer_and_the_end_is_told_of_all_that_were_chosen",
    ),
    Mutant(
        "the-last-items-are-in-no-group",
        "evaluation/largest.py",
        "left = rest(jnp.arange(num_items))",
        "left = rest(jnp.arange(num_items))[:0]",
        "evaluation/test_largest.py::test_the_largest_in_the_last_items_that_fill_no_group_are_found",
    ),
    Mutant(
        "ties-between-groups-go-to-the-later",
        "evaluation/largest.py",
        "place = -first.astype(jnp.float32)",
        "place = first.astype(jnp.float32)",
        "evaluation/test_largest.py"
        "::test_a_tie_between_a_group_taken_and_one_left_out_goes_to_the_earlier_item",
    ),
    Mutant(
        "the-last-repeat-is-left",
        "data/repeats.py",
        'if rules.repeats == "last":',
        'if rules.repeats == "first":',
        "data/test_repeats.py::test_the_value_left_is_that_of_the_event_left",
    ),
    Mutant(
        "a-run-is-not-its-key",
        "simulation/identity.py",
        '"key": {"words": np.asarray(jax.random.key_data(key)).ravel().tolist()},',
        '"key": {},',
        "simulation/test_identity.py::test_a_folder_of_another_run_is_refused_and_what_differs_is_named",
    ),
    Mutant(
        "frozen-parameters-are-no-part-of-a-run",
        "simulation/identity.py",
        '"frozen": {name: checksum(leaf) for name, leaf in named_leaves(frozen).items()},',
        '"frozen": {},',
        "simulation/test_identity.py::test_frozen_parameters_that_changed_are_refused",
    ),
)
