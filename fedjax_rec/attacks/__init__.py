"""Attacks on what a server sees, and an audit of what it was promised not to see.

Each attack is a pure function: what the attacker sees, what is public -> scores.
"""

from fedjax_rec.attacks.auc import area_under_curve, tpr_at_fpr
from fedjax_rec.attacks.canaries import (
    CanaryState,
    canaries_of,
    epsilon_lower_bound,
    with_canaries,
)
from fedjax_rec.attacks.interactions import interaction_membership
from fedjax_rec.attacks.membership import calibrated_loss, loss_threshold
from fedjax_rec.attacks.signs import svd_sign
from fedjax_rec.attacks.support import row_support

__all__ = [
    "CanaryState",
    "area_under_curve",
    "calibrated_loss",
    "canaries_of",
    "epsilon_lower_bound",
    "interaction_membership",
    "loss_threshold",
    "row_support",
    "svd_sign",
    "tpr_at_fpr",
    "with_canaries",
]
