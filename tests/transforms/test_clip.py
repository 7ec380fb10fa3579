"""Clips: no update, however hostile, leaves with more than the bound."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.base import Message, Part
from fedjax_rec.testing import check_transform
from fedjax_rec.transforms import clip_by_norm, clip_by_quantile, gaussian_noise, local_noise

NUM_TREES = 100_000
KINDS = ("plain", "tiny", "subnormal", "huge", "overflowing", "NaN", "infinite", "zero", "mixed")


def hostile(dtype: Any) -> Part:
    """Trees `[NUM_TREES, ...]` of numbers of all sizes, and of what is none."""
    rng = np.random.default_rng(0)

    def leaf(*shape: int) -> Any:
        values = rng.normal(size=(NUM_TREES, *shape))
        kind = np.arange(NUM_TREES) % len(KINDS)
        sizes = np.array([1.0, 1e-20, 1e-42, 1e15, 1e30, 1.0, 1.0, 0.0, 1.0])[kind]
        values *= sizes.reshape(-1, *[1] * len(shape))
        first = (slice(None),) + (0,) * len(shape)
        values[first] = np.where(kind == 5, np.nan, np.where(kind == 6, -np.inf, values[first]))
        values[first] = np.where(kind == 8, 1e30, values[first])
        with np.errstate(over="ignore"):
            return jnp.asarray(values.astype(np.float32)).astype(dtype)

    return Part({"item": {"vector": leaf(4, 3), "bias": leaf(4)}}, {"head": leaf(5)})


def norms(update: Part) -> np.ndarray:
    """In float64."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(update)]
    return np.sqrt(sum(np.square(x.reshape(NUM_TREES, -1)).sum(axis=1) for x in leaves))


def encoded(transform: Any, updates: Part) -> Message:
    state = transform.init(jax.random.key(0), jax.tree.map(lambda leaf: leaf[0], updates))

    def one(update: Part) -> Message:
        message = Message(update, jnp.float32(7), {}, {})
        return transform.encode(jax.random.key(1), message, state, (), jnp.float32(jnp.inf))[0]

    return jax.jit(jax.vmap(one))(updates)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("bound", [1.0, 1e-4, 30.0])
def test_no_hostile_update_leaves_with_more_than_the_bound(dtype: str, bound: float) -> None:
    updates = hostile(dtype)
    sent = encoded(clip_by_norm(bound), updates)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(sent.update)} == {"float32"}
    left = norms(sent.update)
    assert np.isfinite(left).all()
    assert left.max() <= bound * (1 + 1e-6)
    before = norms(updates)
    plain = np.arange(NUM_TREES) % len(KINDS) == 0
    np.testing.assert_allclose(left[plain], np.minimum(before[plain], bound), rtol=1e-5)


def test_a_clip_by_a_quantile_bounds_by_what_its_state_says() -> None:
    updates = hostile("bfloat16")
    sent = encoded(clip_by_quantile(0.5, cohort_size=10, largest=2.0), updates)
    left = norms(sent.update)
    assert left.max() <= 0.5 * (1 + 1e-6)
    (below,) = sent.stats.values()
    with np.errstate(invalid="ignore"):
        expected = np.where(norms(updates) <= 0.5, 0.5, -0.5)
    np.testing.assert_array_equal(np.asarray(below), expected)


@pytest.mark.parametrize(
    "transform", [clip_by_norm(1.0), clip_by_quantile(1.0, cohort_size=3, largest=2.0)]
)
def test_whole_numbers_are_refused_where_they_would_be_clipped(transform: Any) -> None:
    message = Message(Part({}, jnp.arange(3)), jnp.float32(1), {}, {})
    with pytest.raises(TypeError, match="whole numbers cannot be clipped"):
        transform.encode(None, message, jnp.float32(1), (), jnp.float32(jnp.inf))


