"""All mutants, by theme."""

from tests.mutants import evaluation, inputs, privacy, settings, training

MUTANTS = (
    training.MUTANTS + evaluation.MUTANTS + inputs.MUTANTS + settings.MUTANTS + privacy.MUTANTS
)
