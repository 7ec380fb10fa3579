"""Naive JAX: vmap over clients that each hold the whole item table, padded to the largest.

What "just vmap and jit it" gives: every client of the cohort has its own copy of the table
and takes as many steps as the largest client of the whole population.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.serve import CannotError, serve
from benchmarks.problem import Problem

COPIES = 4.5  # tables a client: parameters, gradient and temporaries, as measured


class JaxDense:
    """One jitted round over a cohort."""

    def __init__(self, problem: Problem) -> None:
        """Pads everybody's positives to the largest client's."""
        settings = problem.settings
        if settings.workload not in ("W1", "W2"):
            raise CannotError("this form is written for matrix factorisation (W1, W2)")
        _refuse_what_does_not_fit(problem)
        self.problem = problem
        self.users = jnp.asarray(problem.users_start)
        self.items = jnp.asarray(problem.items_start)
        sizes = np.diff(problem.offsets)
        padded = np.full((problem.num_clients, sizes.max()), problem.num_items, np.int32)
        for client, size in enumerate(sizes):
            padded[client, :size] = problem.positives(client)
        self.positives, self.sizes = jnp.asarray(padded), jnp.asarray(sizes)
        self.round = jax.jit(self._round, donate_argnums=(0, 1))

    def compile(self, num_rounds: int) -> None:
        """One round on copies."""
        cohort, key = self.problem.cohort(0), jax.random.key(0)
        jax.block_until_ready(self.round(self.items.copy(), self.users.copy(), cohort, key))

    def run(self, first_round: int, num_rounds: int) -> None:
        """Rounds of federated averaging."""
        for round in range(first_round, first_round + num_rounds):
            key = jax.random.fold_in(jax.random.key(self.problem.settings.seed), round)
            cohort = self.problem.cohort(round)
            self.items, self.users = self.round(self.items, self.users, cohort, key)
        jax.block_until_ready((self.items, self.users))

    def _round(
        self, items: jax.Array, users: jax.Array, cohort: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        def one_client(key: jax.Array, client: jax.Array) -> tuple[jax.Array, jax.Array]:
            params = (items, users[client])
            for epoch_key in jax.random.split(key, self.problem.settings.epochs):
                params = self._epoch(params, epoch_key, client)
            return params

        local, new_users = jax.vmap(one_client)(jax.random.split(key, len(cohort)), cohort)
        return jnp.mean(local, axis=0), users.at[cohort].set(new_users)

    def _epoch(
        self, params: tuple[jax.Array, jax.Array], key: jax.Array, client: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        settings = self.problem.settings
        ids, labels, is_real = self._examples(key, client)
        short = -len(ids) % settings.batch_size
        batches = [
            jnp.pad(a, (0, short)).reshape(-1, settings.batch_size) for a in (ids, labels, is_real)
        ]

        def loss(params: tuple[jax.Array, jax.Array], batch: list[jax.Array]) -> jax.Array:
            ids, labels, is_real = batch
            scores = params[0][ids] @ params[1]
            losses = jax.nn.softplus(scores) - labels * scores
            return jnp.sum(losses * is_real) / jnp.maximum(jnp.sum(is_real), 1)

        def step(params: tuple[jax.Array, jax.Array], batch: list[jax.Array]) -> tuple:
            grads = jax.grad(loss)(params, batch)
            items = params[0] - settings.item_rate * grads[0]
            return (items, params[1] - settings.user_rate * grads[1]), ()

        params, _ = jax.lax.scan(step, params, batches)
        return params

    def _examples(
        self, key: jax.Array, client: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Positives and fresh negatives in random order, the real ones first."""
        settings = self.problem.settings
        positives, size = self.positives[client], self.sizes[client]
        most = len(positives)
        draw_key, order_key = jax.random.split(key)
        draws = jax.random.uniform(draw_key, (self.problem.num_items,))
        shuffled = jnp.argsort(draws.at[positives].set(jnp.inf))  # the positives come last
        place = jnp.arange(most * settings.negatives) % (self.problem.num_items - size)
        negatives = shuffled[place].reshape(most, -1)
        ids = jnp.concatenate([positives[:, None], negatives], axis=1)
        labels = jnp.zeros(ids.shape).at[:, 0].set(1)
        is_real = jnp.broadcast_to((jnp.arange(most) < size)[:, None], ids.shape)
        order = jnp.argsort(jax.random.uniform(order_key, (ids.size,)) + ~is_real.ravel())
        ids = jnp.where(is_real, ids, 0)
        return ids.ravel()[order], labels.ravel()[order], is_real.ravel()[order].astype(jnp.float32)

    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """The two factors."""
        return {"users": np.asarray(self.users), "items": np.asarray(self.items)}


def _refuse_what_does_not_fit(problem: Problem) -> None:
    needed = problem.settings.clients * problem.items_start.nbytes * COPIES
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > 0.8 * memory:
        raise CannotError(
            f"needs about {needed / 2**30:.0f} GiB for a table a client; "
            f"this machine has {memory / 2**30:.0f} GiB"
        )


if __name__ == "__main__":
    serve(JaxDense, "jax", "numpy")
