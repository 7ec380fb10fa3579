"""Recommenders by name: what algorithms that suit any model are run on from a configuration."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import optax

from fedjax_rec.base import FederatedAlgorithm, Model, Objective, parametric
from fedjax_rec.clients import by_role
from fedjax_rec.errors import UserError, did_you_mean
from fedjax_rec.models import MODELS
from fedjax_rec.objectives import OBJECTIVES, LossName
from fedjax_rec.optimizers import named_optimizer
from fedjax_rec.text import llm_ranker, text_tower

MODELS.register(
    "text_tower",
    text_tower,
    local_optimizer="adam",
    user_learning_rate=0.05,
    item_learning_rate=0.01,
    dense_learning_rate=0.001,
)
MODELS.register(
    "llm_ranker",
    llm_ranker,
    objective="labels",
    local_optimizer="adam",
    user_learning_rate=None,  # nothing is private, and no item has a vector
    item_learning_rate=None,
    dense_learning_rate=0.001,
)

KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY
FEEDBACK = {"implicit": "implicit", "explicit": "ratings"}
"""The objective that a kind of feedback stands for."""

PASSED_ON = (
    "dim",
    "init_stddev",
    "loss",
    "num_negatives",
    "batch_size",
    "local_epochs",
    "max_positives",
    "is_sliced",
)
"""Settings of `recommender` that only the model or the objective reads."""

FROM_DATA = ("titles",)
"""What a model takes of a run's data; no configuration can set it."""


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
    model: str = "mf",
    feedback: Literal["implicit", "explicit"] = "implicit",
    objective: str = "",
    dim: int = 32,
    init_stddev: float = 0.1,
    loss: LossName = "bce",
    num_negatives: int = 4,
    batch_size: int = 256,
    local_epochs: int = 1,
    max_positives: int = 0,
    local_optimizer: str = "sgd",
    user_learning_rate: float = 5.0,
    item_learning_rate: float = 50.0,
    dense_learning_rate: float = 0.5,
    is_sliced: bool = True,
    **own: Any,
) -> Recommender:
    """A recommender: any registered model with any registered objective.

    Implicit: sampled negatives beside what a client has met. Explicit: squared error of ratings.

    Args:
      num_items: size of the catalogue (I).
      model: a registered model, such as `mf`, `gmf`, `ncf`, `neumf`, `lightgcn` or `sasrec`;
        parameters of the user alone are private in all.
      feedback: `implicit` ranks what a client has met above what it has not; `explicit`
        predicts the values that it gave (`objectives.ratings`).
      objective: a registered objective, such as `next_item`; empty: the one that the model is
        registered with, else the one of `feedback`.
      dim: width of a vector (D), at least 1.
      init_stddev: standard deviation of the initial vectors.
      loss: of implicit feedback: `bce` or `bpr`, see `objectives.implicit`; `bpr` may want
        smaller rates, for a positive is pulled by each of its negatives.
      num_negatives: negatives to each positive, at least 1; explicit feedback draws none.
      batch_size: examples of a local step, positives and negatives together.
      local_epochs: passes over a client's items in a round, at least 1.
      max_positives: of an epoch, drawn afresh in each round; 0: all.
      local_optimizer: any optimizer by name, started afresh each round.
      user_learning_rate: of private parameters. Losses are means over a batch, so rates of
        vectors are large.
      item_learning_rate: of item vectors, on the client.
      dense_learning_rate: of what is shared and no item's: weights and towers.
      is_sliced: False gives every client the whole table.
      **own: further settings of the model or the objective, such as `num_blocks` of `sasrec`.

    Raises:
      UserError: an unknown optimizer, model or objective, or a learning rate that is not
        positive.
      ValueError: an unknown kind of feedback or loss, a setting that neither model nor
        objective has, or a number out of range.

    >>> recommender(100, model="gmf", dim=8).model.num_rows
    {'item': 100}
    """
    name = objective_name(model, feedback, objective)
    factories = MODELS.find(model), OBJECTIVES.find(name)
    given = own | {
        "dim": dim,
        "init_stddev": init_stddev,
        "loss": loss,
        "num_negatives": num_negatives,
        "batch_size": batch_size,
        "local_epochs": local_epochs,
        "max_positives": max_positives,
        "is_sliced": is_sliced,
    }
    for key in own:
        if not any(key in inspect.signature(factory).parameters for factory in factories):
            raise ValueError(f"neither model {model} nor objective {name} has a setting {key!r}")
    made_model, made_objective = (_made(factory, num_items, given) for factory in factories)
    optimizer = by_role(
        shared=named_optimizer(local_optimizer, item_learning_rate),
        private=named_optimizer(local_optimizer, user_learning_rate),
        dense=named_optimizer(local_optimizer, dense_learning_rate),
    )
    return Recommender(made_model, made_objective, optimizer)


