"""Several devices of one host: which clients live where.

Device d of D keeps the clients d, d + D, d + 2 D, ..., what is stored of them and their data:
neighbours often are alike in size, and so every device gets its share of the large ones. A
client trains on the device that keeps it. Server state is on every device.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fedjax_rec.base import Array, ClientData, Clients, Fixed, PyTree, ServerState
from fedjax_rec.errors import UserError
from fedjax_rec.simulation.execution import Execution

AXIS = "clients"
EVERYWHERE, BY_CLIENT = PartitionSpec(), PartitionSpec(AXIS)

SMALL = 1024  # elements of an array that travels with others

Fun = TypeVar("Fun", bound=Callable[..., Any])


@dataclass(frozen=True)
class Placement:
    """Clients dealt over the first devices.

    Attributes:
      num_devices: how many, at least 1.
      num_clients: N.
    """

    num_devices: int
    num_clients: int

    @property
    def mesh(self) -> Mesh:
        """The devices, in a row."""
        return make_mesh(self.num_devices)

    @property
    def num_local(self) -> int:
        """n, slots on each device; the last one may be nobody's."""
        return -(-self.num_clients // self.num_devices)

    def spread(self, clients: Clients) -> Clients:
        """The store over the devices, padded to `[devices n, ...]`."""
        if self.num_devices == 1:
            return clients
        placed: Clients = self.by_client(jax.tree.map(self.deal, clients))
        return placed

    @classmethod
    def of(cls, execution: Execution, num_clients: int) -> "Placement":
        """As the execution says; 0 devices are all there are, or one to debug on."""
        if execution.is_debug:
            return cls(1, num_clients)
        return cls(min(execution.num_devices or jax.device_count(), num_clients), num_clients)

    def collect(self, clients: Clients) -> Clients:
        """The whole store `[N, ...]` on the first device, as if there were no other."""
        if self.num_devices == 1:
            return clients
        collected: Clients = jax.tree.map(self.undeal, jax.device_put(clients, jax.devices()[0]))
        return collected

    def deal(self, leaf: Any) -> Any:
        """`[devices n, ...]`, device behind device, of `[N, ...]`; padding repeats the last."""
        padding = self.num_devices * self.num_local - self.num_clients
        rounds = leaf.take(np.arange(self.num_clients + padding), axis=0, mode="clip")
        dealt = rounds.reshape(self.num_local, self.num_devices, *leaf.shape[1:])
        return dealt.swapaxes(0, 1).reshape(rounds.shape)

    def undeal(self, leaf: Any) -> Any:
        """`[N, ...]` of `[devices n, ...]`.

        >>> Placement(2, 3).deal(np.array([0, 10, 20])).tolist()
        [0, 20, 10, 20]
        >>> Placement(2, 3).undeal(np.array([0, 20, 10, 20])).tolist()
        [0, 10, 20]
        """
        hands = leaf.reshape(self.num_devices, self.num_local, *leaf.shape[1:])
        return hands.swapaxes(0, 1).reshape(leaf.shape)[: self.num_clients]

    def whole(self, state: ServerState, clients: Clients) -> tuple[ServerState, Clients]:
        """State and store on the first device, as if there were no other."""
        return self.on_one(state), self.collect(clients)

    def on_one(self, tree: PyTree) -> PyTree:
        """What is on every device, on the first."""
        return tree if self.num_devices == 1 else jax.device_put(tree, jax.devices()[0])

    def everywhere(self, tree: PyTree) -> PyTree:
        """A copy on each device."""
        if self.num_devices == 1:
            return tree
        return jax.device_put(tree, NamedSharding(self.mesh, EVERYWHERE))

    def by_client(self, tree: PyTree) -> PyTree:
        """Arrays `[devices ..., ...]`, each device's own part on it."""
        return jax.device_put(tree, NamedSharding(self.mesh, BY_CLIENT))

    def spread_fixed(self, fixed: Fixed) -> Fixed:
        """Client data over the devices, `[devices, ...]`; frozen parameters on each."""
        if self.num_devices == 1:
            return fixed
        return Fixed(self.everywhere(fixed.frozen), self.by_client(self._split(fixed.data)))

    def _split(self, data: ClientData) -> ClientData:
        """Each device's own clients, with arrays padded to the same lengths."""

        def ragged(flat: Any, offsets: Any) -> Any:
            return self.split_ragged(np.asarray(flat), np.asarray(offsets))

        def begins(offsets: Any) -> Any:
            return self.split_offsets(np.asarray(offsets))

        def each(values: Any) -> Any:
            return self.deal(np.asarray(values)).reshape(self.num_devices, self.num_local)

        return replace(
            data,
            items=ragged(data.items, data.offsets),
            values=ragged(data.values, data.offsets),
            times=ragged(data.times, data.offsets),
            offsets=begins(data.offsets),
            excluded=ragged(data.excluded, data.excluded_offsets),
            excluded_offsets=begins(data.excluded_offsets),
            rank=each(data.rank),
            is_distinct=each(data.is_distinct),
            first=jnp.arange(self.num_devices, dtype=jnp.int32),
            stride=self.num_devices,
        )

    def split_ragged(self, flat: Any, offsets: Any) -> Any:
        """`[devices, L]` each device's entries of `flat`, which lie client behind client."""
        owner = np.repeat(np.arange(self.num_clients) % self.num_devices, np.diff(offsets))
        parts = [flat[owner == device] for device in range(self.num_devices)]
        length = max(1, *map(len, parts))
        return np.stack([np.pad(part, (0, length - len(part))) for part in parts])

    def split_offsets(self, offsets: Any) -> Any:
        """`[devices, n + 1]` where each client's entries begin in `split_ragged`."""
        padding = self.num_devices * self.num_local - self.num_clients
        sizes = np.pad(np.diff(offsets), (0, padding))
        sizes = sizes.reshape(self.num_local, self.num_devices).T
        return np.pad(np.cumsum(sizes, axis=1), ((0, 0), (1, 0))).astype(offsets.dtype)


def make_mesh(num_devices: int) -> Mesh:
    """The first devices, in a row.

    Raises:
      UserError: there are fewer.
    """
    devices = jax.devices()
    if num_devices > len(devices):
        raise UserError(
            f"{num_devices} devices are asked for and {len(devices)} are there: lower "
            "execution.num_devices"
        )
    return Mesh(np.array(devices[:num_devices]), (AXIS,))


def over_devices(fun: Fun, num_devices: int, in_specs: Any, out_specs: Any) -> Fun:
    """The function on each device's own part of its arguments."""
    return jax.shard_map(
        fun, mesh=make_mesh(num_devices), in_specs=in_specs, out_specs=out_specs, check_vma=False
    )


def own(data: ClientData) -> ClientData:
    """This device's clients, inside `over_devices`."""
    own_data: ClientData = jax.tree.map(lambda leaf: leaf[0], data)
    return own_data


def total_over_devices(tree: PyTree) -> PyTree:
    """The sum of every device's value, inside `over_devices`.

    Devices wait for each other once for every array, so small ones travel together.
    """
    leaves, structure = jax.tree.flatten(tree)
    is_small = [leaf.size <= SMALL and leaf.dtype == jnp.float32 for leaf in leaves]
    small, unpack = ravel_pytree(
        [leaf for leaf, is_in in zip(leaves, is_small, strict=True) if is_in]
    )
    sums = iter(unpack(jax.lax.psum(small, AXIS)))
    totals = [
        next(sums) if is_in else jax.lax.psum(leaf, AXIS)
        for leaf, is_in in zip(leaves, is_small, strict=True)
    ]
    return jax.tree.unflatten(structure, totals)


def most_of_devices(number: Array) -> Array:
    """The largest of the devices' numbers, inside `over_devices`."""
    largest: Array = jax.lax.pmax(number, AXIS)
    return largest


def joined_over_devices(leaf: Array) -> Array:
    """`[devices S, ...]` of every device's `[S, ...]`, inside `over_devices`."""
    joined: Array = jax.lax.all_gather(leaf, AXIS, tiled=True)
    return joined


FIXED_SPECS = Fixed(EVERYWHERE, BY_CLIENT)  # type: ignore[arg-type]


def by_rows(tree: PyTree, num_devices: int) -> PyTree:
    """Arrays of which each device computes its share of the rows, and which all then hold."""
    if num_devices == 1:
        return tree
    mesh = make_mesh(num_devices)

    def split(leaf: Any) -> Any:
        if leaf.ndim == 0 or leaf.shape[0] % num_devices:
            return leaf
        shared = jax.lax.with_sharding_constraint(leaf, NamedSharding(mesh, BY_CLIENT))
        return jax.lax.with_sharding_constraint(shared, NamedSharding(mesh, EVERYWHERE))

    return jax.tree.map(split, tree)
