"""One point of the ROC curve, against a loop over thresholds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedjax_rec.attacks import tpr_at_fpr

CASES = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30)


def split(case):
    scores = np.array([score for score, _ in case], float)
    return scores, np.array([truth for _, truth in case])


@given(CASES, st.sampled_from([0.0, 0.01, 0.25, 0.5, 1.0]))
def test_the_rate_is_the_best_of_all_thresholds_within_the_budget(case, fpr):
    scores, truth = split(case)
    best = np.nan
    if truth.any() and not truth.all():
        best = 0.0
        for threshold in [*scores, np.inf]:
            is_called = scores >= threshold
            if is_called[~truth].mean() <= fpr:
                best = max(best, is_called[truth].mean())
    assert tpr_at_fpr(scores, truth, fpr) == pytest.approx(best, nan_ok=True)


def test_one_score_for_all_finds_nobody():
    assert tpr_at_fpr(np.ones(10), np.arange(10) < 3, 0.01) == 0


def test_a_rate_out_of_range_is_refused():
    with pytest.raises(ValueError, match="from 0 to 1"):
        tpr_at_fpr([1.0, 0.0], [True, False], 1.5)
