"""Ditto: beside the common model each client trains one of its own, kept near the common one.

Li et al. (2021), "Ditto: fair and robust federated learning through personalization", ICML.
"""

from dataclasses import replace

import jax
import optax

from fedjax_rec.algorithms.checks import refuse_outside
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
    Objective,
    Part,
    Private,
    Task,
    View,
    parametric,
)
from fedjax_rec.clients import local_training, trained_view


@parametric
def ditto(
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    strength: float = 0.001,
    aggregate: AggregateTransform | None = None,
    server_optimizer: optax.GradientTransformation | None = None,
) -> FederatedAlgorithm:
    """Federated averaging, and a personal model of each client.

    Client k sends the change of its local training of w, and takes as many steps on
    `F_k(v_k) + lambda/2 |v_k - w_t|^2` from the v_k that it keeps. Recommendations come from
    v_k; `test_global` are those of w.

    Args:
      model: how items are scored.
      objective: which examples, and which loss; with whole tables, for every row of v_k is
        pulled to w_t in every round.
      optimizer: of a client's copy of `(shared, private)`, for w and v_k alike; started afresh
        for each. Plain SGD overshoots once a learning rate times `strength` is above 1.
      strength: lambda, at least 0; 0 is local training.
      aggregate: what happens to updates of w; `mean("client")` by default.
      server_optimizer: of w; `optax.sgd(1.0)` by default.

    Returns:
      The algorithm's filled slots. A client's memory v_k is as large as the model; it starts
      at the first w. Private parameters are there twice, for w and for v_k.

    Raises:
      ValueError: `strength` is negative.

    Reference:
      Li et al. (2021), Algorithm 1 and equation 2. Differences: private parameters are not
      pulled; both models see the same examples in the same order.

    >>> from fedjax_rec.recommenders import recommender
    >>> ditto(*recommender(100, is_sliced=False)).client_update.support
    'table'
    """
    refuse_outside("[0, inf)", strength=strength)

    def pull(view: View, shared: Part) -> Part:
        pulled: Part = jax.tree.map(lambda v, w: strength * (v - w), shared, view.extra)
        return pulled

    common = local_training(model, objective, optimizer)
    personal = trained_view(local_training(model, objective, optimizer, pull=pull))

    def run(key: Key, view: View, task: Task) -> ClientOutput:
        output = common.run(key, _of_common(view), task)
        trained = personal(key, _of_personal(view)._replace(extra=view.shared), task)
        private = _paired(output.private, trained.private)
        return output._replace(private=private, memory=Private(*trained.shared))

    def init_private(key: Key) -> Private:
        private = model.init_private(key)
        return _paired(private, private)

    def score(view: View, inputs: Inputs) -> Array:
        return model.score(_of_personal(view), inputs)

    def without_own(view: View) -> View:
        private = _of_common(view).private
        return view._replace(memory=Private(*view.shared), private=_paired(private, private))

    return replace(
        fedavg(model, objective, common, aggregate, server_optimizer),
        model=model.with_score(score, init_private=init_private, is_row_wise=model.is_row_wise),
        client_update=ClientUpdate(run, support="table"),
        init_memory=lambda shared: Private(*shared),
        without_own=without_own,
    )


def _paired(common: Private, personal: Private) -> Private:
    """A client's private parameters for both models."""
    rows = {table: (leaves, personal.rows[table]) for table, leaves in common.rows.items()}
    return Private(rows, (common.dense, personal.dense))


def _half(private: Private, side: int) -> Private:
    rows = {table: pair[side] for table, pair in private.rows.items()}
    return Private(rows, private.dense[side])


def _of_common(view: View) -> View:
    """What the model sees of w."""
    return view._replace(private=_half(view.private, 0))


def _of_personal(view: View) -> View:
    """What the model sees of v_k."""
    return view._replace(shared=Part(*view.memory), private=_half(view.private, 1))
