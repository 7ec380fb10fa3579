"""Federated LoRA by products: the server sees each client's factors, and averages `a b`.

Singhal et al. (2025), "FedEx-LoRA: exact aggregation for federated and efficient fine-tuning of
foundation models"; Bai et al. (2024), "Federated fine-tuning of large language models under
heterogeneous tasks and client resources" (FlexLoRA).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from fedjax_rec.algorithms.fedavg import fedavg
from fedjax_rec.base import (
    AggregateTransform,
    Array,
    Cohort,
    Entry,
    FederatedAlgorithm,
    Key,
    Message,
    Model,
    Objective,
    Part,
    PyTree,
    RowIds,
    ServerState,
    ServerUpdate,
    parametric,
)
from fedjax_rec.clients import local_training
from fedjax_rec.models import lora
from fedjax_rec.models.lora import RESIDUAL, factor_pairs
from fedjax_rec.models.nested import leaves_of, nested, with_leaves
from fedjax_rec.tree import take

Pairs = Mapping[tuple[str, ...], tuple[Array, Array]]
By = Literal["client", "example"]
HIGHEST = jax.lax.Precision.HIGHEST


@parametric
def fedexlora(
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    paths: str = "query,value",
    rank: int = 4,
    alpha: float = 16.0,
    trained: str = "",
    by: By = "client",
) -> FederatedAlgorithm:
    """Federated LoRA with the exact mean of products (FedEx-LoRA).

    Factors are averaged; what the product of means lacks is added to the frozen kernel:

    `R <- R + alpha / r (sum_k p_k a_k b_k - (sum_k p_k a_k)(sum_k p_k b_k))`, `W = W_0 + R`.

    R is the server's state and sent to all: as large as the adapted kernels, in bytes and in a
    checkpoint.

    Args:
      model, objective, optimizer, paths, rank, alpha, trained: those of `fedlora`.
      by: what counts once, a `client` or an `example`.

    Returns:
      The algorithm's filled slots. Its rule is no sum over clients, so that it takes no
      aggregate, and no noise for privacy.

    Raises:
      ValueError: see `models.lora`, or an unknown `by`.

    Reference:
      Singhal et al. (2025), equations 5 to 8. Difference: clients may count by examples.

    >>> from fedjax_rec.recommenders import recommender
    >>> fedexlora(*recommender(50, model="sasrec", dim=8), rank=2).aggregate.is_stacked
    True
    """
    adapted = lora(model, paths, rank, alpha=alpha, trained=trained)
    scale = alpha / rank

    def add(state: ServerState, stack: Message, cohort: Cohort) -> ServerState:
        shares = shares_of(stack.weight, by)
        shared = moved_by_mean(state.shared, stack.update, shares)
        exact = mean_products(clients_pairs(state.shared, stack.update), shares)
        residuals = leaves_of(state.extra.dense)
        for place, (a, b) in factor_pairs(shared.dense).items():
            gap = exact[place] - jnp.matmul(a, b, precision=HIGHEST)
            residuals[*place, RESIDUAL] += jnp.where(jnp.any(shares > 0), scale * gap, 0)
        return state._replace(shared=shared, extra=Part({}, nested(residuals)))

    def init_extra(key: Key, shared: Part) -> Part:
        return Part(
            {},
            nested(
                {
                    (*place, RESIDUAL): jnp.zeros((*a.shape[:-1], b.shape[-1]))
                    for place, (a, b) in factor_pairs(shared.dense).items()
                }
            ),
        )

    return _by_products(adapted, objective, optimizer, by, add, init_extra=init_extra)


@parametric
def flexlora(
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    paths: str = "query,value",
    rank: int = 4,
    ranks: str = "",
    alpha: float = 16.0,
    trained: str = "",
    by: By = "client",
) -> FederatedAlgorithm:
    """Federated LoRA whose server keeps the best factors of the mean of products (FlexLoRA).

    `U S V^T = sum_k p_k a_k b_k`; the server's factors are `a = U_r` and `b = S_r V_r^T`, the
    first r of each. Client k receives and trains the first r_k of them.

    Args:
      model, objective, optimizer, paths, alpha, trained: those of `fedlora`; factors count
        alpha / rank times for all clients.
      rank: r of the server, at least 1.
      ranks: r_k of clients in turn by their number, joined by commas, each 1 to `rank`;
        empty: `rank` for all.
      by: what counts once, a `client` or an `example`.

    Returns:
      The algorithm's filled slots; bytes are counted by a client's own rank. Its rule is no sum
      over clients, so that it takes no aggregate, and no noise for privacy.

    Raises:
      ValueError: see `models.lora`, an unknown `by`, or a rank out of range.

    Reference:
      Bai et al. (2024), section 3.2. Difference: all of S goes to b, so that columns that the mean
      does not need can still be trained.

    >>> from fedjax_rec.recommenders import recommender
    >>> parts = recommender(50, model="sasrec", dim=8)
    >>> flexlora(*parts, rank=4, ranks="1,2,4").sent is None
    False
    """
    adapted = lora(model, paths, rank, alpha=alpha, trained=trained)
    own_ranks = _ranks(ranks, rank)

    def rank_of(client_id: Array) -> Array:
        return own_ranks[client_id % own_ranks.size]

    def broadcast(state: ServerState, entry: Entry, row_ids: RowIds) -> tuple[Part, Part]:
        shared = _cut(state.shared, rank_of(entry.client_id), rank)
        return take(shared, row_ids), take(state.extra, row_ids)

    def add(state: ServerState, stack: Message, cohort: Cohort) -> ServerState:
        shares = shares_of(stack.weight, by)
        starts = jax.vmap(lambda r: _cut(state.shared, r, rank))(rank_of(cohort.client_id))
        exact = mean_products(clients_pairs(starts, stack.update), shares)
        shared = moved_by_mean(state.shared, stack.update, shares)
        best = {place: truncated(product, rank) for place, product in exact.items()}
        is_any = jnp.any(shares > 0)
        kept = {
            (*place, name): jnp.where(is_any, new, old)
            for place, olds in factor_pairs(state.shared.dense).items()
            for name, new, old in zip("ab", best[place], olds, strict=True)
        }
        return state._replace(shared=shared._replace(dense=with_leaves(shared.dense, kept)))

    def sent(state: ServerState, entry: Entry) -> tuple[Array, Array]:
        """Its own columns of each factor, and all else that is shared."""
        columns = sum(
            (a.size + b.size) / rank * a.dtype.itemsize
            for a, b in factor_pairs(state.shared.dense).values()
        )
        whole = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state.shared))
        bytes_sent = whole - (rank - rank_of(entry.client_id)) * columns
        return bytes_sent, bytes_sent

    algorithm = _by_products(adapted, objective, optimizer, by, add)
    return replace(algorithm, broadcast=broadcast, sent=sent)


def _by_products(
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    by: str,
    add: Callable[[ServerState, Message, Cohort], ServerState],
    **slots: Any,
) -> FederatedAlgorithm:
    if by not in ("client", "example"):
        raise ValueError(f"by must be client or example, got {by!r}")
    averaging = fedavg(model, objective, local_training(model, objective, optimizer))
    return replace(
        averaging,
        aggregate=AggregateTransform(is_stacked=True),
        server_update=ServerUpdate(lambda shared: (), add, takes_changes=True),
        **slots,
    )


def _ranks(ranks: str, rank: int) -> Array:
    words = [word.strip() for word in ranks.split(",") if word.strip()] or [str(rank)]
    if not all(word.isdecimal() and 1 <= int(word) <= rank for word in words):
        raise ValueError(f"ranks must be numbers from 1 to {rank} joined by commas, got {ranks!r}")
    return jnp.array([int(word) for word in words])


def _cut(shared: Part, client_rank: Array, rank: int) -> Part:
    """The shared part with the factors' columns past a client's rank at zero, where they stay."""
    is_kept = jnp.arange(rank) < client_rank
    cut = {}
    for place, (a, b) in factor_pairs(shared.dense).items():
        cut[*place, "a"] = jnp.where(is_kept, a, 0)
        cut[*place, "b"] = jnp.where(is_kept[:, None], b, 0)
    return shared._replace(dense=with_leaves(shared.dense, cut))


def shares_of(weight: Array, by: str) -> Array:
    """`[C]` p_k of the messages' weights; 0 of who sent nothing."""
    counted = weight if by == "example" else (weight > 0).astype(weight.dtype)
    return counted / jnp.maximum(jnp.sum(counted), jnp.finfo(weight.dtype).tiny)


