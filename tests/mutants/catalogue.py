"""All mutants, by theme."""

from tests.mutants import evaluation, inputs, training

MUTANTS = training.MUTANTS + evaluation.MUTANTS + inputs.MUTANTS
