"""What both executors are handed: the round as it stands, and what its clients add to."""

from dataclasses import dataclass
from typing import NamedTuple

from fedjax_rec import base
from fedjax_rec.base import (
    Array,
    Clients,
    FederatedAlgorithm,
    Fixed,
    Key,
    Message,
    RoundInfo,
    ServerState,
)
from fedjax_rec.simulation.execution import Execution


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
