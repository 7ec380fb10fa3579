"""Matrix factorisation, against a product in NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from fedjax_rec.base import Inputs, Part, Private, View, empty, nothing_private
from fedjax_rec.models import matrix_factorization

RNG = np.random.default_rng(0)
TABLE, USER = RNG.normal(size=(7, 3)), RNG.normal(size=3)
VIEW = View(
    Part({"item": jnp.asarray(TABLE, jnp.float32)}, ()),
    Private({}, jnp.asarray(USER, jnp.float32)),
    empty(),
    nothing_private(),
    empty(),
)


def test_a_score_is_the_product_of_user_and_item() -> None:
    model = matrix_factorization(7, 3)
    ids = [2, 2, 6, 0]
    scores = model.score(VIEW, Inputs(jnp.array(ids)))
    np.testing.assert_allclose(scores, TABLE[ids] @ USER, rtol=1e-5)


def test_no_ids_score_every_row_of_the_view_slice_or_table() -> None:
    model = matrix_factorization(7, 3)
    np.testing.assert_allclose(model.score(VIEW, Inputs(None)), TABLE @ USER, rtol=1e-5)
    part = VIEW._replace(shared=Part({"item": VIEW.shared.rows["item"][:2]}, ()))
    np.testing.assert_allclose(model.score(part, Inputs(None)), TABLE[:2] @ USER, rtol=1e-5)


def test_the_gradient_goes_to_the_scored_rows_and_the_user() -> None:
    model = matrix_factorization(7, 3)

    def score(shared: Part, private: Private) -> jax.Array:
        view = VIEW._replace(shared=shared, private=private)
        return model.score(view, Inputs(jnp.array([4]))).sum()

    shared, private = jax.grad(score, (0, 1))(VIEW.shared, VIEW.private)
    expected = np.zeros_like(TABLE)
    expected[4] = USER
    np.testing.assert_allclose(shared.rows["item"], expected, rtol=1e-6)
    np.testing.assert_allclose(private.dense, TABLE[4], rtol=1e-6)


def test_parameters_are_declared_shared_rows_and_a_private_vector() -> None:
    model = matrix_factorization(num_items=7, dim=3)
    shared, frozen = jax.eval_shape(model.init, jax.random.key(0))
    private = jax.eval_shape(model.init_private, jax.random.key(0))
    assert dict(model.num_rows) == {"item": 7}
    assert shared.rows["item"].shape == (7, 3)
    assert jax.tree.leaves((shared.dense, frozen, private.rows)) == []
    assert isinstance(private, Private)
    assert private.dense.shape == (3,)


@pytest.mark.parametrize("stddev", [0.1, 2.0])
def test_both_start_normal_with_the_given_deviation(stddev: float) -> None:
    model = matrix_factorization(300, 20, init_stddev=stddev)
    shared, _ = model.init(jax.random.key(0))
    users = jax.vmap(model.init_private)(jax.random.split(jax.random.key(1), 300)).dense
    for values in (shared.rows["item"], users):
        law = stats.norm(0, stddev).cdf
        assert stats.kstest(np.ravel(values), law).pvalue > 1e-3
        assert stats.kstest(1.15 * np.ravel(values), law).pvalue < 1e-3


@pytest.mark.parametrize(
    "argument",
    [
        {"dim": 0},
        {"dim": -3},
        {"init_stddev": -0.1},
        {"init_stddev": float("nan")},
        {"init_stddev": float("inf")},
    ],
    ids=str,
)
def test_a_width_or_deviation_out_of_range_is_refused(argument: dict[str, Any]) -> None:
    (name,) = argument
    with pytest.raises(ValueError, match=f"^{name} must be at least"):
        matrix_factorization(7, **argument)
