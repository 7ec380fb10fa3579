"""All mutants, by theme."""

from tests.mutants import evaluation, inputs, privacy, runs, settings, training

MUTANTS = (
    training.MUTANTS
    + evaluation.MUTANTS
    + inputs.MUTANTS
    + settings.MUTANTS
    + runs.MUTANTS
    + privacy.MUTANTS
)
