"""Federated LoRA by sums: what a client sends is factors, and the server adds them up.

Zhang et al. (2024), "Towards building the federated GPT: federated instruction tuning" (FedIT);
Sun et al. (2024), "Improving LoRA in privacy-preserving federated learning" (FFA-LoRA); Guo et
al. (2025), "Selective aggregation for low-rank adaptation in federated learning" (FedSA-LoRA).
"""

from typing import Literal

import optax

from fedjax_rec.algorithms.fedopt import fedopt
from fedjax_rec.algorithms.personalise import personalise
from fedjax_rec.base import AggregateTransform, FederatedAlgorithm, Model, Objective, parametric
from fedjax_rec.clients import shapes_of_parameters
from fedjax_rec.models import lora
from fedjax_rec.models.lora import factor_pairs

RULES = ("fedit", "ffa", "fedsa")


@parametric
def fedlora(
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    rule: Literal["fedit", "ffa", "fedsa"] = "fedit",
    paths: str = "query,value",
    rank: int = 4,
    alpha: float = 16.0,
    trained: str = "",
    encodes_alone: bool = False,
    aggregate: AggregateTransform | None = None,
    server_optimizer: optax.GradientTransformation | None = None,
) -> FederatedAlgorithm:
    """Federated averaging of the factors of a frozen base.

    - `fedit`: both factors are averaged. The product of means is not the mean of products:
      `mean(a) mean(b) - mean(a b)` is minus the covariance of the clients' factors.
    - `ffa`: a is frozen where it was drawn, b alone is trained and averaged, exactly. Noise for
      privacy is then not multiplied by noise.
    - `fedsa`: a is averaged, and each client keeps its own b.

    All are sums over clients, which noise and secure sums ask for. Those of products are
    `fedexlora` and `flexlora`.

    Args:
      model: how items are scored; a flax model, see `models.lora`.
      objective: which examples, and which loss.
      optimizer: of a client's factors and private parameters.
      rule: see above.
      paths: layers that get factors, by name.
      rank: r, at least 1.
      alpha: factors count alpha / r times; above 0.
      trained: what else is trained, by name, such as `bias` or `projection`.
      encodes_alone: with `fedsa`, each client may encode the catalogue for itself in every
        evaluation, where items are encoded by what is adapted.
      aggregate: what happens to updates; `mean("client")` by default.
      server_optimizer: `optax.sgd(1.0)` by default.

    Returns:
      The algorithm's filled slots.

    Raises:
      ValueError: an unknown rule, or see `models.lora` and `personalise`.

    Reference:
      Zhang et al. (2024), section 3.2; Sun et al. (2024), section 4; Guo et al. (2025), section 3.
      Difference: how clients are weighed is the aggregate's choice.

    >>> from fedjax_rec.recommenders import recommender
    >>> parts = recommender(50, model="sasrec", dim=8)
    >>> shared = shapes_of_parameters(fedlora(*parts, rank=2).model)[0]
    >>> sorted(shared.dense["blocks"]["attention"]["query"])
    ['a', 'b']
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, got {rule!r}")
    adapted = lora(model, paths, rank, alpha=alpha, trained=trained, is_a_frozen=rule == "ffa")
    algorithm = fedopt(
        adapted, objective, optimizer, aggregate=aggregate, server_optimizer=server_optimizer
    )
    if rule != "fedsa":
        return algorithm
    places = factor_pairs(shapes_of_parameters(adapted)[0].dense)
    own = ",".join("/".join(("dense", *place, "b")) for place in places)
    return personalise(algorithm, own, encodes_alone=encodes_alone)
