"""Predicted values beside rankings: how far a score is from a rating, or from a label."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from fedjax_rec.base import Array
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
    """

    totals: dict[str, Array]
    num_pairs: Array
    is_bad: Array


class Prediction:
    """How near the scores of held-out items are to the values that clients gave them.

    Over the held-out pairs P of all clients together (a client with twice as many counts
    twice), with the value y and the score s of a pair:

    * `rating`: `rmse = sqrt(1/|P| sum (s - y)^2)`, `mae = 1/|P| sum |s - y|` and `accuracy`,
      the share of pairs with `|s - y| <= 1/2`;
    * `label`: y is 0 or 1 and s a logit. `log_loss = 1/|P| sum log(1 + e^{(1 - 2y) s})`, in
      nats, and `accuracy`, the share of pairs where `sigmoid(s) > 1/2` agrees with y.

    A score that is not finite, or beyond `LARGEST`, counts as 0 and as not accurate, and the
    client is counted in `num_non_finite`. Values of `per_client` are the same over a client's
    own pairs.

    Reference:
      Accuracy of ratings: Singhal et al. (2021), "Federated reconstruction", section 5; the
      others: Herlocker et al. (2004), "Evaluating collaborative filtering recommender
      systems", section 4.1.
    """

    def __init__(self, kind: Literal["rating", "label"]) -> None:
        """What the values are.

        >>> Prediction("rating").keys, Prediction("label").keys
        (('rmse', 'mae', 'accuracy'), ('log_loss', 'accuracy'))
        """
        self._errors = ERRORS[kind]
        self.keys = tuple(self._errors)

    def nothing(self, held_out: HeldOutSet, num_items: int) -> Predicted:
        """Nobody has a pair."""
        num_clients = held_out.targets.shape[0]
        none = jnp.zeros(num_clients)
        return Predicted(
            dict.fromkeys(self.keys, none),
            jnp.zeros(num_clients, jnp.int32),
            jnp.zeros(num_clients, bool),
        )

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
        return Predicted(totals, is_real.sum(axis=1), (is_real & ~is_finite).any(axis=1))

    def summary(self, found: Predicted) -> Evaluation:
        """Means over all pairs, and over each client's."""
        num_pairs = np.asarray(found.num_pairs)
        refuse_nothing(num_pairs > 0)
        totals = {name: np.asarray(total, np.float64) for name, total in found.totals.items()}
        metrics = {k: _mean(k, totals[k].sum(), num_pairs.sum()) for k in self.keys}
        return Evaluation(
            metrics={k: float(value) for k, value in metrics.items()},
            per_client={k: _mean(k, totals[k], num_pairs).astype(np.float32) for k in self.keys},
            num_clients=int((num_pairs > 0).sum()),
            num_non_finite=int(found.is_bad.sum()),
        )


def _mean(
    name: str, total: npt.NDArray[np.float64] | np.float64, count: npt.NDArray[np.int32]
) -> npt.NDArray[np.float64]:
    """The mean, or its root; NaN where nothing was counted."""
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return np.sqrt(mean) if name == "rmse" else mean
