"""How much memory a run takes, found without allocating it.

Reading order: `at_rest`, which follows from shapes alone; `round_memory`, which asks the
compiled program of a stretch of rounds.
"""

import math
import time
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from fedjax_rec.base import (
    Clients,
    CohortSampler,
    FederatedAlgorithm,
    Fixed,
    Part,
    PyTree,
    ServerState,
    empty,
)
from fedjax_rec.data import FederatedData
from fedjax_rec.evaluation import ClientBytes, Payload, bytes_per_client
from fedjax_rec.evaluation.communication import received, refuse_payload
from fedjax_rec.sampling import AllClients
from fedjax_rec.simulation.context import BYTES_DOWN, BYTES_UP, Round, bytes_sent
from fedjax_rec.simulation.devices import BY_CLIENT, EVERYWHERE, Placement
from fedjax_rec.simulation.engine import build
from fedjax_rec.simulation.execution import Execution
from fedjax_rec.simulation.lapack import MayHangError
from fedjax_rec.simulation.programs import Shared
from fedjax_rec.simulation.rounds import draw_cohorts
from fedjax_rec.tree import joined


class Size(NamedTuple):
    """How much some arrays are.

    Attributes:
      numbers: how many numbers they hold.
      bytes: what they take.
    """

    numbers: int
    bytes: int


class Initial(NamedTuple):
    """What a run begins with; leaves are `jax.ShapeDtypeStruct`, nothing is allocated."""

    state: ServerState
    clients: Clients
    frozen: Part


@dataclass(frozen=True)
class AtRest:
    """What lies on the device all through a run.

    Attributes:
      parameters: `(role, shape) -> Size`, of one client where the role is private;
        only those that are there.
      client: what one client keeps between rounds, by its owner: `private` of the model,
        `memory` of the algorithm, `residual` of the transforms.
      store: what all clients keep, in bytes.
      server: the server's state: shared parameters, optimizer and the like, in bytes.
      frozen: in bytes.
      data: histories of all clients, in bytes.
    """

    parameters: dict[tuple[str, str], Size]
    client: dict[str, int]
    store: int
    server: int
    frozen: int
    data: int

    @property
    def to_allocate(self) -> int:
        """Bytes that a run allocates once its data are there."""
        return self.store + self.server + self.frozen

    @property
    def saved(self) -> int:
        """Bytes of a checkpoint; the host holds a copy while it writes one."""
        return self.store + self.server


@dataclass(frozen=True)
class RoundMemory:
    """What the program of one stretch of rounds takes on each of its devices, in bytes.

    Attributes:
      arguments: state, store, cohorts, frozen parameters and data.
      outputs: state, store and observations.
      aliased: outputs that lie where arguments lay.
      temporary: what the program needs while it runs.
      code: the program, where its device holds it.
      num_devices: that the program runs on.
      num_rounds: of the stretch.
      compile_seconds: tracing and compiling; little where it was compiled before.
    """

    arguments: int
    outputs: int
    aliased: int
    temporary: int
    code: int
    num_devices: int
    num_rounds: int
    compile_seconds: float

    @property
    def working(self) -> int:
        """Bytes beside the arguments."""
        return self.outputs - self.aliased + self.temporary + self.code

    @property
    def total(self) -> int:
        """All bytes."""
        return self.arguments + self.working


def size_of(tree: PyTree) -> Size:
    """Numbers and bytes of a tree of arrays, or of `jax.ShapeDtypeStruct`.

    >>> import jax.numpy as jnp
    >>> size_of({"a": jnp.zeros((3, 2)), "b": jnp.zeros(4, jnp.int8)})
    Size(numbers=10, bytes=28)
    """
    leaves = jax.tree.leaves(tree)
    counts = [math.prod(leaf.shape) for leaf in leaves]
    sizes = [count * leaf.dtype.itemsize for count, leaf in zip(counts, leaves, strict=True)]
    return Size(sum(counts), sum(sizes))


def initial_shapes(algorithm: FederatedAlgorithm, num_clients: int) -> Initial:
    """The shapes of what a run begins with."""
    init = build(algorithm).init
    state, clients, drawn = jax.eval_shape(lambda: init(jax.random.key(0), num_clients))
    weights = algorithm.model.weights
    frozen = joined(drawn, weights.like()) if weights else drawn
    return Initial(state, clients, frozen)


def at_rest(algorithm: FederatedAlgorithm, data: FederatedData) -> AtRest:
    """What lies on the device all through a run; from shapes, so it costs little.

    Args:
      algorithm: the filled slots.
      data: the clients.
    """
    initial = initial_shapes(algorithm, data.num_clients)
    one = jax.eval_shape(
        lambda clients: jax.tree.map(lambda leaf: leaf[0], clients), initial.clients
    )
    parts = {"shared": initial.state.shared, "private": one.private, "frozen": initial.frozen}
    parameters = {
        (role, shape): size
        for role, part in parts.items()
        for shape in ("rows", "dense")
        if (size := size_of(getattr(part, shape))).numbers
    }
    return AtRest(
        parameters=parameters,
        client={owner: size_of(tree).bytes for owner, tree in one._asdict().items()},
        store=size_of(initial.clients).bytes,
        server=size_of(initial.state).bytes,
        frozen=size_of(initial.frozen).bytes,
        data=size_of(data.clients).bytes,
    )


