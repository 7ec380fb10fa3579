"""Predicted values beside rankings: how far a score is from a rating, or from a label."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from fedjax_rec.base import Array
from fedjax_rec.evaluation.area import area_under_curve
from fedjax_rec.evaluation.questions import Evaluation, HeldOutSet, refuse_nothing

Error = Callable[[Array, Array], Array]

ERRORS: dict[str, dict[str, Error]] = {
    "rating": {
        "rmse": lambda score, value: jnp.square(score - value),
        "mae": lambda score, value: jnp.abs(score - value),
        "accuracy": lambda score, value: jnp.abs(score - value) <= 0.5,
    },
    "label": {
        "log_loss": lambda score, value: jax.nn.softplus((1 - 2 * value) * score),
        "accuracy": lambda score, value: (score > 0) == (value > 0.5),
    },
}
"""What is averaged over held-out pairs, by kind of value and metric; of `rmse` the root."""


LARGEST = 1e15
"""A larger score has diverged: sums of its square would not be finite."""


class Predicted(NamedTuple):
    """What is found for each client.

    Attributes:
      totals: `[N]` by metric: sums over the client's held-out pairs.
      num_pairs: `[N]` how many there are.
      is_bad: `[N]` one of their scores is not finite.
      labelled: of labels, `[N, R]` the scores of the pairs, and 1 and 0 for their labels and
        -1 for padding; `None` of ratings.
    """

    totals: dict[str, Array]
    num_pairs: Array
    is_bad: Array
    labelled: tuple[Array, Array] | None


class Prediction:
    """How near the scores of held-out items are to the values that clients gave them.

    Over the held-out pairs P of all clients together (a client with twice as many counts
    twice), with the value y and the score s of a pair:

    * `rating`: `rmse = sqrt(1/|P| sum (s - y)^2)`, `mae = 1/|P| sum |s - y|` and `accuracy`,
      the share of pairs with `|s - y| <= 1/2`;
    * `label`: y is 0 or 1 and s a logit. `log_loss = 1/|P| sum log(1 + e^{(1 - 2y) s})`, in
      nats, `accuracy`, the share of pairs where `sigmoid(s) > 1/2` agrees with y, and `auc`,
      the probability that a pair of label 1 scores above one of label 0, ties half, whoever
      they are of; NaN where one label is missing.

    A score that is not finite, or beyond `LARGEST`, counts as 0 and as not accurate, and the
    client is counted in `num_non_finite`. Values of `per_client` are the same over a client's
    own pairs, without `auc`.

    Reference:
      Accuracy of ratings: Singhal et al. (2021), "Federated reconstruction", section 5; the
      others: Herlocker et al. (2004), "Evaluating collaborative filtering recommender
      systems", section 4.1.
    """

    def __init__(self, kind: Literal["rating", "label"]) -> None:
        """What the values are.

        >>> Prediction("rating").keys, Prediction("label").keys
        (('rmse', 'mae', 'accuracy'), ('log_loss', 'accuracy', 'auc'))
        """
        self._errors = ERRORS[kind]
        self._has_labels = kind == "label"
        self.keys = (*self._errors, "auc") if self._has_labels else tuple(self._errors)

    def nothing(self, held_out: HeldOutSet, num_items: int) -> Predicted:
        """Nobody has a pair."""
        num_clients = held_out.targets.shape[0]
        none = jnp.zeros(num_clients)
        return Predicted(
            dict.fromkeys(self._errors, none),
            jnp.zeros(num_clients, jnp.int32),
            jnp.zeros(num_clients, bool),
            self._labelled(jnp.zeros(held_out.targets.shape), jnp.int8(-1)),
        )

    def _labelled(self, scores: Array, labels: Array) -> tuple[Array, Array] | None:
        if not self._has_labels:
            return None
        return scores, jnp.broadcast_to(labels, scores.shape)

    def answers(self, scores: Array, slots: Array, held_out: HeldOutSet) -> Predicted:
        """Errors on the held-out pairs of some clients."""
        assert held_out.values is not None
        targets, values = held_out.targets[slots], held_out.values[slots]
        is_real = targets < scores.shape[1]
        own = jnp.take_along_axis(scores, jnp.where(is_real, targets, 0), axis=1)
        is_finite = jnp.abs(own) <= LARGEST
        own = jnp.where(is_finite, own, 0)
        totals = {}
        for name, error in self._errors.items():
            counts = is_real & is_finite if name == "accuracy" else is_real
            totals[name] = jnp.where(counts, error(own, values), 0).sum(axis=1, dtype=jnp.float32)
        labels = jnp.where(is_real, values > 0.5, -1).astype(jnp.int8)
        return Predicted(
            totals,
            is_real.sum(axis=1),
            (is_real & ~is_finite).any(axis=1),
            self._labelled(own, labels),
        )

    def summary(self, found: Predicted) -> Evaluation:
        """Means over all pairs, and over each client's."""
        num_pairs = np.asarray(found.num_pairs)
        refuse_nothing(num_pairs > 0)
        totals = {name: np.asarray(total, np.float64) for name, total in found.totals.items()}
        metrics = {k: float(_mean(k, totals[k].sum(), num_pairs.sum())) for k in self._errors}
        if found.labelled is not None:
            scores, labels = map(np.asarray, found.labelled)
            metrics["auc"] = area_under_curve(scores[labels >= 0], labels[labels >= 0] == 1)
        return Evaluation(
            metrics=metrics,
            per_client={k: _mean(k, totals[k], num_pairs).astype(np.float32) for k in self._errors},
            num_clients=int((num_pairs > 0).sum()),
            num_non_finite=int(found.is_bad.sum()),
        )


def _mean(
    name: str, total: npt.NDArray[np.float64] | np.float64, count: npt.NDArray[np.int32]
) -> npt.NDArray[np.float64]:
    """The mean, or its root; NaN where nothing was counted."""
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return np.sqrt(mean) if name == "rmse" else mean
