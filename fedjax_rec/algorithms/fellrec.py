"""FELLRec: each client gets its own mixture of everybody's LoRA factors.

Zhao et al. (2025), "A federated framework for LLM-based recommendation", Findings of NAACL.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import optax

from fedjax_rec.algorithms.checks import refuse_outside
from fedjax_rec.algorithms.fedavg import fedavg
from fedjax_rec.algorithms.likeness import cosines
from fedjax_rec.algorithms.lora_products import moved_by_mean, shares_of
from fedjax_rec.base import (
    AggregateTransform,
    Array,
    ClientOutput,
    Cohort,
    Entry,
    FederatedAlgorithm,
    Key,
    Message,
    Model,
    Objective,
    Part,
    PyTree,
    RowIds,
    ServerState,
    ServerUpdate,
    Task,
    View,
    empty,
    parametric,
)
from fedjax_rec.clients import local_training
from fedjax_rec.models import lora
from fedjax_rec.tree import take


@parametric
def fellrec(
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    num_slots: int,
    paths: str = "query,value",
    rank: int = 4,
    alpha: float = 16.0,
    trained: str = "",
    heat: float = 0.7,
    slowness: float = 1.0,
    temperature: float = 0.05,
    encodes_alone: bool = False,
) -> FederatedAlgorithm:
    """Client-wise mixing of LoRA.

    Client c trains its own theta_c, factors and what else is dense, and sends its change and its
    mean loss L_c. The server likens clients by `s_cc' = (1 + cos(theta_c, theta_c')) / 2` and
    sends each its mixture:

    `theta_c <- (theta_c + w_c sum_{c' != c} s_cc' theta_c') / (1 + w_c sum_{c' != c} s_cc')`.

    A client that lags behind learns from itself first, and from others as rounds t go by:
    `w_c = tanh(heat / l_c^(t + 1 / slowness))`, `l = softmax(L / temperature)` over the cohort.

    Args:
      model, objective, optimizer, paths, rank, alpha, trained: those of `fedlora`.
      num_slots: N, places of clients, at least 1; the server keeps the theta of each.
      heat: the paper's alpha, above 0: the larger, the sooner others count in full.
      slowness: the paper's beta, above 0: the larger, the longer a lagging client is by itself.
      temperature: above 0; the smaller, the more the largest loss stands out.
      encodes_alone: each client may encode the catalogue for itself in every evaluation, where
        items are encoded by what is adapted.

    Returns:
      The algorithm's filled slots. Its rule is no sum over clients, so that it takes no aggregate,
      and no noise for privacy. Rows of items are averaged over clients.

    Raises:
      ValueError: see `models.lora`, a number is out of range, or items are encoded by what is
        each client's own and `encodes_alone` is not set.

    Reference:
      Zhao et al. (2025), dynamic balance strategy, in the form of its released code. Differences:
      all clients are mixed as they were sent, where the code mixes later ones with mixtures of
      earlier ones; w_c counts for every slowness, where the code leaves it out at 1; any cohort
      will do: who stays out keeps its distance from the mean of those who sent, where newcomers
      start; layers are not split between client and server.

    >>> from fedjax_rec.recommenders import recommender
    >>> fellrec(*recommender(50, model="sasrec", dim=8), rank=2, num_slots=5).aggregate.is_stacked
    True
    """
    refuse_outside("(0, inf)", heat=heat, slowness=slowness, temperature=temperature)
    refuse_outside("[1, inf)", num_slots=num_slots)
    adapted = lora(model, paths, rank, alpha=alpha, trained=trained)
    if adapted.item_side is not None and not encodes_alone:
        raise ValueError(
            "items are encoded by factors of each client's own: every client would encode the "
            "whole catalogue for itself in each evaluation; set encodes_alone, or use fedlora"
        )
    train = local_training(adapted, objective, optimizer)

    def own(state: ServerState, client_id: Array) -> PyTree:
        """theta_c: the mean of those who sent last, and the client's distance from it."""
        return jax.tree.map(
            lambda mean, far: mean + far[client_id], state.shared.dense, state.extra.dense
        )

    def broadcast(state: ServerState, entry: Entry, row_ids: RowIds) -> tuple[Part, Part]:
        return take(Part(state.shared.rows, own(state, entry.client_id)), row_ids), empty()

    def run(key: Key, view: View, task: Task) -> ClientOutput:
        output = train.run(key, view, task)
        loss, tiny = output.info["loss"], jnp.finfo(jnp.float32).tiny
        dense = {"change": output.update.dense, "loss": loss.total / jnp.maximum(loss.weight, tiny)}
        return output._replace(update=output.update._replace(dense=dense))

    def mix(state: ServerState, stack: Message, cohort: Cohort) -> ServerState:
        """The mean of those who sent, and everybody's mixture as its distance from there."""
        is_in, told = stack.weight > 0, stack.update.dense
        far = jax.tree.map(lambda leaf: leaf[cohort.client_id], state.extra.dense)
        sent = jax.tree.map(jnp.add, far, told["change"])
        likeness = (1 + cosines(_flat(jax.tree.map(jnp.add, state.shared.dense, sent)))) / 2
        warm = warmth(told["loss"] / temperature, is_in, heat, state.round + 1 / slowness)
        share = shares_of(stack.weight, "client")
        shared = moved_by_mean(state.shared, Part(stack.update.rows, sent), share)
        from_mean = jax.tree.map(jnp.subtract, sent, mixtures(sent, share))
        mixed = mixtures(from_mean, mixing(likeness, warm, is_in))  # of what differs: rounds little
        places = jnp.where(is_in, cohort.client_id, num_slots)  # past the end: dropped

        def keep(before: Array, now: Array) -> Array:
            return before.at[places].set(now, mode="drop")

        kept = jax.tree.map(keep, state.extra.dense, mixed)
        return state._replace(shared=shared, extra=Part({}, kept))

    def template(shared: Part) -> Part:
        return shared._replace(dense={"change": shared.dense, "loss": jnp.zeros(())})

    def init_extra(key: Key, shared: Part) -> Part:
        def none(leaf: Array) -> Array:
            return jnp.zeros((num_slots, *leaf.shape))

        return Part({}, jax.tree.map(none, shared.dense))

    return replace(
        fedavg(adapted, objective, replace(train, run=run, local=None)),
        aggregate=AggregateTransform(is_stacked=True),
        server_update=ServerUpdate(lambda shared: (), mix),
        broadcast=broadcast,
        template=template,
        init_extra=init_extra,
    )


