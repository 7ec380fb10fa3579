"""Models that are trained by gradients on pooled data, by name."""

import optax

from fedjax_rec.base import (
    ClientData,
    FederatedAlgorithm,
    Model,
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


@parametric
def bpr_mf(
    num_items: int,
    *,
    data: ClientData,
    dim: int = 64,
    init_stddev: float = 0.1,
    num_negatives: int = 4,
    batch_size: int = 4096,
    optimizer: str = "adam",
    learning_rate: float = 1e-3,
    regularization: float = 0.0,
) -> FederatedAlgorithm:
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
    chosen = _optimizer(optimizer, learning_rate, regularization)
    return pooled(model, objective, data, chosen, batch_size)


@parametric
def gmf(
    num_items: int,
    *,
    data: ClientData,
    dim: int = 32,
    init_stddev: float = 0.1,
    num_negatives: int = 4,
    batch_size: int = 4096,
    optimizer: str = "adam",
    learning_rate: float = 1e-3,
    regularization: float = 0.0,
) -> FederatedAlgorithm:
    """Generalised matrix factorisation on pooled data; settings are those of `bpr_mf`.

    Reference:
      He et al. (2017), "Neural collaborative filtering", section 3.2, trained as in section
      3.1; the differences are those of `models.gmf`.
    """
    model = gmf_model(num_items, dim, init_stddev=init_stddev)
    chosen = _optimizer(optimizer, learning_rate, regularization)
    return _pointwise(model, num_items, data, num_negatives, batch_size, chosen)


@parametric
def mlp(
    num_items: int,
    *,
    data: ClientData,
    dim: int = 32,
    num_layers: int = 3,
    init_stddev: float = 0.1,
    num_negatives: int = 4,
    batch_size: int = 4096,
    optimizer: str = "adam",
    learning_rate: float = 1e-3,
    regularization: float = 0.0,
) -> FederatedAlgorithm:
    """The perceptron of neural collaborative filtering on pooled data; see `bpr_mf`.

    Reference:
      He et al. (2017), "Neural collaborative filtering", section 3.3; the differences are
      those of `models.ncf`.
    """
    model = ncf_model(num_items, dim, num_layers, init_stddev=init_stddev)
    chosen = _optimizer(optimizer, learning_rate, regularization)
    return _pointwise(model, num_items, data, num_negatives, batch_size, chosen)


@parametric
def neumf(
    num_items: int,
    *,
    data: ClientData,
    dim: int = 32,
    num_layers: int = 3,
    init_stddev: float = 0.1,
    num_negatives: int = 4,
    batch_size: int = 4096,
    optimizer: str = "adam",
    learning_rate: float = 1e-3,
    regularization: float = 0.0,
) -> FederatedAlgorithm:
    """Neural matrix factorisation on pooled data; settings are those of `bpr_mf`.

    Reference:
      He et al. (2017), "Neural collaborative filtering", section 3.4, without pre-training;
      the differences are those of `models.neumf`.
    """
    model = neumf_model(num_items, dim, num_layers, init_stddev=init_stddev)
    chosen = _optimizer(optimizer, learning_rate, regularization)
    return _pointwise(model, num_items, data, num_negatives, batch_size, chosen)


@parametric
def mf_explicit(
    num_items: int,
    *,
    data: ClientData,
    dim: int = 32,
    init_stddev: float = 0.1,
    batch_size: int = 4096,
    optimizer: str = "adam",
    learning_rate: float = 1e-3,
    regularization: float = 0.0,
) -> FederatedAlgorithm:
    """Matrix factorisation of ratings on pooled data: `(r_ui - p_u . q_i)^2`; see `bpr_mf`.

    Reference:
      Salakhutdinov and Mnih (2007), "Probabilistic matrix factorization", equation 4.
      Differences: Adam on mini-batches; all vectors are penalised at every step.
    """
    model = matrix_factorization(num_items, dim, init_stddev=init_stddev)
    chosen = _optimizer(optimizer, learning_rate, regularization)
    return pooled(model, ratings(num_items), data, chosen, batch_size)


def _pointwise(
    model: Model,
    num_items: int,
    data: ClientData,
    num_negatives: int,
    batch_size: int,
    optimizer: optax.GradientTransformation,
) -> FederatedAlgorithm:
    objective = sampled(Sampler(num_items, num_negatives), binary_cross_entropy)
    return pooled(model, objective, data, optimizer, batch_size)


def _optimizer(
    name: str, learning_rate: float, regularization: float
) -> optax.GradientTransformation:
    if is_concrete(regularization) and not 0 <= regularization < float("inf"):
        raise ValueError(f"regularization must be at least 0 and finite, got {regularization}")
    chosen = named_optimizer(name, learning_rate)
    if is_zero(regularization):
        return chosen
    return optax.chain(optax.add_decayed_weights(regularization), chosen)
