"""fedjax_rec itself, run as `simulate` runs it: compiled stretches, donated state.

`general` forces the general executor; `autodiff` takes a loss written here and a model
without an analytic gradient, as a user's own would be.
"""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

import fedjax_rec
from benchmarks.peers.serve import CannotError, serve
from benchmarks.problem import Problem
from fedjax_rec.base import FederatedAlgorithm, Fixed, Part, Private, Sampled, Sampler
from fedjax_rec.clients import by_role, local_training
from fedjax_rec.data import HeldOut, Interactions, Split, client_data
from fedjax_rec.objectives import sampled
from fedjax_rec.optimizers import named_optimizer
from fedjax_rec.simulation.rounds import Programs, draw_cohorts, host_seed
from fedjax_rec.transforms import mean


def user_written_loss(scores: jax.Array, examples: Sampled) -> tuple[jax.Array, jax.Array]:
    """Binary cross-entropy as anybody would write it."""
    losses = jax.nn.softplus(scores) - examples.label * scores
    return losses, examples.is_valid.astype(jnp.float32)


def algorithm_of(problem: Problem, variant: str) -> FederatedAlgorithm:
    """FedMF with the workload's numbers."""
    settings = problem.settings
    algorithm = fedjax_rec.fedmf(
        problem.num_items,
        dim=settings.dim,
        num_negatives=settings.negatives,
        batch_size=settings.batch_size,
        local_epochs=settings.epochs,
        user_learning_rate=settings.user_rate,
        item_learning_rate=settings.item_rate,
        aggregate=mean("client"),
    )
    if variant != "autodiff":
        return algorithm
    model = dataclasses.replace(algorithm.model, score_vjp=None)
    sampler = Sampler(problem.num_items, settings.negatives, settings.epochs, settings.batch_size)
    objective = sampled(sampler, user_written_loss)
    optimizer = by_role(
        shared=named_optimizer("sgd", settings.item_rate),
        private=named_optimizer("sgd", settings.user_rate),
    )
    client_update = local_training(model, objective, optimizer)
    return dataclasses.replace(
        algorithm, model=model, objective=objective, client_update=client_update
    )


class Ours:
    """The loop of `simulate`, from the common initial state."""

    def __init__(self, problem: Problem) -> None:
        """Builds the engine and puts data and state on the device."""
        settings = problem.settings
        if settings.workload not in ("W1", "W2"):
            raise CannotError(f"{settings.workload} is not written yet")
        variant = sys.argv[2] if len(sys.argv) > 2 else ""
        options = {"executor": "general"} if variant == "general" else {}
        execution = fedjax_rec.Execution(**options)
        engine = fedjax_rec.build(algorithm_of(problem, variant), execution)
        self.programs = Programs(engine, execution)
        self.key = jax.random.key(settings.seed)
        init = jax.jit(engine.init, static_argnums=1)
        state, clients, frozen = init(self.key, problem.num_clients)
        shared = Part({"item": jnp.asarray(problem.items_start)}, ())
        self.state = state._replace(shared=shared)
        self.clients = clients._replace(private=Private({}, jnp.asarray(problem.users_start)))
        self.fixed = Fixed(frozen, client_data(_split(problem)))
        if settings.clients == problem.num_clients:
            self.sampler = fedjax_rec.AllClients(problem.num_clients)
        else:
            self.sampler = fedjax_rec.Uniform(problem.num_clients, settings.clients)

    def compile(self, num_rounds: int) -> None:
        """The program of a stretch."""
        self.programs.get(self.state, self.clients, self._cohorts(0, num_rounds), self.fixed)

    def run(self, first_round: int, num_rounds: int) -> None:
        """One stretch between evaluations."""
        cohorts = self._cohorts(first_round, num_rounds)
        program = self.programs.get(self.state, self.clients, cohorts, self.fixed)
        self.state, self.clients, info = program(self.state, self.clients, cohorts, self.fixed)
        jax.device_get(info)
        jax.block_until_ready((self.state.shared, self.clients))

    def _cohorts(self, first_round: int, num_rounds: int) -> fedjax_rec.base.Cohort:
        end = first_round + num_rounds
        return draw_cohorts(self.sampler, host_seed(self.key), first_round, end)

    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """The two factors."""
        return {
            "users": np.asarray(self.clients.private.dense),
            "items": np.asarray(self.state.shared.rows["item"]),
        }


def _split(problem: Problem) -> Split:
    """The positives as a split of the package's own kind."""
    num_events = len(problem.items)
    users = np.repeat(np.arange(problem.num_clients), np.diff(problem.offsets))
    train = Interactions(
        users=users.astype(np.int32),
        items=problem.items.astype(np.int32),
        values=np.ones(num_events, np.float32),
        times=np.zeros(num_events, np.int64),
        user_labels=np.arange(problem.num_clients).astype(str),
        item_labels=np.arange(problem.num_items).astype(str),
        item_titles=None,
        name=problem.settings.data,
    )
    held = np.where(problem.test < 0, problem.num_items, problem.test).astype(np.int32)[:, None]
    nothing = np.full_like(held, problem.num_items)
    return Split(train, HeldOut(nothing), HeldOut(held), "none", "hash", 0)


if __name__ == "__main__":
    if hasattr(fedjax_rec, "configure_cpu"):
        fedjax_rec.configure_cpu()
    serve(Ours, "jax", "numpy")
