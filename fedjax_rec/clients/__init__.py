"""How one client trains."""

from fedjax_rec.clients.local import by_role, local_training, masked_loop, trained_view

__all__ = ["by_role", "local_training", "masked_loop", "trained_view"]
