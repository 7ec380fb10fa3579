"""Gradients of a batch's loss, analytic where the model has them."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array, Model, Objective, Part, Private, Pullback, PyTree, View
from fedjax_rec.tree import is_part, rows_at

Loss = Callable[[Array, PyTree], tuple[Array, Array]]


class LossGradients(NamedTuple):
    """Gradients of a batch's loss.

    Attributes:
      gradients: by the shared and the private part.
      by_score: `[B]` by each score.
      total: `[]` `sum(weight * loss)`.
      weight: `[]` `sum(weight)`.
    """

    gradients: tuple[Part, Private]
    by_score: Array
    total: Array
    weight: Array


def loss_gradients(
    model: Model, loss: Loss, view: View, examples: PyTree, divisor: Array | None = None
) -> LossGradients:
    """Gradients of `sum(weight * loss) / divisor` by the shared and the private part.

    The loss is differentiated by the scores, and the scores by the parameters: by
    `model.score_vjp` where there is one, else by autodiff.

    Args:
      model: what scores.
      loss: `(scores, examples) -> (loss, weight)`.
      view: what the client sees.
      examples: what `loss` reads; its `inputs` are scored.
      divisor: `[]`; by default `sum(weight)`, or 1 where that is 0.
    """

    def total_loss(scores: Array) -> tuple[Array, Array]:
        losses, weights = loss(scores, examples)
        return jnp.sum(losses * weights), jnp.sum(weights)

    scores, pullback = (model.score_vjp or autodiff(model))(view, examples.inputs)
    total, loss_pullback, weight = jax.vjp(total_loss, scores, has_aux=True)
    if divisor is None:
        divisor = jnp.where(weight > 0, weight, 1)
    (cotangent,) = loss_pullback(1 / divisor.astype(total.dtype))
    return LossGradients(pullback(cotangent), cotangent, total, weight)


def is_factored(model: Model, objective: Objective) -> bool:
    """Whether the loss can be had from the two factors of the scores."""
    return model.factors is not None and objective.factored_loss is not None


def batch_loss(
    model: Model, objective: Objective, view: View, examples: PyTree
) -> tuple[Array, Array]:
    """`(loss, weight)` of each example of a batch, by factors where there are any.

    Args:
      model: what scores.
      objective: what measures; needs `loss`.
      view: what the client sees.
      examples: of `objective.batch`.
    """
    if model.factors is not None and objective.factored_loss is not None:
        return objective.factored_loss(*model.factors(view, examples.inputs), examples)
    assert objective.loss is not None
    return objective.loss(model.score(view, examples.inputs), examples)


def factored_gradients(
    model: Model, objective: Objective, view: View, examples: PyTree
) -> tuple[tuple[Part, Private], Array, Array]:
    """`loss_gradients` without all the scores: gradients, total and weight."""

    def mean_loss(parts: tuple[Part, Private]) -> tuple[Array, tuple[Array, Array]]:
        now = view._replace(shared=parts[0], private=parts[1])
        losses, weights = batch_loss(model, objective, now, examples)
        total, weight = jnp.sum(losses * weights), jnp.sum(weights)
        return total / jnp.where(weight > 0, weight, 1), (total, weight)

    gradients, seen = jax.grad(mean_loss, has_aux=True)((view.shared, view.private))
    return gradients, *seen


def autodiff(model: Model) -> Callable[[View, PyTree], tuple[Array, Pullback]]:
    """`Model.score_vjp` of any model."""

    def score_vjp(view: View, inputs: PyTree) -> tuple[Array, Pullback]:
        def score(shared: Part, private: Private) -> Array:
            return model.score(view._replace(shared=shared, private=private), inputs)

        return jax.vjp(score, view.shared, view.private)

    return score_vjp


def rows_of(view: View, table: str, ids: Array) -> View:
    """The view of a batch: rows `ids`, all in range, of one table of every part.

    A row-wise model scores it without ids, so that no gradient is shaped like a table.
    """

    def cut(part: Part) -> Part:
        rows = {
            name: jax.tree.map(lambda leaf: rows_at(leaf, ids), leaves)
            for name, leaves in part.rows.items()
            if name == table
        }
        return part._replace(rows=rows)

    return View(*jax.tree.map(cut, tuple(view), is_leaf=is_part))
