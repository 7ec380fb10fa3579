"""The centralised twin of models of sequences: pooled batches of people."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fedjax_rec.base import (
    PREPARE,
    SERVER,
    Array,
    ClientData,
    Cohort,
    FederatedAlgorithm,
    Key,
    LengthClass,
    Message,
    Model,
    Objective,
    Part,
    PyTree,
    RowIds,
    ServerState,
    ServerUpdate,
    View,
    derive_key,
    empty,
    nothing_private,
)
from fedjax_rec.baselines import idle
from fedjax_rec.clients.gradients import batch_loss
from fedjax_rec.transforms import total
from fedjax_rec.tree import take

PADDED_TO = (8, 16, 32)
"""Most events of the people who are padded alike; then come twice as many, and so on."""


class Trainer(NamedTuple):
    """What the owner of pooled data holds beside the model's parameters.

    Attributes:
      opt_state: of its optimizer.
      data: everybody's events.
    """

    opt_state: PyTree
    data: ClientData


def pooled_people(
    model: Model,
    objective: Objective,
    data: ClientData,
    optimizer: optax.GradientTransformation | None = None,
    batch_size: int = 128,
) -> FederatedAlgorithm:
    """The same model and objective on batches of people, with one optimizer kept over rounds.

    A round is one pass over everybody. A step of the optimizer takes the batches of
    `batch_size` people, each as the person would draw it in this round, and the mean of their
    examples' losses, `sum(weight * loss) / sum(weight)`. Where the objective makes several
    batches of a person, those follow one another.

    A batch has people of each length in their share, and each is padded to its own group's
    length: at most 8 events, at most 16, at most 32, twice as many while as many people as there
    are batches have more, and all others. Who shares a batch is drawn afresh in each round.
    Batches of one length alone would give short people's events, of which a batch has few, more
    weight than others'.

    This is no federated training: the server holds every event, clients send nothing, and who
    is in the cohort does not matter.

    Args:
      model: without private parameters; dense and frozen ones are trained and read as ever.
      objective: with `batch` and a loss.
      data: whose events are pooled.
      optimizer: any optax optimizer of `(shared, private)`, of which nothing is private;
        `optax.adam(1e-3)` by default.
      batch_size: people of a step, at least 1.

    Returns:
      An algorithm whose server trains.

    Raises:
      ValueError: the model has private parameters, the objective no batches, or a number below 1.

    >>> from fedjax_rec.data import load
    >>> from fedjax_rec.models import sasrec
    >>> from fedjax_rec.objectives import next_item
    >>> data = load("synthetic", num_users=30, num_items=40, mean_events=8)
    >>> model = sasrec(data.num_items, dim=4, max_length=8)
    >>> twin = pooled_people(model, next_item(data.num_items, 8), data.clients)
    >>> twin.server_update.needs_frozen
    True
    """
    _refuse_unfit(model, objective, batch_size)
    optimizer = optimizer or optax.adam(1e-3)
    num_batches = -(-data.num_clients // batch_size)
    groups = _groups(data, num_batches)
    epoch = partial(_epoch, model, objective, optimizer, num_batches, groups)

    def init_trainer(key: Key, shared: Part) -> Part:
        return Part({}, Trainer(optimizer.init((shared, nothing_private())), data))

    def train(state: ServerState, message: Message, cohort: Cohort, frozen: Part) -> ServerState:
        shared, trainer = epoch(state, frozen)
        return state._replace(shared=shared, extra=Part({}, trainer))

    return FederatedAlgorithm(
        model,
        idle.OBJECTIVE,
        idle.CLIENT,
        total(),
        ServerUpdate(lambda shared: (), train, needs_frozen=True),
        broadcast=lambda state, entry, row_ids: (take(state.shared, row_ids), empty()),
        template=lambda shared: empty(),
        init_extra=init_trainer,
    )


def _refuse_unfit(model: Model, objective: Objective, batch_size: int) -> None:
    if objective.batch is None or objective.loss is None:
        raise ValueError("centralised: the objective makes no batches")
    if jax.tree.leaves(jax.eval_shape(model.init_private, jax.random.key(0))):
        raise ValueError("centralised: the model has private parameters and is not row-wise")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")


def _groups(data: ClientData, num_batches: int) -> list[LengthClass]:
    """People by length, longest first, as ranges of their ranks.

    A group beyond `PADDED_TO` has someone for every batch: one of fewer would be padding.
    """
    counts, excluded = (
        np.diff(np.asarray(offsets))[np.argsort(np.asarray(data.rank))]
        for offsets in (data.offsets, data.excluded_offsets)
    )
    padded_to = list(PADDED_TO)
    while (counts > 2 * padded_to[-1]).sum() >= num_batches:
        padded_to.append(2 * padded_to[-1])
    bounds = [int((counts > most).sum()) for most in reversed(padded_to)]
    starts = [0, *bounds]
    groups = []
    for start, stop in zip(starts, [*bounds, len(counts)], strict=True):
        if start < stop:
            longest = int(counts[start]), int(excluded[start:stop].max())
            groups.append(LengthClass(start, stop, max(longest[0], 1), max(longest[1], 1)))
    return groups


def _epoch(
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    num_batches: int,
    groups: Sequence[LengthClass],
    state: ServerState,
    frozen: Part,
) -> tuple[Part, Trainer]:
    """One pass over everybody: batches in which each length has its share of people."""
    trainer: Trainer = state.extra.dense
    data = trainer.data
    by_rank = jnp.argsort(data.rank)
    key = derive_key(state.key, state.round, SERVER, PREPARE)

    def drawn(number: int, group: LengthClass) -> Array:
        """`[num_batches, n]` of a group's people; places that are left over lie anywhere."""
        people = by_rank[group.start : group.stop]
        num_each = -(-people.size // num_batches)
        left_over = num_batches * num_each - people.size
        places = jnp.pad(people, (0, left_over), constant_values=data.num_clients)
        shuffled = jax.random.permutation(jax.random.fold_in(key, number), places)
        return shuffled.reshape(num_batches, num_each)

    def step(carry: PyTree, people: list[Array]) -> tuple[PyTree, None]:
        asked = [
            jax.vmap(partial(_prepare, objective, state, data, group))(ids)
            for group, ids in zip(groups, people, strict=True)
        ]
        return _steps_of(model, objective, optimizer, frozen, asked, carry), None

    carry = state.shared, trainer.opt_state
    batches = [drawn(number, group) for number, group in enumerate(groups)]
    (shared, opt_state), _ = jax.lax.scan(step, carry, batches)
    return shared, trainer._replace(opt_state=opt_state)


class Asked(NamedTuple):
    """What some people of one group are asked in a round.

    Attributes:
      row_ids: as `Objective.prepare` gives them.
      plan: likewise.
      num_steps: of each, 0 for nobody.
    """

    row_ids: RowIds
    plan: PyTree
    num_steps: Array


def _prepare(
    objective: Objective, state: ServerState, data: ClientData, group: LengthClass, client: Array
) -> Asked:
    history = data.history(jnp.minimum(client, data.num_clients - 1), group)
    row_ids, plan = objective.prepare(derive_key(state.key, state.round, client, PREPARE), history)
    is_there = client < data.num_clients
    return Asked(row_ids, plan, jnp.where(is_there, objective.num_steps(plan), 0))


def _steps_of(
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    frozen: Part,
    asked: Sequence[Asked],
    carry: PyTree,
) -> PyTree:
    """The optimizer's steps on the batches of some people, of all groups together."""
    batch = cast(Any, objective.batch)

    def mean_loss(shared: Part, step: Array) -> Array:
        def of_one(one: Asked) -> tuple[Array, Array]:
            view = View(
                take(shared, one.row_ids),
                nothing_private(),
                take(frozen, one.row_ids),
                nothing_private(),
                empty(),
            )
            losses, weights = batch_loss(model, objective, view, batch(one.plan, step))
            weights = jnp.where(step < one.num_steps, weights, 0)
            return jnp.sum(losses * weights), jnp.sum(weights)

        sums = [jax.vmap(of_one)(one) for one in asked]
        total, weight = (
            sum(jnp.sum(each) for each in of_all) for of_all in zip(*sums, strict=True)
        )
        return total / jnp.maximum(weight, 1)

    def one(step: Array, carry: PyTree) -> PyTree:
        shared, opt_state = carry
        slope = jax.grad(mean_loss)(shared, step), nothing_private()
        updates, opt_state = optimizer.update(slope, opt_state, (shared, nothing_private()))
        return optax.apply_updates(shared, updates[0]), opt_state

    most = jnp.max(jnp.concatenate([one.num_steps for one in asked]))
    return jax.lax.fori_loop(0, most, one, carry)