def moved_by_mean(shared: Part, stack: Part, shares: Array) -> Part:
    """`w + sum_k p_k Delta_k`, leaf by leaf."""

    def add(leaf: Array, changes: Array) -> Array:
        return leaf + jnp.tensordot(shares, changes, 1, precision=HIGHEST)

    moved: Part = jax.tree.map(add, shared, stack)
    return moved


def clients_pairs(start: Part, stack: Part) -> Pairs:
    """Place -> the factors of all clients, from where they started, together or each."""
    now: PyTree = jax.tree.map(jnp.add, start.dense, stack.dense)
    return factor_pairs(now)


def mean_products(pairs: Pairs, shares: Array) -> dict[tuple[str, ...], Array]:
    """Place -> `sum_k p_k a_k b_k`.

    >>> a, b = jnp.array([[[1.0]], [[3.0]]]), jnp.array([[[2.0]], [[4.0]]])
    >>> mean_products({("q",): (a, b)}, jnp.array([0.5, 0.5]))["q",].tolist()
    [[7.0]]
    """
    return {
        place: jnp.einsum("k,k...dr,k...re->...de", shares, a, b, precision=HIGHEST)
        for place, (a, b) in pairs.items()
    }


def truncated(product: Array, rank: int) -> tuple[Array, Array]:
    """The best factors of a rank of a matrix, or of each of a stack: `U_r` and `S_r V_r^T`."""
    u, s, vt = jnp.linalg.svd(product, full_matrices=False)
    return u[..., :rank], s[..., :rank, None] * vt[..., :rank, :]


def product_norm(a: Array, b: Array) -> Array:
    """`|a b|_F` by the traces of two r x r matrices: `sqrt(trace((a^T a)(b b^T)))`.

    >>> float(product_norm(jnp.array([[3.0], [4.0]]), jnp.array([[2.0, 0.0]])))
    10.0
    """
    left = jnp.einsum("...dr,...ds->...rs", a, a, precision=HIGHEST)
    right = jnp.einsum("...re,...se->...rs", b, b, precision=HIGHEST)
    return jnp.sqrt(jnp.maximum(jnp.sum(left * right), 0))


def product_error(pairs: Pairs, shares: Array) -> dict[tuple[str, ...], Array]:
    """Place -> `|mean(a) mean(b) - mean(a b)|_F / |mean(a b)|_F`: what FedIT is wrong by."""
    exact = mean_products(pairs, shares)
    errors = {}
    for place, both in pairs.items():
        a, b = (jnp.tensordot(shares, one, 1, precision=HIGHEST) for one in both)
        gap = jnp.matmul(a, b, precision=HIGHEST) - exact[place]
        size = jnp.sqrt(jnp.sum(exact[place] ** 2))
        errors[place] = jnp.sqrt(jnp.sum(gap**2)) / jnp.maximum(size, jnp.finfo(size.dtype).tiny)
    return errors
