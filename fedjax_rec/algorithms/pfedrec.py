"""PFedRec: a score function of each client's own, and an item table that it fine-tunes.

Zhang et al. (2023), "Dual personalization on federated recommendation", IJCAI.
"""

from dataclasses import replace
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from fedjax_rec.algorithms.fedavg import fedavg
from fedjax_rec.base import (
    AggregateTransform,
    Array,
    FederatedAlgorithm,
    Inputs,
    Key,
    Model,
    Part,
    Private,
    Sampler,
    View,
    is_zero,
    parametric,
)
from fedjax_rec.clients import by_role, local_training, trained_view
from fedjax_rec.objectives import binary_cross_entropy, sampled, saturating_cross_entropy
from fedjax_rec.optimizers import named_optimizer
from fedjax_rec.transforms import mean


@parametric
def pfedrec(
    num_items: int,
    *,
    dim: int = 32,
    init_stddev: float = 1.0,
    num_negatives: int = 4,
    batch_size: int = 256,
    local_epochs: int = 1,
    learning_rate: float = 0.1,
    item_learning_rate: float = 3000.0,
    item_rate_factor: float = 0.0,
    variant: Literal["clean", "as_released"] = "clean",
    is_sliced: bool = True,
    aggregate: AggregateTransform | None = None,
    server_optimizer: optax.GradientTransformation | None = None,
) -> FederatedAlgorithm:
    """Personalised federated recommendation with two kinds of own parameters.

    Client u scores item i by `w_u . v_i + b_u`. On each batch it first moves (w_u, b_u) by
    SGD at rate eta, then its copy of V at a rate of its own, on new gradients. The
    server averages the copies. Recommendations come from the client's own copy, after it
    has trained on the table it received; `test_global` are those of the table itself.

    Args:
      num_items: size of the catalogue (I).
      dim: width of a vector (D), at least 1.
      init_stddev: standard deviation of the initial table; 1 as in the released code. Where
        items are met by few, what they start from drowns what is learned.
      num_negatives: negatives to each positive, at least 1.
      batch_size: examples of a local step.
      local_epochs: passes over a client's items in a round, at least 1.
      learning_rate: eta.
      item_learning_rate: of V. The default suits a mean by row, whatever the cohort and the
        catalogue.
      item_rate_factor: where above 0, the rate of V is `eta * I * factor` in place of
        `item_learning_rate`, as in the released code, which takes the mean by client.
      variant: `as_released` has the published code's cross-entropy, whose slope vanishes at
        saturated probabilities, and negatives drawn with replacement; `clean` takes the
        loss of the logits, and negatives recur only once the client's pool is used up.
      is_sliced: False gives every client the whole table: the oracle of the slices.
      aggregate: what happens to updates; `mean("row")` by default.
      server_optimizer: `optax.sgd(1.0)` by default.

    Returns:
      The algorithm's filled slots.

    Raises:
      UserError: a learning rate that is not positive.
      ValueError: an unknown variant.

    Reference:
      Zhang et al. (2023), Algorithm 1. Differences: a batch holds whole groups of a positive
      and its negatives; the table that a
      client is judged by is the one it would train next, a round ahead of the released
      evaluation; b_u is not uploaded (the released code does so and never uses it). Like
      the released code, and unlike the paper's objective, all clients weigh the same.

    >>> pfedrec(num_items=100, dim=8).model.num_rows
    {'item': 100}
    """
    losses = {"clean": binary_cross_entropy, "as_released": saturating_cross_entropy}
    if variant not in losses:
        raise ValueError(f"variant must be one of {', '.join(losses)}, got {variant!r}")
    sampler = Sampler(
        num_items,
        num_negatives,
        local_epochs,
        batch_size,
        is_sliced=is_sliced,
        with_replacement=variant == "as_released",
    )
    model, objective = _linear_heads(num_items, dim, init_stddev), sampled(sampler, losses[variant])
    item_rate = item_learning_rate
    if not is_zero(item_rate_factor):
        item_rate = learning_rate * num_items * item_rate_factor
    turns = [
        by_role(private=named_optimizer("sgd", learning_rate)),
        by_role(shared=named_optimizer("sgd", item_rate)),
    ]
    client_update = local_training(model, objective, turns)
    algorithm = fedavg(model, objective, client_update, aggregate or mean("row"), server_optimizer)
    return replace(algorithm, adapt=trained_view(client_update), without_own=lambda view: view)


def _linear_heads(num_items: int, dim: int, init_stddev: float) -> Model:
    """`w_u . v_i + b_u`: a shared table and private heads that start alike.

    The common start is frozen, and what is private is the distance from it.
    """

    def init(key: Key) -> tuple[Part, Part]:
        key_table, key_head = jax.random.split(key)
        table = init_stddev * jax.random.normal(key_table, (num_items, dim))
        bound = dim**-0.5
        head = jax.random.uniform(key_head, (dim + 1,), minval=-bound, maxval=bound)
        return Part({"item": table}, ()), Part({}, head)

    def init_private(key: Key) -> Private:
        return Private({}, jnp.zeros(dim + 1))

    def score(view: View, inputs: Inputs) -> Array:
        table, head = view.shared.rows["item"], view.frozen.dense + view.private.dense
        items = table if inputs.ids is None else table[inputs.ids]
        scores: Array = items @ head[:-1] + head[-1]
        return scores

    return Model({"item": num_items}, init, score, init_private, is_row_wise=True)
