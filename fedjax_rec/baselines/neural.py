"""Models that are trained by gradients on pooled data, by name."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import optax

from fedjax_rec.base import (
    ClientData,
    FederatedAlgorithm,
    Model,
    Objective,
    Sampler,
    is_concrete,
    is_zero,
    parametric,
)
from fedjax_rec.baselines.centralised import pooled
from fedjax_rec.models import gmf as gmf_model
from fedjax_rec.models import matrix_factorization
from fedjax_rec.models import ncf as ncf_model
from fedjax_rec.models import neumf as neumf_model
from fedjax_rec.objectives import binary_cross_entropy, bpr, ratings, sampled
from fedjax_rec.optimizers import named_optimizer

Parts = tuple[Model, Objective]
"""What each of these baselines is made of, beside the settings that all share."""


def on_pooled_data(build: Callable[..., Parts]) -> Callable[..., FederatedAlgorithm]:
    """The factory of a baseline: `build`, trained on pooled data with one optimizer.

    Args:
      build: `(num_items, *, own settings) -> (model, objective)`.

    Returns:
      `(num_items, *, data, own settings, batch_size, optimizer, learning_rate,
      regularization)`, with that signature.
    """

    def train(
        parts: Parts,
        data: ClientData,
        *,
        batch_size: int = 4096,
        optimizer: str = "adam",
        learning_rate: float = 1e-3,
        regularization: float = 0.0,
    ) -> FederatedAlgorithm:
        chosen = _optimizer(optimizer, learning_rate, regularization)
        return pooled(*parts, data, chosen, batch_size)

    num_items, *own = inspect.signature(build).parameters.values()
    _, data_setting, *shared = inspect.signature(train).parameters.values()
    names = {one.name for one in shared}

    def factory(num_items: int, *, data: ClientData, **options: Any) -> FederatedAlgorithm:
        chosen = {name: options.pop(name) for name in names & options.keys()}
        return train(build(num_items, **options), data, **chosen)

    functools.update_wrapper(factory, build)
    del factory.__wrapped__  # type: ignore[attr-defined]  # its signature is another
    factory.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [num_items, data_setting.replace(kind=inspect.Parameter.KEYWORD_ONLY), *own, *shared],
        return_annotation=FederatedAlgorithm,
    )
    return parametric(factory)


def _optimizer(
    name: str, learning_rate: float, regularization: float
) -> optax.GradientTransformation:
    if is_concrete(regularization) and not 0 <= regularization < float("inf"):
        raise ValueError(f"regularization must be at least 0 and finite, got {regularization}")
    chosen = named_optimizer(name, learning_rate)
    if is_zero(regularization):
        return chosen
    return optax.chain(optax.add_decayed_weights(regularization), chosen)


@on_pooled_data
def bpr_mf(
    num_items: int,
    *,
    dim: int = 64,
    init_stddev: float = 0.1,
    num_negatives: int = 4,
) -> Parts:
    """Matrix factorisation by Bayesian personalised ranking, on pooled data.

    `-log sigmoid(p_u . q_i - p_u . q_j)` for each positive i and its negatives j.

    Args:
      num_items: size of the catalogue (I).
      data: whose events are pooled.
      dim: width of a vector (D), at least 1.
      init_stddev: standard deviation of the initial vectors.
      num_negatives: negatives to each positive, at least 1.
      batch_size: examples of a step, positives and negatives together.
      optimizer: any optax optimizer by name.
      learning_rate: its learning rate.
      regularization: lambda, at least 0: `lambda / 2 |theta|^2` is added to each batch's loss.

    Returns:
      An algorithm whose rounds are epochs; see `centralised` for what the server holds.

    Raises:
      UserError: an unknown optimizer, or a learning rate that is not positive.

    Reference:
      Rendle et al. (2009), "BPR: Bayesian personalized ranking from implicit feedback",
      sections 4.1 and 4.3.1. Differences: those of `objectives.bpr`; mini-batches.
    """
    group = 1 + num_negatives
    sampler = Sampler(num_items, num_negatives, batch_size=group)
    objective = sampled(sampler, bpr(num_negatives), is_pointwise=False)
    model = matrix_factorization(num_items, dim, init_stddev=init_stddev)
    return model, objective


@on_pooled_data
def gmf(
    num_items: int,
    *,
    dim: int = 32,
    init_stddev: float = 0.1,
    num_negatives: int = 4,
) -> Parts:
    """Generalised matrix factorisation on pooled data; settings are those of `bpr_mf`.

    Reference:
      He et al. (2017), "Neural collaborative filtering", section 3.2, trained as in section
      3.1; the differences are those of `models.gmf`.
    """
    model = gmf_model(num_items, dim, init_stddev=init_stddev)
    return model, _pointwise(num_items, num_negatives)


@on_pooled_data
def mlp(
    num_items: int,
    *,
    dim: int = 32,
    num_layers: int = 3,
    init_stddev: float = 0.1,
    num_negatives: int = 4,
) -> Parts:
    """The perceptron of neural collaborative filtering on pooled data; see `bpr_mf`.

    Args:
      num_layers: hidden layers of the tower, at least 1.

    Reference:
      He et al. (2017), "Neural collaborative filtering", section 3.3; the differences are
      those of `models.ncf`.
    """
    model = ncf_model(num_items, dim, num_layers, init_stddev=init_stddev)
    return model, _pointwise(num_items, num_negatives)


@on_pooled_data
def neumf(
    num_items: int,
    *,
    dim: int = 32,
    num_layers: int = 3,
    init_stddev: float = 0.1,
    num_negatives: int = 4,
) -> Parts:
    """Neural matrix factorisation on pooled data; settings are those of `bpr_mf`.

    Args:
      num_layers: hidden layers of the tower, at least 1.

    Reference:
      He et al. (2017), "Neural collaborative filtering", section 3.4, without pre-training;
      the differences are those of `models.neumf`.
    """
    model = neumf_model(num_items, dim, num_layers, init_stddev=init_stddev)
    return model, _pointwise(num_items, num_negatives)


@on_pooled_data
def mf_explicit(
    num_items: int,
    *,
    dim: int = 32,
    init_stddev: float = 0.1,
) -> Parts:
    """Matrix factorisation of ratings on pooled data: `(r_ui - p_u . q_i)^2`; see `bpr_mf`.

    Reference:
      Salakhutdinov and Mnih (2007), "Probabilistic matrix factorization", equation 4.
      Differences: Adam on mini-batches; all vectors are penalised at every step.
    """
    model = matrix_factorization(num_items, dim, init_stddev=init_stddev)
    return model, ratings(num_items)


def _pointwise(num_items: int, num_negatives: int) -> Objective:
    return sampled(Sampler(num_items, num_negatives), binary_cross_entropy)
