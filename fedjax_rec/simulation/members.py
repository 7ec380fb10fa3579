"""What is known of a cohort's members before they are streamed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedjax_rec import base
from fedjax_rec.base import Array, Clients, Cohort, Entry, LengthClass, Message
from fedjax_rec.objectives.permutation import Affine
from fedjax_rec.objectives.stream import Stream, open_stream, order_of_positives
from fedjax_rec.simulation.context import Round
from fedjax_rec.simulation.streamable import example_weights, sampler_of


class Member(NamedTuple):
    """A cohort member, and what the stream of its examples needs.

    Attributes:
      entry: who it is.
      stream: its random choices.
      order: of its positives.
      items_at: where its events begin in the store.
      excluded_at: where its exclusions begin in the store.
      num_excluded: how many there are.
    """

    entry: Entry
    stream: Stream
    order: Affine
    items_at: Array
    excluded_at: Array
    num_excluded: Array


def open_members(this: Round, cohort: Cohort) -> tuple[Member, Array]:
    """The cohort's streams `[C]`, and which of its members are light: no row recurs."""
    data, sampler = this.fixed.data, sampler_of(this)
    longest = LengthClass.covering(data.classes)

    def member(entry: Entry) -> Member:
        place = data.place(entry.client_id)
        items_at, excluded_at = data.offsets[place], data.excluded_offsets[place]
        num_events = data.offsets[place + 1] - items_at
        num_excluded = data.excluded_offsets[place + 1] - excluded_at
        key = this.key(entry.client_id, base.PREPARE)
        stream = open_stream(sampler, key, num_events, num_excluded, longest.num_excluded)
        order = order_of_positives(stream, 0, longest.num_events)
        return Member(entry, stream, order, items_at, excluded_at, num_excluded)

    members = jax.vmap(member)(cohort)
    num_negatives = members.stream.num_positives * sampler.num_negatives
    is_light = num_negatives <= members.stream.negatives.num_places
    return members, cohort.is_valid & is_light & data.is_distinct[data.place(cohort.client_id)]


class Encoding(NamedTuple):
    """What the aggregate makes of each member's message, `[C]` each.

    Attributes:
      weight: of its examples, before encoding.
      scale: by which its update is multiplied.
      message_weight: after encoding.
      row_weight: table -> weight of a row that it changed; empty if the transform does
        not weigh rows.
      stats: what else the transform sums.
    """

    weight: Array
    scale: Array
    message_weight: Array
    row_weight: dict[str, Array]
    stats: dict[str, Array]


def encode(this: Round, num_positives: Array, norm: Array, store: Clients) -> Encoding:
    """What the aggregate makes of messages, tried on updates with one number in them.

    Args:
      this: the round.
      num_positives: `[C]` of the members.
      norm: `[C]` of their updates, or a single one of all: any where only the weight counts.
      store: for the shapes of residuals.
    """
    aggregate, state = this.algorithm.aggregate, this.state
    residual = jax.tree.map(lambda leaf: leaf[0], store.residual)
    key = this.key(base.SERVER, base.ENCODE)
    of_positive, of_negative = example_weights(this.algorithm.objective)
    sampler = sampler_of(this)
    row = jax.tree.map(lambda leaf: jnp.zeros((1, *leaf.shape[1:]), leaf.dtype), state.shared)
    leaves, structure = jax.tree.flatten(row)

    def member(num_positives: Array, norm: Array) -> Encoding:
        weight = num_positives * (of_positive + sampler.num_negatives * of_negative)
        first = leaves[0].at[(0,) * leaves[0].ndim].set(norm.astype(leaves[0].dtype))
        message, _ = aggregate.encode(
            key,
            Message(jax.tree.unflatten(structure, [first, *leaves[1:]]), weight, {}, {}),
            state.aggregate_state,
            residual,
            jnp.float32(jnp.inf),
        )
        scaled = jax.tree.leaves(message.update)[0].ravel()[0]
        scale = jnp.where(norm > 0, scaled / norm, 0)
        return Encoding(weight, scale, message.weight, message.row_weight, message.stats)

    encoding: Encoding = jax.vmap(member, in_axes=(0, 0 if norm.ndim else None))(
        num_positives, norm
    )
    return encoding


def encode_by_weight(this: Round, num_positives: Array, store: Clients) -> Encoding:
    """The same where the norms are not known yet, or do not count."""
    return encode(this, num_positives, jnp.ones(()), store)
