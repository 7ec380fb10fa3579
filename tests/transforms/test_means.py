"""Clipping and means, from encode over the sum to decode, against NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from fedjax_rec.base import AggregateTransform, Message, Part
from fedjax_rec.transforms import chain, clip_by_norm, mean, total

NUM_CLIENTS, NUM_ITEMS, DIM = 4, 6, 3
RNG = np.random.default_rng(0)
IS_TOUCHED = np.array(
    [[1, 1, 0, 0, 0, 0], [1, 0, 1, 0, 0, 0], [1, 0, 1, 0, 1, 0], [0, 0, 0, 0, 0, 0]], bool
)  # nobody touches items 3 and 5; client 3 touches none
ROWS = RNG.normal(size=(NUM_CLIENTS, NUM_ITEMS, DIM)) * IS_TOUCHED[:, :, None]
DENSE = RNG.normal(size=(NUM_CLIENTS, 2))
WEIGHTS = np.array([5.0, 1.0, 10.0, 4.0])
KEY = jax.random.key(0)
NO_BOUND = jnp.float32(jnp.inf)


def messages(num_clients: int = NUM_CLIENTS) -> Message:
    own = slice(num_clients)
    update = Part({"item": {"vector": jnp.float32(ROWS[own])}}, {"head": jnp.float32(DENSE[own])})
    return Message(update, jnp.float32(WEIGHTS[own]), {}, {})


def aggregate(transform: AggregateTransform, sent: Message) -> tuple[Any, Any]:
    """Rows and dense leaf of what the server gets from these clients."""

    @jax.jit
    def run(sent: Message) -> Part:
        template = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:]), sent.update)
        state, residual = (
            transform.init(jax.random.key(0), template),
            transform.init_residual(template),
        )

        def encode(message: Message) -> Message:
            return transform.encode(KEY, message, state, residual, NO_BOUND)[0]

        summed = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), jax.vmap(encode)(sent))
        return transform.decode(KEY, summed, state, NO_BOUND)[0].update

    update = run(sent)
    return np.asarray(update.rows["item"]["vector"]), np.asarray(update.dense["head"])


def assert_close(got: tuple[Any, Any], rows: Any, dense: Any) -> None:
    np.testing.assert_allclose(got[0], rows, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(got[1], dense, rtol=1e-6, atol=1e-7)


def test_total_is_the_sum() -> None:
    assert_close(aggregate(total(), messages()), ROWS.sum(0), DENSE.sum(0))


def test_mean_by_client_counts_every_client_once() -> None:
    assert_close(aggregate(mean(), messages()), ROWS.mean(0), DENSE.mean(0))


def test_mean_by_example_weighs_clients_by_their_size() -> None:
    share = WEIGHTS / WEIGHTS.sum()
    rows, dense = np.einsum("c,cid->id", share, ROWS), share @ DENSE
    assert_close(aggregate(mean("example"), messages()), rows, dense)


def test_mean_by_row_divides_each_row_by_the_clients_that_changed_it() -> None:
    rows = np.zeros((NUM_ITEMS, DIM))
    for item in range(NUM_ITEMS):
        senders = [client for client in range(NUM_CLIENTS) if IS_TOUCHED[client, item]]
        if senders:
            rows[item] = ROWS[senders, item].mean(0)
    got = aggregate(mean("row"), messages())
    assert_close(got, rows, DENSE.mean(0))
    assert (got[0][[3, 5]] == 0).all()


def test_a_public_divisor_replaces_the_number_of_clients() -> None:
    got = aggregate(mean(divisor=8), messages())
    assert_close(got, ROWS.sum(0) / 8, DENSE.sum(0) / 8)


@pytest.mark.parametrize("transform", [mean(), mean("example"), mean("row"), mean(divisor=8)])
def test_a_round_without_clients_gives_zeros(transform: AggregateTransform) -> None:
    got = aggregate(transform, messages(0))
    assert_close(got, np.zeros((NUM_ITEMS, DIM)), np.zeros(2))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"by": "item"}, "by must be 'client', 'example' or 'row', got 'item'"),
        ({"by": "row", "divisor": 3.0}, "divisor goes with by='client'"),
        ({"by": "example", "divisor": 3.0}, "divisor goes with by='client'"),
        ({"divisor": 0.0}, "must be positive"),
        ({"divisor": -1.0}, "must be positive"),
        ({"divisor": float("nan")}, "must be positive"),
    ],
)
def test_means_that_make_no_sense_are_refused(arguments: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        mean(**arguments)


# -------------------------------------------------------------------------- clipping


def norms(scale: float) -> NDArray[np.float64]:
    return scale * np.sqrt((ROWS**2).sum((1, 2)) + (DENSE**2).sum(1))


def clipped(scale: float, clip_norm: float) -> tuple[Any, Any]:
    """Each client's update, scaled and then clipped."""
    sent = messages()
    sent = sent._replace(update=jax.tree.map(lambda leaf: scale * leaf, sent.update))

    def encode(message: Message) -> Message:
        return clip_by_norm(clip_norm).encode(KEY, message, (), (), NO_BOUND)[0]

    update = jax.jit(jax.vmap(encode))(sent).update
    return np.asarray(update.rows["item"]["vector"]), np.asarray(update.dense["head"])


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3, 1e15])
def test_clipping_scales_the_whole_update_to_the_norm_and_keeps_its_direction(scale: float) -> None:
    factors = scale * np.minimum(1, 2.5 / norms(scale))
    rows, dense = clipped(scale, 2.5)
    np.testing.assert_allclose(rows, factors[:, None, None] * ROWS, rtol=1e-5)
    np.testing.assert_allclose(dense, factors[:, None] * DENSE, rtol=1e-5)
    after = np.sqrt((rows.astype(np.float64) ** 2).sum((1, 2)) + (dense**2).sum(1))
    assert (after <= 2.5 * (1 + 1e-6)).all()


