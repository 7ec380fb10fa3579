"""AUC against pairs counted one by one."""

import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.evaluation.metrics import UNRANKED, auc
from fedjax_rec.evaluation.ranking import ranks


@pytest.mark.parametrize("num_relevant", [1, 3, 7])
@pytest.mark.parametrize("num_candidates", [7, 8, 40])
def test_auc_is_the_share_of_pairs_in_order(num_relevant, num_candidates):
    rng = np.random.default_rng(num_relevant)
    scores = rng.permutation(50).astype(np.float32)
    candidates = rng.permutation(50)[:num_candidates]
    targets = candidates[:num_relevant]
    is_candidate = jnp.zeros(50, bool).at[candidates].set(True)
    padded = np.append(targets, [50, 50])
    found = ranks(scores, padded, is_candidate)
    pairs = [scores[t] > scores[i] for t in targets for i in candidates[num_relevant:]]
    expected = np.mean(pairs) if pairs else np.nan
    area = auc(found, jnp.array(num_relevant), jnp.array(num_candidates))
    assert area == pytest.approx(expected, nan_ok=True)


def test_what_is_not_ranked_is_behind_everything():
    assert auc(jnp.array([UNRANKED]), jnp.array(1), jnp.array(9)) == 0
    both = auc(jnp.array([UNRANKED, 1]), jnp.array(2), jnp.array(9))
    assert both == pytest.approx(0.5)


def test_without_a_pair_there_is_no_area():
    assert jnp.isnan(auc(jnp.array([UNRANKED]), jnp.array(0), jnp.array(9)))
    assert jnp.isnan(auc(jnp.array([1]), jnp.array(1), jnp.array(1)))


def test_clients_are_taken_one_by_one():
    many = auc(jnp.array([[1], [5], [9]]), jnp.ones(3, int), jnp.array([9, 9, 9]))
    assert many.tolist() == [1.0, 0.5, 0.0]
