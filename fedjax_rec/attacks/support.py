"""Row support: a client that sends item rows tells which items it touched."""

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array, PyTree


def row_support(rows: PyTree) -> Array:
    """How much each item's row moved in one client's upload.

    `score_j = ||delta V_j||_2`, over all leaves of a table.

    Args:
      rows: what the server sees: one client's change of one table, leaves `[S, ...]`, the
        whole table or the rows that were sent.

    Returns:
      `[S]` scores, higher for what the client touched: its items and its sampled negatives.

    Reference:
      Chai et al. (2020), "Secure federated matrix factorization", section 4, gives the reason
      to send whole tables and to encrypt them; the norm is the plainest form of it.

    >>> row_support({"v": jnp.array([[3.0, 4.0], [0.0, 0.0]])}).tolist()
    [5.0, 0.0]
    """
    squares = [
        jnp.sum(jnp.square(leaf.reshape(leaf.shape[0], -1)), axis=1)
        for leaf in jax.tree.leaves(rows)
    ]
    return jnp.sqrt(jnp.sum(jnp.stack(squares), axis=0))
