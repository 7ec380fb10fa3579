"""How one client trains."""

from fedjax_rec.clients.gradients import loss_gradients
from fedjax_rec.clients.local import (
    by_role,
    local_training,
    masked_loop,
    shapes_of_parameters,
    trained_view,
)
from fedjax_rec.clients.own_copies import own_copies
from fedjax_rec.clients.solve import solve_positive_definite

__all__ = [
    "by_role",
    "local_training",
    "loss_gradients",
    "masked_loop",
    "own_copies",
    "shapes_of_parameters",
    "solve_positive_definite",
    "trained_view",
]
