"""Was a client in training? Its loss under the released model tells, more or less."""

import numpy as np
import numpy.typing as npt


def loss_threshold(losses: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Whoever the model fits well is taken for a member.

    `score_u = -loss_u`.

    Args:
      losses: `[n]` of the clients' own data under the released model, as
        `simulation.uploads.client_losses` finds them.

    Returns:
      `[n]` scores, higher for likelier members.

    Reference:
      Yeom et al. (2018), "Privacy risk in machine learning", adversary 1. Difference: the unit
      is a client with all its data, not an example.

    >>> loss_threshold([0.2, 0.7]).tolist()
    [-0.2, -0.7]
    """
    return -np.asarray(losses, np.float64)


def calibrated_loss(
    losses: npt.ArrayLike, reference_losses: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """Who is fitted better than models without it would is taken for a member.

    `score_u = mean_k loss_u(reference k) - loss_u`. Some clients are easy for every model, and
    a threshold on the loss alone takes them for members.

    Args:
      losses: `[n]` under the released model.
      reference_losses: `[K, n]` under models that were trained without these clients; a model
        that was not trained at all is one.

    Returns:
      `[n]` scores, higher for likelier members.

    Reference:
      Watson et al. (2022), "On the importance of difficulty calibration in membership inference
      attacks", equation 3. Difference: clients in place of examples.

    >>> calibrated_loss([0.2, 0.7], [[0.3, 0.9], [0.3, 0.9]]).round(2).tolist()
    [0.1, 0.2]
    """
    reference = np.asarray(reference_losses, np.float64)
    if reference.ndim != 2:
        raise ValueError(f"reference_losses must be [K, n], got {reference.shape}")
    scores: npt.NDArray[np.float64] = reference.mean(axis=0) - np.asarray(losses, np.float64)
    return scores
