"""The centralised twin: the same model on pooled data, with one optimizer."""

from collections.abc import Callable
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
    Entry,
    FederatedAlgorithm,
    Inputs,
    Key,
    LengthClass,
    Message,
    Model,
    Objective,
    Part,
    Private,
    PyTree,
    RowIds,
    Sampled,
    Sampler,
    ServerState,
    ServerUpdate,
    View,
    derive_key,
    empty,
    nothing_private,
)
from fedjax_rec.baselines import idle
from fedjax_rec.baselines.people import pooled_people
from fedjax_rec.clients.gradients import rows_of
from fedjax_rec.objectives.explicit import Rated
from fedjax_rec.objectives.stream import free_items, open_stream
from fedjax_rec.transforms import total
from fedjax_rec.tree import take


class Events(NamedTuple):
    """Everybody's training events.

    Attributes:
      items, values: `[E]` client after client.
      clients: `[E]` whose they are.
      offsets: `[N + 1]` where each client's begin.
      excluded, excluded_offsets: what each client's negatives avoid, see `ClientData`.
    """

    items: Array
    values: Array
    clients: Array
    offsets: Array
    excluded: Array
    excluded_offsets: Array


class Owner(NamedTuple):
    """What the owner of pooled data holds beside the model's shared parameters.

    Attributes:
      users: the model's private parameters, `[N, ...]`.
      opt_state: of its optimizer.
      events: all of them.
    """

    users: PyTree
    opt_state: PyTree
    events: Events


def centralised(
    algorithm: FederatedAlgorithm,
    data: ClientData,
    *,
    optimizer: optax.GradientTransformation | None = None,
    batch_size: int = 4096,
) -> FederatedAlgorithm:
    """The same model, objective and examples, on pooled mini-batches with one optimizer.

    A round makes as many passes over everybody's examples as a federated round of all
    clients: each client's own examples of that round, shuffled together. The
    users' private parameters are rows of one table, which the optimizer moves with the rest.

    This is no federated training: the server holds every event and every user's parameters,
    clients send nothing, and who is in the cohort does not matter. Only evaluation asks
    clients, each with its own row of the table; the bytes that are counted are the model's.

    Args:
      algorithm: what is trained; of it, the model and the objective are used.
      data: whose events are pooled.
      optimizer: any optax optimizer of (shared, users), kept over rounds; `optax.adam(1e-3)`
        by default. Untouched rows get zero gradients and may still be moved by momentum.
      batch_size: examples of a step, at least one positive with its negatives, or one rating.

    Returns:
      An algorithm whose server trains.

    Raises:
      ValueError: the objective is neither `sampled` nor of `ratings`, the model is not
        row-wise, or it has frozen parameters or tables of each client's own.

    >>> from fedjax_rec.baselines import gmf
    >>> from fedjax_rec.data import load
    >>> data = load("synthetic", num_users=30, num_items=40, mean_events=8)
    >>> gmf(data.num_items, data=data.clients, dim=4).template(Part({}, ()))  # nothing is sent
    Part(rows={}, dense=())
    """
    return pooled(algorithm.model, algorithm.objective, data, optimizer, batch_size)


def pooled_recommender(
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    data: ClientData,
    people: int = 128,
) -> FederatedAlgorithm:
    """A recommender on pooled data with one optimizer: the centralised twin, by name.

    Row-wise models with sampled examples or ratings get mini-batches of everybody's examples
    (`centralised`), all others batches of people (`pooled_people`).

    Args:
      model: how items are scored.
      objective: which examples, and which loss; `batch_size` of it is that of a step.
      optimizer: of `(shared, private)`, kept over rounds.
      data: whose events are pooled.
      people: of a step, for models that read a history; at least 1.

    Raises:
      ValueError: neither form suits the model.
    """
    if model.is_row_wise and (objective.sampler or objective.rating_epochs):
        batch_size = objective.sampler.batch_size if objective.sampler else 4096
        return pooled(model, objective, data, optimizer, batch_size)
    return pooled_people(model, objective, data, optimizer, people)


