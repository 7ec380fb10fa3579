"""FedJAX: its `for_each_client` on the jit backend, one client at a time.

The three functions of a FedJAX client, a whole local table in the client's state, batches
padded to one size as FedJAX's own data sets pad them. The pmap backend is slower on a CPU.
"""

from collections.abc import Iterator

import fedjax
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.serve import CannotError, serve
from benchmarks.problem import Problem


class FedJAX:
    """Federated averaging on `fedjax.for_each_client`."""

    def __init__(self, problem: Problem) -> None:
        """Defines the client's functions."""
        settings = problem.settings
        if settings.workload not in ("W1", "W2"):
            raise CannotError("this form is written for matrix factorisation (W1, W2)")
        self.problem = problem
        self.users = problem.users_start.copy()
        self.items = jnp.asarray(problem.items_start)

        def loss(params: dict, batch: dict) -> jax.Array:
            scores = params["items"][batch["ids"]] @ params["user"]
            losses = jax.nn.softplus(scores) - batch["labels"] * scores
            return jnp.sum(losses * batch["mask"]) / jnp.sum(batch["mask"])

        def client_init(items: jax.Array, user: jax.Array) -> dict:
            return {"items": items, "user": user}

        def client_step(params: dict, batch: dict) -> tuple[dict, tuple]:
            grads = jax.grad(loss)(params, batch)
            rates = {"items": settings.item_rate, "user": settings.user_rate}
            return jax.tree_util.tree_map(lambda p, g, r: p - r * g, params, grads, rates), ()

        def client_final(items: jax.Array, params: dict) -> dict:
            return {"change": params["items"] - items, "user": params["user"]}

        self.for_each_client = fedjax.get_for_each_client_backend()(
            client_init, client_step, client_final
        )
        self.add = jax.jit(jnp.add, donate_argnums=0)

    def compile(self, num_rounds: int) -> None:
        """One client, whose result is thrown away."""
        rng = self.problem.generator(0)
        clients = [(0, self._batches(rng, 0), self.users[0])]
        for _, output, _ in self.for_each_client(self.items, clients):
            jax.block_until_ready(self.add(jnp.zeros_like(self.items), output["change"]))

    def run(self, first_round: int, num_rounds: int) -> None:
        """Rounds of federated averaging."""
        for round in range(first_round, first_round + num_rounds):
            cohort = self.problem.cohort(round)
            rng = self.problem.generator(round)
            clients = ((c, self._batches(rng, c), self.users[c]) for c in cohort)
            total, users = jnp.zeros_like(self.items), []
            for _, output, _ in self.for_each_client(self.items, clients):
                total = self.add(total, output["change"])
                users.append(output["user"])
            self.items = self.items + total / len(cohort)
            self.users[cohort] = jax.device_get(users)
        self.items.block_until_ready()

    def _batches(self, rng: np.random.Generator, client: int) -> Iterator[dict]:
        """Batches of one client, padded to the batch size."""
        size = self.problem.settings.batch_size
        for ids, labels in self.problem.batches(rng, client):
            short = size - len(ids)
            yield {
                "ids": np.pad(ids.astype(np.int32), (0, short)),
                "labels": np.pad(labels, (0, short)),
                "mask": np.pad(np.ones(len(ids), np.float32), (0, short)),
            }

    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """The two factors."""
        return {"users": self.users, "items": np.asarray(self.items)}


if __name__ == "__main__":
    serve(FedJAX, "fedjax", "jax", "numpy")
