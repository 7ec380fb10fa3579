"""Area under the curve, against a loop over pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedjax_rec.evaluation import area_under_curve

CASES = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30)


def split(case):
    scores = np.array([score for score, _ in case], float)
    return scores, np.array([truth for _, truth in case])


@given(CASES)
def test_the_area_is_the_share_of_pairs_in_order_ties_half(case):
    scores, truth = split(case)
    pairs = [
        (above > below) + 0.5 * (above == below)
        for above in scores[truth]
        for below in scores[~truth]
    ]
    expected = np.mean(pairs) if pairs else np.nan
    assert area_under_curve(scores, truth) == pytest.approx(expected, nan_ok=True)


def test_one_score_for_all_is_chance():
    assert area_under_curve(np.ones(10), np.arange(10) < 3) == 0.5


@pytest.mark.parametrize(
    ("scores", "truth", "complaint"),
    [([1.0, np.nan], [True, False], "not finite"), ([1.0], [True, False], r"\[n\]")],
)
def test_what_is_no_ranking_is_refused(scores, truth, complaint):
    with pytest.raises(ValueError, match=complaint):
        area_under_curve(scores, truth)
