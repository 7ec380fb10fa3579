"""Interaction-level membership: items that move as those of a client made up by the attacker."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from fedjax_rec.attacks.support import row_support
from fedjax_rec.base import Array, Key, PyTree


def interaction_membership(
    key: Key,
    rows: PyTree,
    train: Callable[[Key, Array], PyTree],
    *,
    share: float = 0.2,
    num_guesses: int = 20,
    kept: float = 0.5,
) -> Array:
    """Which of the items in one client's upload it likes, by clients made up with guessed labels.

    In guess k the attacker labels the items that moved, `y_i` in {0, 1}, trains a shadow client
    with them from the public model, and compares how the rows moved:
    `score_i = sum_k (2 y_i^k - 1) cos(delta V_i, delta V'_i^k)`. Where a label is right the row
    moves as it did in the upload. An item keeps with probability `kept` what the scores say so
    far (the best `share` are taken for liked); else it is liked by a coin of chance `share`.

    Args:
      key: of the guesses.
      rows: what the server sees: one client's change of one table, leaves `[S, ...]`. Rows of
        zeros, padding included, are no candidates.
      train: `(key, labels) -> rows`: the change that a client with these labels `[S]` would
        send, as the attacker finds it; labels of rows that are no candidates are -1.
      share: of the candidates that a client likes, known from its number of negatives, in
        (0, 1).
      num_guesses: at least 1.
      kept: in [0, 1).

    Returns:
      `[S]` scores, higher for likelier positives; 0 for rows that did not move.

    Raises:
      ValueError: a number is out of range.

    Reference:
      Yuan et al. (2023), "Interaction-level membership inference attack against federated
      recommender systems", section 4. Differences: changes are compared by their cosine, so
      that the shadow's optimizer may be another; scores add up over all guesses, where the
      paper fixes labels one after the other.

    >>> upload = jnp.array([[1.0, 0.1], [-1.0, 0.1], [-1.0, 0.0], [0.0, 0.0]])
    >>> shadow = lambda key, labels: (2 * labels[:, None] - 1) * jnp.array([2.0, 0.0])
    >>> scores = interaction_membership(jax.random.key(0), upload, shadow, share=0.4)
    >>> (scores > 0).tolist()
    [True, False, False, False]
    """
    _refuse_numbers(share, num_guesses, kept)
    is_candidate = row_support(rows) > 0
    num_liked = jnp.round(share * jnp.sum(is_candidate)).astype(jnp.int32)

    def guess(number: Array, scores: Array) -> Array:
        of_coins, of_keeping, of_training = jax.random.split(jax.random.fold_in(key, number), 3)
        coins = jax.random.bernoulli(of_coins, share, scores.shape)
        is_kept = jax.random.bernoulli(of_keeping, kept, scores.shape) & (number > 0)
        rank = jnp.argsort(jnp.argsort(jnp.where(is_candidate, -scores, jnp.inf)))
        liked = jnp.where(is_kept, rank < num_liked, coins).astype(jnp.float32)
        shadow = train(of_training, jnp.where(is_candidate, liked, -1.0))
        evidence = (2 * liked - 1) * _cosine(_flat(rows), _flat(shadow))
        return scores + jnp.where(is_candidate, evidence, 0.0)

    scores: Array = jax.lax.fori_loop(0, num_guesses, guess, jnp.zeros(is_candidate.shape))
    return scores


def _flat(rows: PyTree) -> Array:
    """`[S, D]` of leaves `[S, ...]`, each row of norm 1; zeros stay."""
    leaves = jax.tree.leaves(rows)
    flat = jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)
    scale = jnp.max(jnp.abs(flat), axis=1, keepdims=True)
    flat = flat / jnp.where(scale > 0, scale, 1.0)
    size = jnp.sqrt(jnp.sum(jnp.square(flat), axis=1, keepdims=True))
    return flat / jnp.where(size > 0, size, 1.0)


def _cosine(first: Array, second: Array) -> Array:
    """`[S]` of rows of norm 1."""
    return jnp.sum(first * second, axis=1)


def _refuse_numbers(share: float, num_guesses: int, kept: float) -> None:
    if not 0 < share < 1:
        raise ValueError(f"share must be between 0 and 1, got {share}")
    if num_guesses < 1:
        raise ValueError(f"num_guesses must be at least 1, got {num_guesses}")
    if not 0 <= kept < 1:
        raise ValueError(f"kept must be at least 0 and below 1, got {kept}")