def test_whole_numbers_are_refused_where_they_would_be_noised() -> None:
    message = Message(Part({}, jnp.arange(3)), jnp.float32(1), {}, {})
    with pytest.raises(TypeError, match="whole numbers cannot take it"):
        gaussian_noise(1.0).decode(jax.random.key(0), message, (), jnp.float32(1))
    with pytest.raises(TypeError, match="whole numbers cannot take it"):
        local_noise(1.0).encode(jax.random.key(0), message, (), (), jnp.float32(1))


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("count_stddev", [0.0, 5.0])
def test_the_clip_finds_the_quantile_of_the_norms(quantile: float, count_stddev: float) -> None:
    sizes = np.random.default_rng(3).lognormal(0.0, 0.5, 1000).astype(np.float32)
    clip = clip_by_quantile(
        0.1, cohort_size=1000, largest=50.0, quantile=quantile, count_stddev=count_stddev
    )

    @jax.jit
    def round_of(key: Any, norm: Any) -> Any:
        def one(size: Any) -> Message:
            message = Message(Part({}, size[None]), jnp.float32(1), {}, {})
            return clip.encode(key, message, norm, (), jnp.float32(jnp.inf))[0]

        total = jax.tree.map(lambda leaf: leaf.sum(axis=0), jax.vmap(one)(sizes))
        return clip.decode(key, total, norm, jnp.float32(jnp.inf))[1]

    norm = clip.init(jax.random.key(0), Part({}, jnp.zeros(1)))
    for number in range(100):
        norm = round_of(jax.random.key(number), norm)
    assert float(norm) == pytest.approx(np.quantile(sizes, quantile), rel=0.05)


def test_noise_on_the_count_is_new_in_each_round_and_of_its_size() -> None:
    clip = clip_by_quantile(
        1.0, cohort_size=10, largest=1e9, quantile=0.5, learning_rate=1.0, count_stddev=0.4
    )
    (mechanism,) = clip.mechanisms
    assert (mechanism.releases, mechanism.noise_multiplier) == ("count", 0.8)
    total = Message(Part({}, jnp.zeros(1)), jnp.float32(0), {}, {"clip_by_quantile": jnp.zeros(())})
    draws = jax.vmap(lambda key: clip.decode(key, total, jnp.float32(1), jnp.float32(1))[1])(
        jax.random.split(jax.random.key(0), 100_000)
    )
    noise = -np.log(np.asarray(draws, np.float64)) * 10
    assert noise.std() == pytest.approx(0.4, rel=0.01)
    assert abs(noise.mean()) < 0.01


def test_a_clip_never_passes_its_largest_norm() -> None:
    clip = clip_by_quantile(1.0, cohort_size=1, largest=1.5, quantile=0.9, learning_rate=9.0)
    total = Message(Part({}, jnp.zeros(1)), jnp.float32(0), {}, {"clip_by_quantile": -0.5})
    assert float(clip.decode(jax.random.key(0), total, jnp.float32(1), 0.0)[1]) == 1.5
    assert clip.bound(float("inf"), None) == 1.5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"clip_norm": 0.0}, "clip_norm must be above 0"),
        ({"largest": 0.5}, "largest must be finite and no less"),
        ({"cohort_size": 0.0}, "cohort_size must be above 0"),
        ({"quantile": 1.0}, "quantile must be between"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"count_stddev": -1.0}, "count_stddev must be at least 0"),
        ({"count_stddev": float("nan")}, "count_stddev must be at least 0"),
    ],
)
def test_a_number_out_of_its_range_is_refused(changes: dict[str, float], words: str) -> None:
    settings = {"clip_norm": 1.0, "cohort_size": 10.0, "largest": 2.0} | changes
    with pytest.raises(ValueError, match=words):
        clip_by_quantile(**settings)


def test_the_contract_of_transforms_holds() -> None:
    check_transform(clip_by_quantile(1.0, cohort_size=3, largest=2.0, count_stddev=0.2))
