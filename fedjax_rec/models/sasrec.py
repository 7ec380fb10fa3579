"""SASRec: a causal transformer that scores the next item of a history."""

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array, History, Inputs, Key, Model, Part, View
from fedjax_rec.models.checks import refuse_out_of_range
from fedjax_rec.models.rows import gather


def sasrec(
    num_items: int,
    dim: int = 64,
    *,
    max_length: int = 50,
    num_blocks: int = 2,
    num_heads: int = 1,
    init_stddev: float = 0.02,
) -> Model:
    """Self-attentive sequential recommendation (SASRec).

    The score of item i after events `x_1 .. x_t` is `f_t . q_i`: f is the output of causal
    transformer blocks over `sqrt(D) q_{x_t}` plus a learnt position, and q_i is the item's own
    vector. There is no user vector: all is shared. Only the last `max_length` events are
    read, and positions count back from the latest one.

    Args:
      num_items: size of the catalogue (I).
      dim: width of a vector (D), at least 1 and a multiple of `num_heads`.
      max_length: most events that are read, at least 1.
      num_blocks: transformer blocks, at least 1.
      num_heads: heads of attention, at least 1.
      init_stddev: standard deviation of the normal initial item vectors, at least 0.

    Returns:
      A model with rows `{"item": [I, D]}` and dense flax parameters. It needs the whole table
      and `inputs.history`, whose items are ids of the catalogue; it scores `inputs.ids` (or
      all) after the last event, `[B]`, or after each, `[L, B]`, if `is_every_position`. For a
      client without events the scores are finite and the same for all such clients.

    Raises:
      ValueError: an argument is out of range; when traced: there is no history, the view is
        not the whole table, or a history is longer than `max_length` and scores are
        wanted after every event.

    Reference:
      Kang and McAuley (2018), "Self-attentive sequential recommendation", section III, with
      scores from the item embedding itself. Differences: no dropout; queries, keys and
      values all read the normalised events; with several heads, no projection behind them.

    >>> model = sasrec(num_items=5, dim=4)
    >>> model.needs_history, model.is_row_wise
    (True, False)
    """
    refuse_out_of_range(
        dim=dim,
        max_length=max_length,
        num_blocks=num_blocks,
        num_heads=num_heads,
        init_stddev=init_stddev,
    )
    if dim % num_heads:
        raise ValueError(f"dim must be a multiple of num_heads = {num_heads}, got {dim}")

    from fedjax_rec.models.transformer import Encoder  # loads flax

    encoder = Encoder(max_length, num_blocks, num_heads)

    def init(key: Key) -> tuple[Part, Part]:
        key_table, key_encoder = jax.random.split(key)
        table = init_stddev * jax.random.normal(key_table, (num_items, dim))
        dense = encoder.init(key_encoder, table[:1], jnp.int32(1))["params"]
        return Part({"item": table}, dense), Part({}, ())

    def score(view: View, inputs: Inputs) -> Array:
        table, history = view.shared.rows["item"], inputs.history
        if history is None:
            raise ValueError("sasrec reads a history: use an objective that gives it: next_item")
        if table.shape[0] != num_items:
            raise ValueError(f"sasrec needs the whole table of {num_items} rows: do not slice it")
        if inputs.is_every_position and history.items.shape[0] > max_length:
            raise ValueError(
                f"a history of {history.items.shape[0]} events is longer than the model's "
                f"max_length = {max_length}: cut it before asking for every position"
            )
        items, num_events = latest(history, max_length, num_items)
        events = jnp.sqrt(dim) * table.at[items].get(mode="fill", fill_value=0)
        hidden = encoder.bind({"params": view.shared.dense})(events, num_events)
        if not inputs.is_every_position:
            hidden = hidden[jnp.maximum(num_events - 1, 0)]
        return hidden @ gather(table, inputs.ids).T

    return Model({"item": num_items}, init, score, needs_history=True)


def latest(history: History, max_length: int, num_items: int) -> tuple[Array, Array]:
    """The last `max_length` items, oldest first and padded at the end, and how many are real."""
    length = min(history.items.shape[0], max_length)
    num_events = jnp.minimum(history.num_events, length)
    place = jnp.arange(length)
    items = history.items.at[history.num_events - num_events + place].get(mode="clip")
    return jnp.where(place < num_events, items, num_items), num_events