def pooled(
    model: Model,
    objective: Objective,
    data: ClientData,
    optimizer: optax.GradientTransformation | None = None,
    batch_size: int = 4096,
) -> FederatedAlgorithm:
    """`centralised` of what it uses."""
    _refuse_unfit(model, objective)
    optimizer = optimizer or optax.adam(1e-3)
    epochs = partial(_train, model, objective, optimizer, batch_size, data)
    events = _events(data)

    def init_owner(key: Key, shared: Part) -> Part:
        users = jax.vmap(model.init_private)(jax.random.split(key, data.num_clients)).dense
        return Part({}, Owner(users, optimizer.init((shared, users)), events))

    def send_own_row(state: ServerState, entry: Entry, row_ids: RowIds) -> tuple[Part, Part]:
        user = jax.tree.map(lambda leaf: leaf[entry.client_id], state.extra.dense.users)
        return take(state.shared, row_ids), Part({}, user)

    def score(view: View, inputs: Inputs) -> Array:
        return model.score(_view(view.shared, view.extra.dense), inputs)

    def train(state: ServerState, message: Message, cohort: Cohort) -> ServerState:
        shared, owner = epochs(state)
        return state._replace(shared=shared, extra=Part({}, owner))

    return FederatedAlgorithm(
        Model(model.num_rows, model.init, score),
        idle.OBJECTIVE,
        idle.CLIENT,
        total(),
        ServerUpdate(lambda shared: (), train),
        broadcast=send_own_row,
        template=lambda shared: empty(),
        init_extra=init_owner,
    )


def _refuse_unfit(model: Model, objective: Objective) -> None:
    key = jax.random.key(0)
    _, frozen = jax.eval_shape(model.init, key)
    if objective.loss is None or not (objective.sampler or objective.rating_epochs):
        raise ValueError("centralised: the objective is neither sampled nor of ratings")
    if objective.sampler and objective.sampler.max_positives:
        raise ValueError("centralised: takes all positives; set max_positives to 0")
    if not model.is_row_wise or model.needs_history:
        raise ValueError("centralised: the model is not row-wise")
    if jax.tree.leaves(frozen) or jax.eval_shape(model.init_private, key).rows:
        raise ValueError("centralised: the model has frozen parameters or tables of clients' own")


def _events(data: ClientData) -> Events:
    counts = np.diff(np.asarray(data.offsets))  # on the host: a compiler would fold it slowly
    clients = jnp.asarray(np.repeat(np.arange(data.num_clients, dtype=np.int32), counts))
    exclusions = data.excluded, data.excluded_offsets
    return Events(data.items, data.values, clients, data.offsets, *exclusions)