def _made(factory: Callable[..., Any], num_items: int, given: Mapping[str, Any]) -> Any:
    """What a factory makes, with those of the settings that it takes."""
    taken = inspect.signature(factory).parameters
    return factory(num_items, **{name: value for name, value in given.items() if name in taken})


def objective_name(model: str, feedback: str = "implicit", objective: str = "") -> str:
    """The objective that is meant.

    >>> objective_name("mf"), objective_name("sasrec"), objective_name("mf", "explicit")
    ('implicit', 'next_item', 'ratings')
    """
    MODELS.find(model)
    if chosen := objective or MODELS.facts[model].get("objective", ""):
        return str(chosen)
    if feedback not in FEEDBACK:
        raise ValueError(f"feedback must be implicit or explicit, got {feedback!r}")
    return FEEDBACK[feedback]


def settings_with(
    parameters: Mapping[str, inspect.Parameter], chosen: Mapping[str, Any]
) -> dict[str, inspect.Parameter]:
    """What can be set once model and objective are chosen, with the defaults that then hold.

    Args:
      parameters: of a factory on recommenders.
      chosen: settings; `model`, `feedback` and `objective` among them count.
    """
    default = {name: parameters[name].default for name in ("model", "feedback", "objective")}
    picked = {name: chosen.get(name, value) for name, value in default.items()}
    objective = objective_name(**picked)
    takers = [
        inspect.signature(factory).parameters
        for factory in (MODELS.find(picked["model"]), OBJECTIVES.find(objective))
    ]
    facts = _facts(picked["model"])
    found: dict[str, inspect.Parameter] = {}
    for name, one in parameters.items():
        is_read = name not in PASSED_ON or any(name in taken for taken in takers)
        is_moot = name == "feedback" and (picked["objective"] or "objective" in facts)
        if is_read and not is_moot and facts.get(name, one) is not None:
            found[name] = one.replace(default=facts.get(name, _default_of(one, takers)))
    for taken in takers:
        for name, one in taken.items():
            is_scalar = isinstance(one.default, int | float | str | bool)
            is_own = is_scalar and name not in parameters and name not in PASSED_ON
            if is_own or name in FROM_DATA:
                found[name] = one.replace(kind=KEYWORD_ONLY)
    return found


def _default_of(
    parameter: inspect.Parameter, takers: Sequence[Mapping[str, inspect.Parameter]]
) -> Any:
    """An algorithm's own default; where it leaves the recommender's, that of who reads it."""
    name, default = parameter.name, parameter.default
    plain = inspect.signature(recommender).parameters.get(name)
    if name not in PASSED_ON or plain is None or default != plain.default:
        return default
    own = [taken[name].default for taken in takers if name in taken]
    return next((one for one in own if one is not parameter.empty), default)


def _facts(model: str) -> dict[str, Any]:
    """The settings that suit a model, as it was registered with them."""
    facts, known = MODELS.facts[model], inspect.signature(recommender).parameters
    for name in facts:
        if name not in known:
            raise UserError(
                f"model {model} was registered with {name}, which is no setting of a "
                f"recommender{did_you_mean(name, known)}"
            )
    return facts


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
    num_items, *settings, further = inspect.signature(recommender).parameters.values()
    taken = [
        one.replace(default=defaults.get(one.name, one.default))
        for one in settings
        if one.name not in without
    ]
    own = [one for one in inspect.signature(build).parameters.values() if one.kind is KEYWORD_ONLY]
    own_names = {one.name for one in own}
    signature = inspect.Signature([num_items, *taken, *own, further])

    def made(num_items: int, **options: Any) -> FederatedAlgorithm:
        others = {name: options.pop(name) for name in own_names & options.keys()}
        return build(*recommender(num_items, **defaults | options), **others)

    functools.update_wrapper(made, build)
    del made.__wrapped__  # type: ignore[attr-defined]  # its signature is another
    made.__signature__ = signature  # type: ignore[attr-defined]
    with_numbers = parametric(made)

    def parameters_for(chosen: Mapping[str, Any]) -> dict[str, inspect.Parameter]:
        return settings_with(signature.parameters, chosen)

    @functools.wraps(with_numbers)
    def factory(num_items: int, **options: Any) -> FederatedAlgorithm:
        suiting = {
            name: one.default
            for name, one in parameters_for(options).items()
            if isinstance(one.default, int | float | str | bool)
        }
        return with_numbers(num_items, **suiting | options)

    factory.parameters_for = parameters_for  # type: ignore[attr-defined]
    return factory
