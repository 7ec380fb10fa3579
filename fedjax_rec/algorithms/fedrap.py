"""FedRAP: an item table of each client's own beside the one that all share.

Li et al. (2024), "Federated recommendation with additive personalization", ICLR.
"""

from dataclasses import replace
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from fedjax_rec.algorithms.fedavg import fedavg
from fedjax_rec.base import (
    AggregateTransform,
    Array,
    ClientOutput,
    ClientUpdate,
    FederatedAlgorithm,
    Inputs,
    Key,
    Model,
    Part,
    Private,
    PyTree,
    Sampled,
    Sampler,
    Stat,
    Task,
    View,
    parametric,
)
from fedjax_rec.clients import masked_loop
from fedjax_rec.objectives import binary_cross_entropy, sampled, saturating_cross_entropy

STEP_DECAY = 0.95
"""Of the learning rates, at every local step."""

ROUND_DECAY = 0.97
"""Of the learning rates, at every round."""


class _Params(NamedTuple):
    """What a client trains: C, D_u and (w_u, b_u)."""

    common: Array
    own: Array
    head: Array


class _Training(NamedTuple):
    """A client between two steps.

    Attributes:
      params: as they stand.
      epoch_loss: of this epoch so far.
      last_loss: of the epoch before.
      is_done: the loss has settled.
      seen: the loss of all steps.
    """

    params: _Params
    epoch_loss: Array
    last_loss: Array
    is_done: Array
    seen: Stat