def test_some_but_not_all_clients_are_clipped_above() -> None:
    assert 0 < (norms(1.0) > 2.5).sum() < NUM_CLIENTS


def test_an_update_within_the_bound_is_not_touched() -> None:
    rows, dense = clipped(1.0, 1e4)
    np.testing.assert_array_equal(rows, np.float32(ROWS))
    np.testing.assert_array_equal(dense, np.float32(DENSE))


def test_an_update_of_zeros_stays_zero() -> None:
    rows, dense = clipped(0.0, 2.5)
    assert not rows.any()
    assert not dense.any()


def test_an_update_too_large_to_square_stays_bounded() -> None:
    rows, dense = clipped(1e30, 2.5)
    assert np.isfinite(rows).all()
    assert np.sqrt((rows**2).sum((1, 2)) + (dense**2).sum(1)).max() <= 2.5 * (1 + 1e-6)


@pytest.mark.parametrize("clip_norm", [0.0, -1.0, float("inf"), float("nan")])
def test_a_clip_norm_that_bounds_nothing_is_refused(clip_norm: float) -> None:
    with pytest.raises(ValueError, match="clip_norm must be positive and finite"):
        clip_by_norm(clip_norm)


@pytest.mark.parametrize("state", [None, ()])
def test_the_bound_is_the_smaller_of_what_enters_and_the_clip_norm(state: Any) -> None:
    assert float(clip_by_norm(2.0).bound(float("inf"), state)) == 2
    assert float(clip_by_norm(2.0).bound(0.5, state)) == 0.5
    assert float(mean().bound(0.5, state)) == 0.5
    assert float(mean("row").bound(0.5, state)) == 0.5
    assert float(mean("example").bound(0.5, state)) == float("inf")


def test_clipped_updates_are_averaged_by_client() -> None:
    factors = np.minimum(1, 2.5 / norms(1.0))
    got = aggregate(chain(clip_by_norm(2.5), mean(divisor=10)), messages())
    rows = (factors[:, None, None] * ROWS).sum(0) / 10
    assert_close(got, rows, (factors[:, None] * DENSE).sum(0) / 10)


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan")])
def test_a_sum_of_no_clients_is_refused(size: float) -> None:
    with pytest.raises(ValueError, match="total: size must be above 0"):
        total(size)
