"""Majority class: every record gets the label that most records have. One round counts it."""

import jax.numpy as jnp

from fedjax_rec.base import (
    Array,
    FederatedAlgorithm,
    History,
    Inputs,
    Key,
    Model,
    Part,
    View,
    parametric,
)
from fedjax_rec.baselines.counting import counted


@parametric
def majority(num_items: int) -> FederatedAlgorithm:
    """The majority class: one probability for all records, their share of positive labels.

    `p = (n_1 + 1) / (n + 2)`, with n records of which n_1 have a value above 1/2, of all
    clients of the last cohort; the score is its logit, `log(p / (1 - p))`. A classifier has learned
    something of a record's features where it is more accurate than this.

    Args:
      num_items: how many records there are.

    Returns:
      An algorithm that is done after one round of all clients, which send two counts each.

    Reference:
      The rule of succession, as in Cestnik (1990), "Estimating probabilities: a crucial task
      in machine learning": it stays a logit where all labels are the same.

    >>> shared, _ = majority(num_items=3).model.init(None)
    >>> float(shared.dense)
    0.0
    """

    def init(key: Key) -> tuple[Part, Part]:
        return Part({}, jnp.zeros(())), Part({}, ())

    def score(view: View, inputs: Inputs) -> Array:
        return jnp.full(num_items if inputs.ids is None else inputs.ids.shape, view.shared.dense)

    def count(history: History) -> Part:
        num_positive = (history.values > 0.5).sum()  # padding is 0
        return Part({}, jnp.stack([num_positive, history.num_events.astype(jnp.float32)]))

    def logit(counts: Part) -> Part:
        num_positive, num_records = counts.dense
        return Part({}, jnp.log(num_positive + 1) - jnp.log(num_records - num_positive + 1))

    return counted(
        Model({"item": num_items}, init, score),
        count,
        logit,
        plan=lambda history: ({}, history),
        template=lambda shared: Part({}, jnp.zeros(2)),
    )
