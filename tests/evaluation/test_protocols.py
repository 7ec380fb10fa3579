"""The protocol record."""

import json

import pytest

from fedjax_rec.errors import UserError
from fedjax_rec.evaluation.protocols import Protocol


def test_the_default_protocol_is_the_honest_one():
    assert Protocol().to_dict() == {
        "task": "ranking",
        "holdout": "leave_one_out",
        "validation": "second_latest",
        "time_ties": "hash",
        "split_seed": 0,
        "negatives_exclude": "train",
        "candidates": "full",
        "candidates_seed": 0,
        "seen_items": "removed",
        "score_ties": "pessimistic",
        "history": "train",
        "selection": "last",
    }
    assert json.loads(json.dumps(Protocol().to_dict())) == Protocol().to_dict()


def test_an_unknown_value_is_refused_with_the_nearest_one():
    with pytest.raises(UserError, match=r"candidates = 'uni9'.*'uni99'"):
        Protocol(candidates="uni9")


def test_selection_on_validation_needs_validation_items():
    with pytest.raises(UserError, match="second_latest"):
        Protocol(validation="none", selection="best on validation")
    Protocol(validation="none", selection="best on test, as released")