def warmth(losses: Array, is_in: Array, heat: Array | float, power: Array | float) -> Array:
    """`[C]` `tanh(heat / l^power)`, `l = softmax(losses)` over who is in.

    >>> warmth(jnp.zeros(2), jnp.array([True, True]), 0.5, 1.0).tolist() == [jnp.tanh(1.0)] * 2
    True
    """
    log_share = jax.nn.log_softmax(jnp.where(is_in, losses, -jnp.inf))
    return jnp.tanh(heat * jnp.exp(-power * log_share))


def mixing(likeness: Array, warm: Array, is_in: Array) -> Array:
    """`[C, C]` what each client takes of every other; rows sum to 1 for who is in.

    >>> mixing(jnp.ones((2, 2)), jnp.array([1.0, 0.0]), jnp.array([True, True])).tolist()
    [[0.5, 0.5], [0.0, 1.0]]
    """
    itself = jnp.eye(len(warm), dtype=bool)
    weights = jnp.where(is_in, jnp.where(itself, 1, warm[:, None] * likeness), 0)
    total = jnp.sum(weights, axis=1, keepdims=True)
    return weights / jnp.maximum(total, jnp.finfo(warm.dtype).tiny)


def mixtures(sent: PyTree, weights: Array) -> PyTree:
    """Mixtures of leaves `[C, ...]`: one by weights `[C]`, several by `[M, C]`."""
    highest = jax.lax.Precision.HIGHEST
    return jax.tree.map(lambda leaf: jnp.tensordot(weights, leaf, 1, precision=highest), sent)


def _flat(stack: PyTree) -> Array:
    leaves = jax.tree.leaves(stack)
    return jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)
