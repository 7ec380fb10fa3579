"""Recommenders by name: what algorithms that suit any model are run on from a configuration."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import optax

from fedjax_rec.base import FederatedAlgorithm, Model, Objective, parametric
from fedjax_rec.clients import by_role
from fedjax_rec.models import gmf, matrix_factorization, ncf, neumf
from fedjax_rec.objectives import LossName, Sampler, implicit, ratings
from fedjax_rec.optimizers import named_optimizer

KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY
MODELS = {"mf": matrix_factorization, "gmf": gmf, "ncf": ncf, "neumf": neumf}


class Recommender(NamedTuple):
    """The first three arguments of algorithms that suit any model.

    Attributes:
      model: how items are scored.
      objective: which examples, and which loss.
      optimizer: of a client's copy of `(shared, private)`.
    """

    model: Model
    objective: Objective
    optimizer: optax.GradientTransformation


def recommender(
    num_items: int,
    *,
    model: Literal["mf", "gmf", "ncf", "neumf"] = "mf",
    feedback: Literal["implicit", "explicit"] = "implicit",
    dim: int = 32,
    init_stddev: float = 0.1,
    loss: LossName = "bce",
    num_negatives: int = 4,
    batch_size: int = 256,
    local_epochs: int = 1,
    local_optimizer: str = "sgd",
    user_learning_rate: float = 5.0,
    item_learning_rate: float = 50.0,
    dense_learning_rate: float = 0.5,
    is_sliced: bool = True,
) -> Recommender:
    """A recommender of implicit or explicit feedback.

    Implicit: sampled negatives beside what a client has met. Explicit: squared error of ratings.

    Args:
      num_items: size of the catalogue (I).
      model: `mf`, `gmf`, `ncf` or `neumf`; the user's own vector is private in all.
      feedback: `implicit` ranks what a client has met above what it has not; `explicit`
        predicts the values that it gave (`objectives.ratings`).
      dim: width of a vector (D), at least 1.
      init_stddev: standard deviation of the initial vectors.
      loss: of implicit feedback: `bce` or `bpr`, see `objectives.implicit`; `bpr` may want
        smaller rates, for a positive is pulled by each of its negatives.
      num_negatives: negatives to each positive, at least 1; explicit feedback draws none.
      batch_size: examples of a local step, positives and negatives together.
      local_epochs: passes over a client's items in a round, at least 1.
      local_optimizer: any optax optimizer by name, started afresh each round.
      user_learning_rate: of private parameters. Losses are means over a batch, so rates of
        vectors are large.
      item_learning_rate: of item vectors, on the client.
      dense_learning_rate: of what is shared and no item's: weights and towers.
      is_sliced: False gives every client the whole table.

    Raises:
      UserError: an unknown optimizer, or a learning rate that is not positive.
      ValueError: an unknown model, kind of feedback or loss, or a number out of range.

    >>> recommender(100, model="gmf", dim=8).model.num_rows
    {'item': 100}
    """
    if model not in MODELS:
        raise ValueError(f"model must be one of {', '.join(MODELS)}, got {model!r}")
    if feedback == "explicit":
        objective = ratings(
            num_items, local_epochs=local_epochs, batch_size=batch_size, is_sliced=is_sliced
        )
    elif feedback == "implicit":
        sampler = Sampler(num_items, num_negatives, local_epochs, batch_size, is_sliced=is_sliced)
        objective = implicit(sampler, loss)
    else:
        raise ValueError(f"feedback must be implicit or explicit, got {feedback!r}")
    optimizer = by_role(
        shared=named_optimizer(local_optimizer, item_learning_rate),
        private=named_optimizer(local_optimizer, user_learning_rate),
        dense=named_optimizer(local_optimizer, dense_learning_rate),
    )
    return Recommender(
        MODELS[model](num_items, dim, init_stddev=init_stddev),
        objective,
        optimizer,
    )


def on_recommender(
    build: Callable[..., FederatedAlgorithm], *, without: tuple[str, ...] = (), **defaults: Any
) -> Callable[..., FederatedAlgorithm]:
    """The factory of an algorithm on recommenders: for the registry.

    Args:
      build: `(model, objective, optimizer, *, own options) -> FederatedAlgorithm`.
      without: settings of `recommender` that the factory does not take.
      **defaults: of settings of `recommender`, in place of its own.

    Returns:
      `(num_items, *, settings of recommender, own options)`, with that signature.

    >>> from fedjax_rec.algorithms.fedprox import fedprox
    >>> factory = on_recommender(fedprox, without=("dim",), dim=4)
    >>> factory(10, mu=0.1).model.num_rows
    {'item': 10}
    >>> list(inspect.signature(factory).parameters)[:3]
    ['num_items', 'model', 'feedback']
    """
    num_items, *settings = inspect.signature(recommender).parameters.values()
    taken = [
        one.replace(default=defaults.get(one.name, one.default))
        for one in settings
        if one.name not in without
    ]
    own = [one for one in inspect.signature(build).parameters.values() if one.kind is KEYWORD_ONLY]
    names = {one.name for one in taken}

    def factory(num_items: int, **options: Any) -> FederatedAlgorithm:
        chosen = {name: options.pop(name) for name in names & options.keys()}
        return build(*recommender(num_items, **defaults | chosen), **options)

    functools.update_wrapper(factory, build)
    del factory.__wrapped__  # type: ignore[attr-defined]  # its signature is another
    factory.__signature__ = inspect.Signature([num_items, *taken, *own])  # type: ignore[attr-defined]
    return parametric(factory)
