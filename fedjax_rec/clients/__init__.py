"""How one client trains."""

from fedjax_rec.clients.gradients import loss_gradients
from fedjax_rec.clients.local import (
    by_role,
    local_training,
    masked_loop,
    shapes_of_parameters,
    trained_view,
)

__all__ = [
    "by_role",
    "local_training",
    "loss_gradients",
    "masked_loop",
    "shapes_of_parameters",
    "trained_view",
]
