"""The majority class is counting."""

import jax
import numpy as np
import pytest

from fedjax_rec.base import Fixed, Inputs, View, empty, nothing_private
from fedjax_rec.baselines import majority
from fedjax_rec.data import client_data, from_events, leave_one_out
from fedjax_rec.simulation import Execution, build, pad_cohort

NUM_OWNERS, NUM_EVENTS = 5, 40
RNG = np.random.default_rng(0)
OWNERS = np.append(np.arange(NUM_OWNERS), RNG.integers(0, NUM_OWNERS, NUM_EVENTS))
LABELS = (RNG.random(len(OWNERS)) < 0.7).astype(float)


@pytest.mark.parametrize("cohort", [[0, 1, 2, 3, 4], [3, 1], []])
@pytest.mark.parametrize("labels", [LABELS, np.ones_like(LABELS), np.zeros_like(LABELS)])
def test_the_score_is_the_logit_of_the_share_of_positive_records(cohort, labels):
    events = from_events(OWNERS, np.arange(len(OWNERS)), labels, times=1 + np.arange(len(OWNERS)))
    split = leave_one_out(events)
    algorithm = majority(events.num_items)
    engine = build(algorithm, Execution(chunk_size=2))
    state, clients, frozen = engine.init(jax.random.key(0), NUM_OWNERS)
    fixed = Fixed(frozen, client_data(split))
    state, _, _ = jax.jit(engine.step)(state, clients, pad_cohort(cohort, NUM_OWNERS), fixed)
    own = [v for u, v in zip(split.train.users, split.train.values, strict=True) if u in cohort]
    share = (sum(own) + 1) / (len(own) + 2)
    view = View(state.shared, nothing_private(), frozen, nothing_private(), empty())
    scores = algorithm.model.score(view, Inputs(None))
    assert scores.shape == (events.num_items,)
    np.testing.assert_allclose(1 / (1 + np.exp(-np.asarray(scores))), share, rtol=1e-5)
    np.testing.assert_array_equal(algorithm.model.score(view, Inputs(np.array([3, 3]))), scores[:2])
