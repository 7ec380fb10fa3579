"""Several devices of one host: which clients live where.

Device d keeps the slots `d n .. (d + 1) n - 1` of the store, n = ceil(N / devices), and
their data. A client trains where its slot lies. Server state is on every device.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fedjax_rec.base import Array, ClientData, Clients, Fixed, PyTree
from fedjax_rec.errors import UserError
from fedjax_rec.simulation.execution import Execution

AXIS = "clients"
EVERYWHERE, BY_CLIENT = PartitionSpec(), PartitionSpec(AXIS)

SMALL = 1024  # elements of an array that travels with others

Fun = TypeVar("Fun", bound=Callable[..., Any])


@dataclass(frozen=True)
class Placement:
    """Clients in equal ranges over the first devices.

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
        """n, slots on each device; the last ones of the last device may be nobody's."""
        return -(-self.num_clients // self.num_devices)

    def spread(self, clients: Clients) -> Clients:
        """The store over the devices, padded to `[devices n, ...]`."""
        padding = self.num_devices * self.num_local - self.num_clients

        def pad(leaf: Any) -> Any:
            return jnp.concatenate([leaf, jnp.zeros((padding, *leaf.shape[1:]), leaf.dtype)])

        if self.num_devices == 1:
            return clients
        sharding = NamedSharding(self.mesh, BY_CLIENT)
        padded = jax.tree.map(pad, clients) if padding else clients
        placed: Clients = jax.device_put(padded, sharding)
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
        whole = jax.device_put(clients, jax.devices()[0])
        collected: Clients = jax.tree.map(lambda leaf: leaf[: self.num_clients], whole)
        return collected

    def on_one(self, tree: PyTree) -> PyTree:
        """What is on every device, on the first."""
        return tree if self.num_devices == 1 else jax.device_put(tree, jax.devices()[0])

    def everywhere(self, tree: PyTree) -> PyTree:
        """A copy on each device."""
        if self.num_devices == 1:
            return tree
        return jax.device_put(tree, NamedSharding(self.mesh, EVERYWHERE))

    def spread_fixed(self, fixed: Fixed) -> Fixed:
        """Client data over the devices, `[devices, ...]`; frozen parameters on each."""
        if self.num_devices == 1:
            return fixed
        data = jax.device_put(self._split(fixed.data), NamedSharding(self.mesh, BY_CLIENT))
        return Fixed(self.everywhere(fixed.frozen), data)

    def _split(self, data: ClientData) -> ClientData:
        """Each device's own clients, with arrays padded to the same lengths."""
        bounds = np.minimum(np.arange(self.num_devices + 1) * self.num_local, self.num_clients)

        def ragged(flat: Any, offsets: Any) -> Any:
            ends = np.asarray(offsets)[bounds]
            parts = [np.asarray(flat)[a:b] for a, b in itertools.pairwise(ends)]
            return _stack(parts, max(max(map(len, parts)), 1), 0)

        def begins(offsets: Any) -> Any:
            whole = np.asarray(offsets)
            parts = [whole[a : b + 1] - whole[a] for a, b in itertools.pairwise(bounds)]
            return _stack(parts, self.num_local + 1, None)

        def each(values: Any) -> Any:
            parts = [np.asarray(values)[a:b] for a, b in itertools.pairwise(bounds)]
            return _stack(parts, self.num_local, 0)

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
            first=jnp.asarray(bounds[:-1], jnp.int32),
        )


def _stack(parts: list[Any], length: int, fill: int | None) -> Any:
    """`[devices, length]`; padding repeats the last entry where there is no fill."""
    padded = []
    for part in parts:
        value = fill if fill is not None else (part[-1] if len(part) else 0)
        rest = np.full(length - len(part), value, part.dtype)
        padded.append(np.concatenate([part, rest]))
    return np.stack(padded)


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