def round_memory(
    algorithm: FederatedAlgorithm,
    data: FederatedData,
    sampler: CohortSampler,
    execution: Execution,
    num_rounds: int = 1,
) -> RoundMemory | None:
    """Compiles a stretch of rounds and asks what it takes; allocates no state or store.

    Args:
      algorithm: the filled slots.
      data: the clients.
      sampler: who takes part.
      execution: how rounds are run.
      num_rounds: of the stretch.

    Returns:
      `None` where nothing is compiled (debugging), or the device does not tell.
    """
    placement = Placement.of(execution, data.num_clients)
    execution = replace(execution, num_devices=placement.num_devices)
    state, clients, frozen = placed(initial_shapes(algorithm, data.num_clients), placement)
    cohorts = placement.everywhere(draw_cohorts(sampler, 0, 0, num_rounds, data.training_clients))
    fixed = placement.spread_fixed(Fixed(empty(), data.clients))._replace(frozen=frozen)
    begin = time.monotonic()
    if execution.is_debug:
        return None
    try:
        program = Shared(algorithm).rounds(execution, state, clients, cohorts, fixed).compiled
    except MayHangError:  # then the run is on one device, see `simulate`
        one = replace(execution, num_devices=1)
        return round_memory(algorithm, data, sampler, one, num_rounds)
    seconds = time.monotonic() - begin
    analyse = getattr(program, "memory_analysis", lambda: None)
    if (analysis := analyse()) is None:
        return None
    devices = {
        device
        for sharding in jax.tree.leaves(program.input_shardings)
        for device in sharding.device_set
    }
    return RoundMemory(
        arguments=analysis.argument_size_in_bytes,
        outputs=analysis.output_size_in_bytes,
        aliased=analysis.alias_size_in_bytes,
        temporary=analysis.temp_size_in_bytes,
        code=analysis.generated_code_size_in_bytes,
        num_devices=max(1, len(devices)),
        num_rounds=num_rounds,
        compile_seconds=seconds,
    )


def placed(initial: Initial, placement: Placement) -> Initial:
    """The shapes as they lie on the devices: the store over all of them, the rest on each."""
    if placement.num_devices == 1:
        return initial
    num_slots = placement.num_devices * placement.num_local

    def on_each(leaf: Any) -> Any:
        return jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=NamedSharding(placement.mesh, EVERYWHERE)
        )

    def over_all(leaf: Any) -> Any:
        return jax.ShapeDtypeStruct(
            (num_slots, *leaf.shape[1:]),
            leaf.dtype,
            sharding=NamedSharding(placement.mesh, BY_CLIENT),
        )

    return Initial(
        jax.tree.map(on_each, initial.state),
        jax.tree.map(over_all, initial.clients),
        jax.tree.map(on_each, initial.frozen),
    )


def client_bytes(
    algorithm: FederatedAlgorithm,
    data: FederatedData,
    payload: Payload,
    sampler: CohortSampler | None = None,
) -> ClientBytes:
    """What a client receives and sends in one round; for `rows`, at most, in the mean.

    How many rows a client touches is known when it has. Until then they are as many as its
    length class has places for. Of an algorithm that counts itself, in the mean over a first
    cohort.

    Args:
      algorithm: the filled slots.
      data: the clients.
      payload: what travels.
      sampler: who takes part; everybody by default.

    Raises:
      UserError: see `refuse_payload`.
    """
    refuse_payload(algorithm, payload)
    if algorithm.sent is not None:
        return _first_bytes(algorithm, data, sampler or AllClients(len(data.training_clients)))
    state = initial_shapes(algorithm, data.num_clients).state
    template = jax.eval_shape(algorithm.template, state.shared)
    down = received(algorithm, state)
    return bytes_per_client(down, template, payload, _most_rows(algorithm, data))


def _first_bytes(
    algorithm: FederatedAlgorithm, data: FederatedData, sampler: CohortSampler
) -> ClientBytes:
    """What the members of a first cohort receive and send, in the mean; no store is allocated."""
    drawn = draw_cohorts(sampler, 0, 0, 1, data.training_clients)
    cohort = jax.tree.map(lambda leaf: leaf[0], drawn)

    @jax.jit
    def mean() -> list[Any]:
        state, _, frozen = build(algorithm).init(jax.random.key(0), data.num_clients)
        this = Round(algorithm, Execution(), state, Fixed(frozen, data.clients))
        stats = jax.vmap(lambda entry: bytes_sent(this, entry))(cohort)
        sums = [jax.tree.map(jnp.sum, stats[name]) for name in (BYTES_DOWN, BYTES_UP)]
        return [stat.total / jnp.maximum(stat.weight, 1) for stat in sums]

    return ClientBytes(*map(float, mean()))


def _most_rows(algorithm: FederatedAlgorithm, data: FederatedData) -> dict[str, float]:
    """Table -> rows that a client may touch, in the mean over clients."""
    num_rows = algorithm.model.num_rows
    total = dict.fromkeys(num_rows, 0.0)
    for length in data.clients.classes:

        def row_ids(clients: Any, length: Any = length) -> Any:
            history = clients.history(0, length)
            return algorithm.objective.prepare(jax.random.key(0), history)[0]

        ids = jax.eval_shape(row_ids, data.clients)
        for table, size in num_rows.items():
            places = size if ids.get(table) is None else min(size, ids[table].shape[0])
            total[table] += places * (length.stop - length.start)
    return {table: count / data.num_clients for table, count in total.items()}
