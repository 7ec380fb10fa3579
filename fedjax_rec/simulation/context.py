"""What both executors are handed: the round as it stands, and what its clients add to."""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp

from fedjax_rec import base
from fedjax_rec.base import (
    Array,
    Clients,
    Entry,
    FederatedAlgorithm,
    Fixed,
    Key,
    Message,
    RoundInfo,
    ServerState,
    Stat,
)
from fedjax_rec.simulation.execution import Execution
from fedjax_rec.simulation.mistakes import in_words

PADDING = "padding"
"""The name of the observation `steps_made`."""


@dataclass(frozen=True)
class Round:
    """What stays the same while a round's clients train."""

    algorithm: FederatedAlgorithm
    execution: Execution
    state: ServerState
    fixed: Fixed

    def key(self, client_id: Array | int, purpose: int) -> Key:
        """The key of one purpose of one client in this round."""
        return base.derive_key(self.state.key, self.state.round, client_id, purpose)


class Carry(NamedTuple):
    """What a round's clients add to, chunk after chunk."""

    total: Message
    clients: Clients
    info: RoundInfo


BYTES_DOWN, BYTES_UP = "bytes_down", "bytes_up"
"""The names of the observations `bytes_sent`."""


def bytes_sent(this: Round, entry: Entry) -> RoundInfo:
    """What one client receives and sends, where the algorithm counts it; nothing of padding.

    A client that diverges counts too: the server hears of it.
    """
    if this.algorithm.sent is None:
        return {}
    with in_words("FederatedAlgorithm.sent"):
        both = this.algorithm.sent(this.state, entry)
    one = entry.is_valid.astype(jnp.float32)
    down, up = (jnp.where(entry.is_valid, count, 0).astype(jnp.float32) for count in both)
    return {BYTES_DOWN: Stat(down, one), BYTES_UP: Stat(up, one)}


def steps_made(num_made: Array, num_needed: Array) -> RoundInfo:
    """Local steps that were computed, padding included, for each that a client needed."""
    return {PADDING: Stat(num_made.astype(jnp.float32), num_needed.astype(jnp.float32))}