def _train(
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    data: ClientData,
    state: ServerState,
) -> tuple[Part, Owner]:
    """One round: the objective's number of passes over the pooled examples."""
    sampler, owner = objective.sampler, state.extra.dense
    num_events = owner.events.items.shape[0]
    if sampler:
        num_epochs, group_size = sampler.local_epochs, 1 + sampler.num_negatives
        longest = LengthClass.covering(data.classes)
        draw = _pooled_examples(sampler, owner.events, state, longest)
    else:
        num_epochs, group_size = objective.rating_epochs, 1
        draw = _pooled_ratings(owner.events)
    num_groups = max(min(batch_size // group_size, num_events), 1)
    num_steps = -(-num_events // num_groups)

    def step(carry: PyTree, batch: tuple[Array, Array]) -> tuple[PyTree, None]:
        params, opt_state = carry
        clients, items, examples = draw(*batch)
        slope = jax.grad(partial(_loss, model, objective, clients, items, examples))(params)
        updates, opt_state = optimizer.update(slope, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), None

    def epoch(carry: PyTree, number: Array) -> tuple[PyTree, None]:
        key = derive_key(state.key, state.round, SERVER, PREPARE)
        order = jax.random.permutation(jax.random.fold_in(key, number), num_events)
        order = jnp.pad(order, (0, num_steps * num_groups - num_events), constant_values=num_events)
        batches = order.reshape(num_steps, num_groups)
        return jax.lax.scan(step, carry, (batches, jnp.full(num_steps, number)))

    carry = ((state.shared, owner.users), owner.opt_state)
    ((shared, users), opt_state), _ = jax.lax.scan(epoch, carry, jnp.arange(num_epochs))
    return shared, owner._replace(users=users, opt_state=opt_state)


Draw = Callable[[Array, Array], tuple[Array, Array, Any]]
"""`([G] events, epoch) -> [G] clients, [G, k] items, [G k] examples`."""


def _pooled_ratings(events: Events) -> Draw:
    """An event's own rating: k is 1."""
    num_events = events.items.shape[0]

    def draw(batch: Array, epoch: Array) -> tuple[Array, Array, Rated]:
        clients, items, values = (
            leaf.at[batch].get(mode="clip")
            for leaf in (events.clients, events.items, events.values)
        )
        return clients, items[:, None], Rated(Inputs(items), values, batch < num_events)

    return draw


def _pooled_examples(
    sampler: Sampler, events: Events, state: ServerState, longest: LengthClass
) -> Draw:
    """A positive with its negatives: k is 1 and their number.

    A client's negatives are those that it would draw itself in this round, in their order.
    """
    num_clients, num_events = events.offsets.shape[0] - 1, events.items.shape[0]
    num_positives, num_excluded = jnp.diff(events.offsets), jnp.diff(events.excluded_offsets)

    def stream_of(client: Array) -> Any:
        key = derive_key(state.key, state.round, client, PREPARE)
        return open_stream(
            sampler, key, num_positives[client], num_excluded[client], longest.num_excluded
        )

    streams = jax.vmap(stream_of)(jnp.arange(num_clients))

    def group(event: Array, epoch: Array) -> tuple[Array, Array, Array]:
        client = events.clients.at[event].get(mode="clip")
        stream = jax.tree.map(lambda leaf: leaf[client], streams)
        number = epoch * num_positives[client] + event - events.offsets[client]
        number = number * sampler.num_negatives + jnp.arange(sampler.num_negatives)
        num_places = stream.negatives.num_places
        negatives = free_items(
            stream.negatives.element(number % jnp.maximum(num_places, 1)),
            events.excluded,
            events.excluded_offsets[client],
            num_excluded[client],
            longest.num_excluded.bit_length(),
        )
        items = jnp.append(events.items.at[event].get(mode="clip"), negatives)
        is_positive = jnp.arange(items.shape[0]) == 0
        is_valid = (event < num_events) & (is_positive | (num_places > 0))
        return client, jnp.where(is_valid, items, 0), is_valid

    def draw(batch: Array, epoch: Array) -> tuple[Array, Array, Sampled]:
        clients, items, is_valid = jax.vmap(partial(group, epoch=epoch))(batch)
        label = (jnp.arange(items.shape[1]) == 0) & is_valid
        inputs = Inputs(items.ravel(), table=sampler.table)
        examples = Sampled(inputs, label.ravel().astype(jnp.float32), is_valid.ravel())
        return clients, items, examples

    return draw


def _loss(
    model: Model,
    objective: Objective,
    clients: Array,
    items: Array,
    examples: Any,
    params: tuple[Part, PyTree],
) -> Array:
    """The mean loss of a batch: `sum(weight * loss) / sum(weight)`."""
    shared, users = params

    def scores_of(client: Array, ids: Array) -> Array:
        view = _view(shared, jax.tree.map(lambda leaf: leaf[client], users))
        return model.score(rows_of(view, examples.inputs.table, ids), Inputs(None))

    scores = jax.vmap(scores_of)(clients, items)
    losses, weights = cast(Any, objective.loss)(scores.ravel(), examples)
    return jnp.sum(losses * weights) / jnp.maximum(jnp.sum(weights), 1)


def _view(shared: Part, user: PyTree) -> View:
    return View(shared, Private({}, user), empty(), nothing_private(), empty())
