"""Which algorithms and clients may be streamed, and how they are cut into pieces."""

from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp

from fedjax_rec.base import (
    Array,
    Clients,
    FederatedAlgorithm,
    Inputs,
    LengthClass,
    LocalSGD,
    Objective,
    Part,
    Private,
    Sampled,
    Sampler,
)
from fedjax_rec.clients.gradients import Loss
from fedjax_rec.objectives.permutation import least_num_places
from fedjax_rec.objectives.stream import block_of
from fedjax_rec.simulation.context import Round

CHUNK_SIZES = {True: (8, 32), False: (4096, 4096)}  # of clients, on a CPU and elsewhere
LEAST_CHUNKS = 32  # of a cohort: with fewer, those who share a chunk differ too much in size
BLOCK_SIZE = 64  # examples of a client at once: few enough to stay in the first cache


def refusal(algorithm: FederatedAlgorithm, shared: Part, private: Private) -> str:
    """Why an algorithm cannot be streamed; empty if it can.

    Args:
      algorithm: the filled slots.
      shared: the server's parameters, or their shapes.
      private: the store's, or their shapes.
    """
    objective, update = algorithm.objective, algorithm.client_update
    sampler = objective.sampler
    needed = {
        "its objective is not `sampled`": sampler is not None,
        "its clients do not train by plain SGD": update.local is not None,
        "it makes more than one local epoch": sampler is not None and sampler.local_epochs == 1,
        "it takes some of a client's positives only": sampler is not None
        and not sampler.max_positives,
        "its negatives are drawn with replacement": sampler is not None
        and not sampler.with_replacement,
        "its model is not row-wise": algorithm.model.is_row_wise,
        "its aggregate does more than scale updates": algorithm.aggregate.scaling != "no",
        "its server sends more than the table": algorithm.broadcast is None,
        "its shared parameters are not one table of rows": sampler is not None
        and set(shared.rows) == {sampler.table}
        and not jax.tree.leaves(shared.dense),
        "its private parameters have rows": not private.rows,
        "its clients do not send the table's rows": _shapes(algorithm.template, shared)
        == _shapes(lambda part: part, shared),
        "its clients get whole tables": sampler is not None and sampler.is_sliced,
    }
    return next((reason for reason, is_met in needed.items() if not is_met), "")


def _shapes(make: Callable[[Part], Part], shared: Part) -> list[tuple[int, ...]]:
    return [leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(make, shared))]


def is_streamed(this: Round, clients: Clients) -> bool:
    """Whether the round streams its light clients.

    Raises:
      ValueError: the executor is `streaming` and the algorithm cannot be streamed.
    """
    reason = refusal(this.algorithm, this.state.shared, clients.private)
    if reason and this.execution.executor == "streaming":
        raise ValueError(f"the algorithm cannot be streamed: {reason}; use executor 'auto'")
    return not reason and this.execution.executor != "general" and not this.execution.is_debug


def may_recur(this: Round, length: LengthClass) -> bool:
    """Whether a row may come twice in the round of some client of a length class."""
    sampler = sampler_of(this)
    pool = sampler.num_items - length.num_excluded
    num_places = least_num_places(sampler.permutation, pool)
    return not length.is_distinct or length.num_events * sampler.num_negatives > num_places


def sampler_of(this: Round) -> Sampler:
    """The sampler of a round that is streamed."""
    return cast(Sampler, this.algorithm.objective.sampler)


def local_of(this: Round) -> LocalSGD:
    """The local steps of a round that is streamed."""
    return cast(LocalSGD, this.algorithm.client_update.local)


def block_size(this: Round) -> int:
    """The largest divisor of the batch up to `BLOCK_SIZE`, of whole groups if need be.

    A batch without a divisor of use is one block.
    """
    sampler = sampler_of(this)
    group = 1 if this.algorithm.objective.is_pointwise else 1 + sampler.num_negatives
    sizes = [n for n in range(group, sampler.batch_size + 1, group) if sampler.batch_size % n == 0]
    return max((n for n in sizes if BLOCK_SIZE // 4 <= n <= BLOCK_SIZE), default=sampler.batch_size)


def lanes(this: Round) -> int:
    """Examples of a block, of one client: its positives and its negatives, each padded."""
    sampler = sampler_of(this)
    shape = jax.eval_shape(
        lambda: block_of(sampler, block_size(this), jnp.int32(0), jnp.int32(0)).is_valid
    ).shape
    return int(shape[-1])


def chunk_size(this: Round, capacity: int) -> int:
    """How many clients train at once, of a cohort of `capacity`."""
    smallest, largest = CHUNK_SIZES[jax.default_backend() == "cpu"]
    fair = capacity // (this.execution.num_devices * LEAST_CHUNKS)
    size = min(max(2 ** max(fair.bit_length() - 1, 0), smallest), largest)
    return min(this.execution.chunk_size or size, capacity)


def example_weights(objective: Objective) -> tuple[Array, Array]:
    """The weight of a positive and of a negative in the loss."""
    size = 1 + cast(Sampler, objective.sampler).num_negatives
    group = Sampled(Inputs(None), (jnp.arange(size) == 0).astype(jnp.float32), jnp.ones(size, bool))
    _, weight = cast(Loss, objective.loss)(jnp.zeros(size), group)
    return weight[0], weight[1]
