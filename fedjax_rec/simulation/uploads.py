"""What an attacker gets hold of: single clients' uploads, and losses under a released model.

Both run the code of the general executor, one client apart from the others.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from fedjax_rec import base
from fedjax_rec.base import (
    Array,
    ClientData,
    Clients,
    Entry,
    FederatedAlgorithm,
    Fixed,
    Key,
    LengthClass,
    Message,
    PyTree,
    RoundInfo,
    RowIds,
    ServerState,
    Task,
)
from fedjax_rec.errors import UserError
from fedjax_rec.simulation.context import Round
from fedjax_rec.simulation.execution import Execution
from fedjax_rec.simulation.general import _one_client, _prepare
from fedjax_rec.simulation.sums import write_store

BATCH = 8  # clients that train at once


class Uploads(NamedTuple):
    """What some clients send in a round, each by itself.

    Attributes:
      row_ids: table -> `[n, S]` which rows they send, past the end of the table for padding;
        `None`: whole tables.
      messages: leaves `[n, ...]`: what leaves `encode`.
      clients: the store of these clients after the round, leaves `[n, ...]`, rows as sent.
      info: `[n]` each what the simulation observed, which no server sees.
    """

    row_ids: RowIds
    messages: Message
    clients: Clients
    info: RoundInfo


def uploads(
    algorithm: FederatedAlgorithm,
    state: ServerState,
    clients: Clients,
    fixed: Fixed,
    client_ids: npt.ArrayLike,
) -> Uploads:
    """What these clients would send in the round that `state` stands before.

    The keys are the run's own, so this is what they do send where they are in the cohort.

    Args:
      algorithm: the filled slots.
      state: the server's.
      clients: the store `[N, ...]`.
      fixed: frozen parameters and data.
      client_ids: `[n]`.

    Returns:
      Their messages. A pure function; memory is n clients' slices.

    >>> from fedjax_rec.algorithms import fedmf
    >>> from fedjax_rec.data import load
    >>> from fedjax_rec.simulation import build
    >>> data = load("synthetic", num_users=30, num_items=40, mean_events=8)
    >>> algorithm = fedmf(data.num_items, dim=4)
    >>> state, clients, frozen = build(algorithm).init(jax.random.key(0), data.num_clients)
    >>> seen = uploads(algorithm, state, clients, Fixed(frozen, data.clients), [3, 7])
    >>> seen.messages.weight.shape
    (2,)
    """
    ids = jnp.asarray(client_ids, jnp.int32)
    entries = Entry(ids, ids, jnp.ones(ids.shape, bool))
    return _each(Round(algorithm, Execution(), state, fixed), clients, entries)


def rows_sent(
    seen: Uploads, place: int, table: str, num_rows: int
) -> tuple[npt.NDArray[np.int32], PyTree]:
    """The rows of one client's upload, without padding.

    Args:
      seen: of `uploads`.
      place: of the client among them.
      table: of rows.
      num_rows: size of the table.

    Returns:
      `[S]` item ids, and the change with leaves `[S, ...]`.
    """
    change = jax.tree.map(lambda leaf: np.asarray(leaf[place]), seen.messages.update.rows[table])
    named = seen.row_ids.get(table)
    if named is None:
        return np.arange(num_rows, dtype=np.int32), change
    ids = np.asarray(named[place])
    is_real = ids < num_rows
    return ids[is_real], jax.tree.map(lambda leaf: leaf[is_real], change)


def client_losses(
    algorithm: FederatedAlgorithm,
    state: ServerState,
    fixed: Fixed,
    client_ids: npt.ArrayLike,
    key: Key,
    *,
    num_passes: int = 3,
) -> Array:
    """The loss of clients' own data under a released model, as whoever has both finds it.

    The attacker has the shared parameters and a client's data, and nothing that the client
    keeps: it starts private parameters anew and trains them as a client would, in a few rounds
    that the server never hears of.

    Args:
      algorithm: the filled slots.
      state: the server's, whose shared parameters are attacked.
      fixed: frozen parameters and data.
      client_ids: `[n]`.
      key: the attacker's; the run's own is not used.
      num_passes: local rounds, at least 1; the loss is that of the last one.

    Returns:
      `[n]` mean losses. A pure function.

    Raises:
      UserError: when traced: clients of the algorithm observe no loss.
    """
    ids = jnp.asarray(client_ids, jnp.int32)
    places = jnp.arange(ids.size, dtype=jnp.int32)
    entries = Entry(ids, places, jnp.ones(ids.shape, bool))
    template = algorithm.template(state.shared)

    def fresh(client_id: Array) -> Clients:
        return Clients(
            algorithm.model.init_private(base.derive_key(key, 0, client_id, base.INIT)),
            algorithm.init_memory(state.shared),
            algorithm.aggregate.init_residual(template),
        )

    def one_pass(number: Array, carry: tuple[Clients, Array]) -> tuple[Clients, Array]:
        store, _ = carry
        now = state._replace(key=key, round=number)
        seen = _each(Round(algorithm, Execution(), now, fixed), store, entries)
        if "loss" not in seen.info:
            raise UserError("membership: clients of this algorithm observe no loss")
        loss = seen.info["loss"]
        store = write_store(store, seen.clients, places, seen.row_ids)
        return store, loss.total / jnp.maximum(loss.weight, 1)

    store = jax.lax.map(fresh, ids, batch_size=BATCH)
    start = store, jnp.zeros(ids.shape)
    losses: Array = jax.lax.fori_loop(0, num_passes, one_pass, start)[1]
    return losses


def training_items(data: ClientData, client_ids: npt.ArrayLike) -> list[npt.NDArray[np.int32]]:
    """The truth that attacks on interactions are judged by: each client's own items."""
    items, offsets = np.asarray(data.items), np.asarray(data.offsets)
    return [
        np.unique(items[offsets[client] : offsets[client + 1]]) for client in np.asarray(client_ids)
    ]


def _each(this: Round, store: Clients, entries: Entry) -> Uploads:
    """Every one of the clients, trained and encoded by itself."""
    num_clients = entries.client_id.size
    whole = jnp.arange(-(-num_clients // BATCH) * BATCH)  # batches, so that one program does
    entries = jax.tree.map(lambda leaf: leaf.at[whole].get(mode="clip"), entries)
    length = LengthClass.covering(this.fixed.data.classes)
    row_ids, plans, num_steps = jax.vmap(partial(_prepare, this, length))(entries)
    max_steps = jnp.max(num_steps)

    def train(
        member: tuple[Entry, RowIds, PyTree, Array],
    ) -> tuple[Message, Clients, RoundInfo, Array]:
        entry, own_ids, plan, own_steps = member
        task = Task(entry, this.state.round, plan, own_steps, max_steps)
        return _one_client(this, store, own_ids, task)

    members = (entries, row_ids, plans, num_steps)
    messages, kept, info, _ = jax.lax.map(train, members, batch_size=BATCH)
    seen: Uploads = jax.tree.map(
        lambda leaf: leaf[:num_clients], Uploads(row_ids, messages, kept, info)
    )
    return seen
