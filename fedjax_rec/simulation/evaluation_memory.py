"""How much memory an evaluation takes, found without scoring anybody."""

from dataclasses import dataclass, replace
from typing import Any

import jax
from jax.sharding import NamedSharding

from fedjax_rec.base import FederatedAlgorithm, Fixed, PyTree, empty
from fedjax_rec.data import FederatedData
from fedjax_rec.simulation.devices import EVERYWHERE, Placement
from fedjax_rec.simulation.execution import Execution
from fedjax_rec.simulation.footprint import initial_shapes, placed, size_of
from fedjax_rec.simulation.lapack import MayHangError
from fedjax_rec.simulation.people import asked_people
from fedjax_rec.simulation.plans import EvaluationPlan
from fedjax_rec.simulation.programs import Shared
from fedjax_rec.simulation.scoring import Programs, held_out_sets, laid_out


@dataclass(frozen=True)
class EvaluationMemory:
    """What an evaluation takes on each of its devices beside state, store and data, in bytes.

    Attributes:
      questions: held-out items, and what leaves the ranking; all through the run.
      encoding: while items are encoded, what comes of it included; 0 where each client scores
        by itself all that it scores.
      encoded: of that, what every client then reads.
      asking: while clients score.
    """

    questions: int
    encoding: int
    encoded: int
    asking: int

    @property
    def working(self) -> int:
        """The most at one time."""
        return self.questions + max(self.encoding, self.encoded + self.asking)


def evaluation_memory(
    algorithm: FederatedAlgorithm,
    data: FederatedData,
    plan: EvaluationPlan,
    execution: Execution,
) -> EvaluationMemory | None:
    """Compiles the final evaluation and asks what it takes; allocates no state or store.

    Args:
      algorithm: the filled slots.
      data: the clients.
      plan: the terms.
      execution: on how many devices.

    Returns:
      `None` where nothing is compiled (debugging), or the device does not tell.

    Raises:
      UserError: terms that cannot be met.
    """
    if execution.is_debug:
        return None
    placement = Placement.of(execution, data.num_clients)
    initial = placed(initial_shapes(algorithm, data.num_clients), placement)
    fixed = placement.spread_fixed(Fixed(empty(), data.clients))._replace(frozen=initial.frozen)
    people, _ = asked_people(data, plan)
    sets = laid_out(placement, held_out_sets(data, plan), people, data.num_items)
    shared = Shared(algorithm)
    programs = Programs(shared, placement, plan)
    encoded, encoding = None, 0
    if programs.is_encoded:
        whole = initial_shapes(algorithm, data.num_clients)
        parts = whole.state.shared, whole.frozen, whole.state.extra
        encoding = _working(shared.compiled(*programs.encode, *parts))
        side = algorithm.model.item_side
        assert side is not None
        encoded = _everywhere(placement, jax.eval_shape(side.encode, *parts))
    try:
        asking = shared.compiled(
            *programs.ask, initial.state, initial.clients, fixed, sets, encoded
        )
    except MayHangError:  # then the run is on one device, see `simulate`
        return evaluation_memory(algorithm, data, plan, replace(execution, num_devices=1))
    if getattr(asking, "memory_analysis", lambda: None)() is None:
        return None
    num_devices = placement.num_devices
    return EvaluationMemory(
        size_of(sets).bytes // num_devices, encoding, size_of(encoded).bytes, _working(asking)
    )


def _working(program: Any) -> int:
    """Bytes of a program beside its arguments."""
    analysis = getattr(program, "memory_analysis", lambda: None)()
    if analysis is None:
        return 0
    code = analysis.generated_code_size_in_bytes
    return int(analysis.output_size_in_bytes + analysis.temp_size_in_bytes + code)


def _everywhere(placement: Placement, shapes: PyTree) -> PyTree:
    if placement.num_devices == 1:
        return shapes
    sharding = NamedSharding(placement.mesh, EVERYWHERE)
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes
    )
