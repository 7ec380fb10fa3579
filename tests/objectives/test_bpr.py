"""BPR, against its formula pair by pair, and over the batches of `sampled`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.base import History, Inputs, Sampled
from fedjax_rec.objectives import Sampler, bpr, sampled

K = 2
# three groups: whole; without its last negative; padding
LABEL = np.array([1, 0, 0, 1, 0, 0, 0, 0, 0], np.float32)
IS_VALID = np.array([1, 1, 1, 1, 1, 0, 0, 0, 0], bool)
SCORES = np.array([0.5, -2.0, 40.0, -60.0, 60.0, 1.0, 3.0, 1e30, -1.0])


def examples(is_valid: np.ndarray = IS_VALID) -> Sampled:
    return Sampled(Inputs(jnp.arange(9)), jnp.asarray(LABEL), jnp.asarray(is_valid))


def test_the_loss_of_a_pair_is_minus_the_log_of_its_order() -> None:
    loss, weight = bpr(K)(jnp.asarray(SCORES, jnp.float32), examples())
    expected = np.zeros(9)
    for positive, negative in ((0, 1), (0, 2), (3, 4)):
        expected[negative] = np.logaddexp(0, SCORES[negative] - SCORES[positive])
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert weight.tolist() == [0, 1, 1, 0, 1, 0, 0, 0, 0]


def test_the_gradient_pulls_a_positive_by_all_of_its_negatives() -> None:
    gradient = jax.grad(lambda scores: jnp.sum(bpr(K)(scores, examples())[0]))
    found = gradient(jnp.asarray(SCORES, jnp.float32))
    pull = {pair: 1 / (1 + np.exp(SCORES[pair[0]] - SCORES[pair[1]])) for pair in ((0, 1), (0, 2))}
    expected = np.zeros(9)
    expected[:3] = [-sum(pull.values()), pull[0, 1], pull[0, 2]]
    expected[3:5] = [-1, 1]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_weights_depend_on_labels_and_validity_alone() -> None:
    (_, one), (_, other) = (bpr(K)(jnp.full(9, value), examples()) for value in (0.0, jnp.nan))
    np.testing.assert_array_equal(one, other)


def test_a_batch_of_sampled_holds_whole_groups() -> None:
    """Scores that put every positive above and every negative below give no loss."""
    items = jnp.array([7, 2, 31, 11, 90, 90])
    history = History(items, items, items, jnp.int32(4), jnp.sort(items), jnp.int32(4))
    sampler = Sampler(90, num_negatives=K, batch_size=6, local_epochs=2)
    objective = sampled(sampler, bpr(K), is_pointwise=False)
    rows, plan = objective.prepare(jax.random.key(0), history)
    assert objective.num_steps(plan) == 4
    batches = jax.vmap(objective.batch, (None, 0))(plan, jnp.arange(4))
    scores = jnp.where(jnp.isin(rows["item"][batches.inputs.ids], items), 50.0, -50.0)
    loss, weight = jax.vmap(objective.loss)(scores, batches)
    assert jnp.sum(weight) == 2 * 4 * K
    assert jnp.sum(loss * weight) == 0
    loss, _ = jax.vmap(objective.loss)(-scores, batches)
    np.testing.assert_allclose(loss[weight > 0], 100)


@pytest.mark.parametrize(("size", "instead"), [(256, 255), (7, 6), (2, 3)])
def test_a_batch_size_that_tears_groups_is_refused(size: int, instead: int) -> None:
    with pytest.raises(ValueError, match=f"multiple of .* = 3, got {size}; use {instead}$"):
        bpr(K)(jnp.zeros(size), Sampled(Inputs(jnp.zeros(size)), jnp.zeros(size), jnp.zeros(size)))


def test_no_negatives_are_refused() -> None:
    with pytest.raises(ValueError, match="num_negatives must be at least 1, got 0"):
        bpr(0)
