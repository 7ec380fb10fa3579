"""HSTU: sequential transduction by pointwise attention over positions and times."""

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array, History, Inputs, Key, Model, PyTree, decided
from fedjax_rec.models.checks import refuse_out_of_range, refuse_share
from fedjax_rec.models.sequences import sequence_model, vectors_of

NUM_BUCKETS = 128
BUCKET_WIDTH = 0.301
"""Of the logarithm of seconds between two events."""


def hstu(
    num_items: int,
    dim: int = 50,
    *,
    max_length: int = 200,
    num_blocks: int = 2,
    num_heads: int = 1,
    head_dim: int = 50,
    dropout: float = 0.0,
    temperature: float = 0.05,
    init_stddev: float = 0.02,
) -> Model:
    """A hierarchical sequential transduction unit (HSTU).

    `[u, v, q, k] = silu(norm(x) W)`, `a = tril(silu(q k^T + r) / n) v`,
    `y = x + (u * norm(a)) W_o + b_o`: r is a learnt number by the distance of two places and
    one by the logarithm of the seconds between them, n is `max_length`, and norms have no
    parameters. The score of item i after event t is the cosine of `y_t` and q_i, over a
    temperature.

    Args:
      num_items: size of the catalogue (I).
      dim: width of a vector (D), at least 1.
      max_length: most events that are read (n), at least 1.
      num_blocks: units, at least 1.
      num_heads: heads of attention, at least 1.
      head_dim: width of each head's u, v, q and k, at least 1.
      dropout: of inputs and of what units add, in training; from 0 to below 1.
      temperature: of scores, above 0.
      init_stddev: standard deviation of the normal initial item vectors, at least 0.

    Returns:
      A model with rows `{"item": [I, D]}` and dense parameters; see `sasrec`. A unit has
      `4 D H d + (H d + 1) D + 2 n - 1 + 129` parameters.

    Raises:
      ValueError: an argument is out of range; when traced: there is no history.

    Reference:
      Zhai et al. (2024), "Actions speak louder than words: trillion-parameter sequential
      transducers for generative recommendations", equations 1 to 3, with the released code's
      buckets of time. Difference: a place reads the seconds from another event to its own,
      and not to the event after its own, which at test nobody knows.

    >>> hstu(num_items=5, dim=4, head_dim=4).needs_history
    True
    """
    refuse_out_of_range(
        dim=dim,
        max_length=max_length,
        num_blocks=num_blocks,
        num_heads=num_heads,
        head_dim=head_dim,
        init_stddev=init_stddev,
    )
    refuse_share(dropout=dropout)
    if decided(lambda: temperature <= 0):
        raise ValueError(f"temperature must be above 0, got {temperature}")
    drops, width = decided(lambda: dropout > 0), num_heads * head_dim

    def init_dense(key: Key, row: Array) -> PyTree:
        keys = jax.random.split(key, 5)
        glorot = jax.nn.initializers.glorot_uniform(batch_axis=0)
        stacked = (num_blocks,)
        return {
            "positions": init_stddev * jax.random.normal(keys[0], (max_length, dim)),
            "units": {
                "input": 0.02 * jax.random.normal(keys[1], (*stacked, dim, 4 * width)),
                "output": glorot(keys[2], (*stacked, width, dim)),
                "bias": jnp.zeros((*stacked, dim)),
                "by_distance": 0.02 * jax.random.normal(keys[3], (*stacked, 2 * max_length - 1)),
                "by_time": 0.02 * jax.random.normal(keys[4], (*stacked, NUM_BUCKETS + 1)),
            },
        }

    def drop(key: Key | None, number: int | Array, events: Array) -> Array:
        if key is None or not drops:
            return events
        is_kept = jax.random.bernoulli(jax.random.fold_in(key, number), 1 - dropout, events.shape)
        return jnp.where(is_kept, events / (1 - dropout), 0)

    def read(dense: PyTree, table: Array, window: History, inputs: Inputs) -> Array:
        length = window.items.shape[0]
        place = jnp.arange(length)
        is_read = (place[:, None] >= place) & (place < window.num_events)
        seconds = jnp.maximum(jnp.abs(window.times[:, None] - window.times), 1)
        bucket = jnp.log(seconds.astype(jnp.float32)) / BUCKET_WIDTH
        bucket = jnp.clip(bucket.astype(jnp.int32), 0, NUM_BUCKETS)
        distance = max_length - 1 + place[:, None] - place
        positions = dense["positions"][:length]
        events = jnp.sqrt(dim) * vectors_of(table, window.items) + positions
        events = drop(inputs.key, num_blocks, events)

        def unit(events: Array, numbered: tuple[Array, PyTree]) -> tuple[Array, None]:
            number, p = numbered
            gate, value, query, key = jnp.split(jax.nn.silu(_norm(events) @ p["input"]), 4, axis=1)
            bias = p["by_distance"][distance] + p["by_time"][bucket]
            heads = (length, num_heads, head_dim)
            logits = jnp.einsum("qhd,khd->hqk", query.reshape(heads), key.reshape(heads)) + bias
            weights = jnp.where(is_read, jax.nn.silu(logits) / max_length, 0)
            read = jnp.einsum("hqk,khd->qhd", weights, value.reshape(heads)).reshape(length, width)
            added = drop(inputs.key, number, gate * _norm(read)) @ p["output"] + p["bias"]
            return events + added, None

        events, _ = jax.lax.scan(unit, events, (jnp.arange(num_blocks), dense["units"]))
        return unit_vectors(events) / temperature

    return sequence_model(
        "hstu", num_items, dim, max_length, init_stddev, init_dense, read, keys_of=unit_vectors
    )


def unit_vectors(vectors: Array) -> Array:
    """Each vector over its length; one of zeros stays."""
    square = jnp.sum(vectors**2, axis=-1, keepdims=True)
    return vectors * jax.lax.rsqrt(jnp.maximum(square, 1e-12))


def _norm(events: Array) -> Array:
    """Each row with mean 0 and variance 1."""
    centred = events - events.mean(axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6)
