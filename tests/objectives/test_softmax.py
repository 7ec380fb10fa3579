"""The softmax over a large catalogue, a stretch of it after another."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_rec.objectives.softmax import chunked_cross_entropy

QUERIES, KEYS = (
    jax.random.normal(jax.random.key(seed), shape) for seed, shape in ((0, (7, 5)), (1, (33, 5)))
)
LABEL = jax.random.randint(jax.random.key(2), (7,), 0, 33)


def whole(queries: jax.Array, keys: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(queries @ keys.T, LABEL)


@pytest.mark.parametrize("items_at_once", [1, 8, 11, 33, 100])
@pytest.mark.parametrize("scale", [1.0, 60.0])
def test_it_equals_the_softmax_at_once(items_at_once: int, scale: float) -> None:
    def both(form: Any) -> Any:
        def total(queries: jax.Array, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
            losses = form(scale * queries, keys)
            return (losses * jnp.arange(1.0, 8.0)).sum(), losses

        return jax.grad(total, (0, 1), has_aux=True)(QUERIES, KEYS)

    (found, losses), (expected, expected_losses) = (
        both(lambda queries, keys: chunked_cross_entropy(queries, keys, LABEL, items_at_once)),
        both(whole),
    )
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5, atol=1e-5 * scale)
    for one, other in zip(found, expected, strict=True):
        assert jnp.abs(one - other).max() <= 1e-6 * max(1.0, float(jnp.abs(other).max()))


def test_a_million_items_and_6400_places_take_less_than_a_gigabyte() -> None:
    shapes = [
        jax.ShapeDtypeStruct(shape, kind)
        for shape, kind in (
            ((6400, 64), jnp.float32),
            ((2**20, 64), jnp.float32),
            ((6400,), jnp.int32),
        )
    ]

    def total(queries: jax.Array, keys: jax.Array, label: jax.Array) -> jax.Array:
        return chunked_cross_entropy(queries, keys, label, 8192).sum()

    compiled = jax.jit(jax.grad(total, (0, 1))).lower(*shapes).compile()
    assert compiled.memory_analysis().temp_size_in_bytes <= 1e9
