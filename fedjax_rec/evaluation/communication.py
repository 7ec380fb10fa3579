"""What a real client would send and receive.

That the simulation gives each client only the rows it touches is how we simulate, not
what is modelled: a client that asks for rows, or uploads only rows, tells the server
which items it touched. So what travels is a declared choice, `payload`, and bytes are
counted from it: `table` sends whole tables both ways and hides the items; `rows` is
smaller and reveals them. An algorithm whose clients differ, or whose rounds do, says itself what
each client sends in each round (`FederatedAlgorithm.sent`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from fedjax_rec.base import Entry, FederatedAlgorithm, Part, PyTree, ServerState
from fedjax_rec.errors import UserError, did_you_mean

Payload = Literal["table", "rows"]

ID_BYTES = 4
"""Bytes of an item's id."""


class ClientBytes(NamedTuple):
    """Bytes of one client in one round.

    Attributes:
      down: from the server.
      up: to the server.
    """

    down: float
    up: float


def bytes_per_client(
    shared: Part,
    update: Part,
    payload: Payload = "table",
    rows_touched: Mapping[str, float] | None = None,
) -> ClientBytes:
    """Bytes that one client receives and sends in one round.

    With `rows` the client sends the ids of its rows once, as its request; rows then
    travel in that order both ways. Dense parameters always travel whole. What a
    transform leaves in `update` is counted by its shapes and dtypes, without framing.

    Args:
      shared: what is broadcast, table-shaped (see `received`); arrays or
        `jax.ShapeDtypeStruct`.
      update: what is sent back, table-shaped (`Message.update`).
      payload: what travels. `rows` tells the server which items a client touched.
      rows_touched: table -> rows that the client asks for; needed by `rows`, where a
        cohort's mean gives the mean bytes.

    Raises:
      UserError: for an unknown payload.

    >>> import jax.numpy as jnp
    >>> item = Part({"item": jnp.zeros((1000, 8))}, jnp.zeros(3))
    >>> bytes_per_client(item, item)
    ClientBytes(down=32012, up=32012)
    >>> bytes_per_client(item, item, "rows", {"item": 10})
    ClientBytes(down=332, up=372)
    """
    if payload not in get_args(Payload):
        hint = did_you_mean(payload, get_args(Payload))
        raise UserError(f"unknown communication payload {payload!r}{hint}")
    if payload == "table":
        return ClientBytes(_nbytes(shared), _nbytes(update))
    if rows_touched is None:
        raise ValueError("payload 'rows' needs rows_touched")
    num_ids = sum(rows_touched[table] for table in shared.rows.keys() | update.rows.keys())
    return ClientBytes(
        _row_bytes(shared, rows_touched),
        _row_bytes(update, rows_touched) + ID_BYTES * num_ids,
    )


def received(algorithm: FederatedAlgorithm, state: ServerState) -> Part:
    """Shapes of what a client receives with whole tables: the server's own, or the broadcast.

    Args:
      algorithm: the filled slots.
      state: the server's, or its shapes.

    Returns:
      A part of `jax.ShapeDtypeStruct`.
    """

    def sent(state: ServerState) -> Part:
        if algorithm.broadcast is None:
            return state.shared
        someone = Entry(jnp.int32(0), jnp.int32(0), jnp.bool_(True))
        shared, extra = algorithm.broadcast(state, someone, {})
        tables = sorted(shared.rows.keys() | extra.rows.keys())
        rows = {table: (shared.rows.get(table), extra.rows.get(table)) for table in tables}
        return Part(rows, (shared.dense, extra.dense))

    shapes: Part = jax.eval_shape(sent, state)
    return shapes


def refuse_payload(algorithm: FederatedAlgorithm, payload: Payload) -> None:
    """Refuses to count rows where an algorithm says itself what each client sends.

    Raises:
      UserError: says so.
    """
    if algorithm.sent is not None and payload != "table":
        raise UserError(
            f"communication.payload: {payload!r} counts the rows that a client touches, and this "
            "algorithm says itself what each client sends; set it to table"
        )


@dataclass(frozen=True)
class Communication:
    """Bytes sent since the start of a run, of all clients together.

    Attributes:
      payload: what travels, see `bytes_per_client`.
      rounds: rounds counted.
      client_rounds: clients over all rounds; one that took part twice counts twice.
      total_down: bytes from the server.
      total_up: bytes to the server.

    >>> after = Communication("table").add(ClientBytes(down=100, up=50), num_clients=4)
    >>> after.to_dict()["total_up"]
    200
    """

    payload: Payload = "table"
    rounds: int = 0
    client_rounds: int = 0
    total_down: float = 0
    total_up: float = 0

    def add(self, per_client: ClientBytes, num_clients: int) -> "Communication":
        """The record with one more round, given the (mean) bytes of its clients."""
        return Communication(
            self.payload,
            self.rounds + 1,
            self.client_rounds + num_clients,
            self.total_down + per_client.down * num_clients,
            self.total_up + per_client.up * num_clients,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `summary.json`."""
        client_rounds = max(self.client_rounds, 1)
        return {
            "payload": self.payload,
            "rounds": self.rounds,
            "client_rounds": self.client_rounds,
            "bytes_down_per_client_round": self.total_down / client_rounds,
            "bytes_up_per_client_round": self.total_up / client_rounds,
            "total_down": round(self.total_down),
            "total_up": round(self.total_up),
        }


def _nbytes(tree: PyTree) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _row_bytes(part: Part, rows_touched: Mapping[str, float]) -> float:
    """Bytes of the touched rows and of all that is dense."""
    total: float = _nbytes(part.dense)
    for table, tree in part.rows.items():
        for leaf in jax.tree.leaves(tree):
            total += rows_touched[table] * math.prod(leaf.shape[1:]) * leaf.dtype.itemsize
    return total
