"""All mutants, by theme."""

from tests.mutants import evaluation, inputs, settings, training

MUTANTS = training.MUTANTS + evaluation.MUTANTS + inputs.MUTANTS + settings.MUTANTS