@parametric
def fedrap(
    num_items: int,
    *,
    dim: int = 32,
    num_negatives: int = 4,
    batch_size: int = 2048,
    local_epochs: int = 10,
    head_learning_rate: float = 1e-4,
    item_learning_rate: float = 1e3,
    weight_decay: float = 1e-6,
    difference: float = 0.1,
    sparsity: float = 1e-3,
    tolerance: float = 1e-4,
    variant: Literal["clean", "as_released"] = "clean",
    aggregate: AggregateTransform | None = None,
    server_optimizer: optax.GradientTransformation | None = None,
) -> FederatedAlgorithm:
    """Additive personalisation.

    Client u scores item i by `w_u . (d_ui + c_i) + b_u` and keeps (w_u, b_u) and its table D_u.
    It minimises `BCE - lambda_t MSE(D_b, C_b) + mu_t mean|C_b|` over the rows of a batch b and
    uploads C; the server averages. `test_global` are the scores without D_u.

    Args:
      num_items: size of the catalogue (I).
      dim: width of a vector (D), at least 1.
      num_negatives: negatives to each positive, at least 1.
      batch_size: examples of a local step.
      local_epochs: most passes over a client's items in a round.
      head_learning_rate: of (w_u, b_u).
      item_learning_rate: of C and D_u.
      weight_decay: L2, added to every gradient.
      difference: lambda, the weight of the distance between D and C.
      sparsity: mu, the weight of the size of C.
      tolerance: a client stops once its loss changes by a smaller part from one epoch to the
        next.
      variant: `clean` lets lambda and mu grow with `tanh(t / 10)` over the rounds, as the
        paper says; in the released code that is computed and never used (`as_released`),
        cross-entropy has no slope at saturated probabilities, and negatives recur.
      aggregate: what happens to updates; `mean("client")` by default.
      server_optimizer: `optax.sgd(1.0)` by default.

    Returns:
      The algorithm's filled slots. Every client holds and sends whole tables.

    Raises:
      ValueError: an unknown variant.

    Reference:
      Li et al. (2024), Algorithm 1, and its released code for what the paper leaves open:
      rates decay by 0.95 a local step and 0.97 a round.

    >>> fedrap(num_items=100, dim=8).model.num_rows
    {'item': 100}
    """
    if variant not in ("clean", "as_released"):
        raise ValueError(f"variant must be clean or as_released, got {variant!r}")
    is_released = variant == "as_released"
    loss = saturating_cross_entropy if is_released else binary_cross_entropy
    sampler = Sampler(
        num_items,
        num_negatives,
        local_epochs,
        batch_size,
        is_sliced=False,
        with_replacement=is_released,
    )
    objective = sampled(sampler, loss)
    batch = objective.batch
    assert batch is not None
    rates = _Params(item_learning_rate, item_learning_rate, head_learning_rate)  # type: ignore[arg-type]

    def batch_loss(params: _Params, start: Part, examples: Sampled, round: Array) -> PyTree:
        """The loss to minimise, with what is shown: the sum of cross-entropies and its weight."""
        growth = 1.0 if is_released else jnp.tanh(round / 10)
        ids = examples.inputs.ids
        common, own = params.common[ids], (start.rows["item"] + params.own)[ids]
        losses, weight = loss(_scores(common + own, start.dense + params.head), examples)
        count = jnp.maximum(jnp.sum(weight), 1)
        entropy = jnp.sum(losses * weight)
        distance = jnp.sum(jnp.square(own - common) * weight[:, None]) / (count * dim)
        size = jnp.sum(jnp.abs(common) * weight[:, None]) / (count * dim)
        total = entropy / count - growth * (difference * distance - sparsity * size)
        return total, (total * count, jnp.sum(weight))

    def run(key: Key, view: View, task: Task) -> ClientOutput:
        steps_per_epoch = jnp.maximum(task.num_steps // local_epochs, 1)
        decay = ROUND_DECAY**task.round
        begins = _Params(0.0, view.frozen.rows["item"], view.frozen.dense)  # type: ignore[arg-type]

        def step(number: Array, now: _Training) -> _Training:
            grads, (shown, weight) = jax.grad(batch_loss, has_aux=True)(
                now.params, view.frozen, batch(task.plan, number), task.round
            )
            scale = decay * STEP_DECAY**number

            def move(rate: float, p: Array, begin: Array | float, g: Array) -> Array:
                decayed = g + weight_decay * (begin + p)
                return p - jnp.where(now.is_done, 0, scale * rate * decayed)

            params = jax.tree.map(move, rates, now.params, begins, grads)
            seen = now.seen.merge(Stat(shown, weight))
            epoch_loss = now.epoch_loss + shown
            is_end = (number + 1) % steps_per_epoch == 0
            change = jnp.abs(epoch_loss - now.last_loss)
            has_settled = is_end & (change < tolerance * jnp.abs(now.last_loss))
            return _Training(
                params,
                jnp.where(is_end, 0, epoch_loss),
                jnp.where(is_end, epoch_loss, now.last_loss),
                now.is_done | has_settled,
                seen,
            )

        params = _Params(view.shared.rows["item"], view.private.rows["item"], view.private.dense)
        zero, inf = jnp.float32(0), jnp.float32(jnp.inf)
        start = _Training(params, zero, inf, jnp.bool_(False), Stat(zero, zero))
        params, *_, seen = masked_loop(step, start, task)
        update = Part({"item": params.common - view.shared.rows["item"]}, ())
        private = Private({"item": params.own}, params.head)
        return ClientOutput(update, private, view.memory, seen.weight, {"loss": seen})

    algorithm = fedavg(
        _additive(num_items, dim),
        objective,
        ClientUpdate(run, support="table"),
        aggregate,
        server_optimizer,
    )
    return replace(algorithm, without_own=_without_table)


def _scores(items: Array, head: Array) -> Array:
    return items @ head[:-1] + head[-1]


def _additive(num_items: int, dim: int) -> Model:
    """`w_u . (d_ui + c_i) + b_u`; D and the head start alike everywhere.

    The common start is frozen, and what is private is the distance from it.
    """

    def init(key: Key) -> tuple[Part, Part]:
        key_common, key_own, key_head = jax.random.split(key, 3)
        common, own = (jax.random.normal(k, (num_items, dim)) for k in (key_common, key_own))
        bound = dim**-0.5
        head = jax.random.uniform(key_head, (dim + 1,), minval=-bound, maxval=bound)
        return Part({"item": common}, ()), Part({"item": own}, head)

    def init_private(key: Key) -> Private:
        return Private({"item": jnp.zeros((num_items, dim))}, jnp.zeros(dim + 1))

    def score(view: View, inputs: Inputs) -> Array:
        table = sum(part.rows["item"] for part in (view.shared, view.frozen, view.private))
        items = table if inputs.ids is None else table[inputs.ids]
        return _scores(items, view.frozen.dense + view.private.dense)

    return Model({"item": num_items}, init, score, init_private, is_row_wise=True)


def _without_table(view: View) -> View:
    """What a client sees without D_u."""
    nothing = {"item": jnp.zeros_like(view.shared.rows["item"])}
    return view._replace(
        private=view.private._replace(rows=nothing), frozen=view.frozen._replace(rows=nothing)
    )
