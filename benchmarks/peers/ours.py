"""fedjax_rec itself, run as `simulate` runs it: compiled stretches, donated state.

`general` forces the general executor, `one-device` leaves the other cores alone; `autodiff` takes
a loss written here and a model without an analytic gradient, as a user's own would be. `private`
clips every client's update and adds noise to their sum; `general-private` in the general executor.
"""

import dataclasses
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

import fedjax_rec
from benchmarks.peers.ours_dense import dense_of, named_dense
from benchmarks.peers.serve import CannotError, serve
from benchmarks.problem import Problem
from fedjax_rec.base import FederatedAlgorithm, Fixed, Part, Private, Sampled, Sampler
from fedjax_rec.clients import by_role, local_training
from fedjax_rec.cpu import pin_threads
from fedjax_rec.data import HeldOut, Interactions, Split, client_data
from fedjax_rec.models import matrix_factorization, ncf, sasrec
from fedjax_rec.objectives import binary_cross_entropy, next_item, sampled
from fedjax_rec.optimizers import named_optimizer
from fedjax_rec.simulation.devices import Placement
from fedjax_rec.simulation.programs import Shared
from fedjax_rec.simulation.rounds import draw_cohorts, host_seed
from fedjax_rec.transforms import chain, clip_by_norm, gaussian_noise, mean


def user_written_loss(scores: jax.Array, examples: Sampled) -> tuple[jax.Array, jax.Array]:
    """Binary cross-entropy as anybody would write it."""
    losses = jax.nn.softplus(scores) - examples.label * scores
    return losses, examples.is_valid.astype(jnp.float32)


def algorithm_of(problem: Problem, variant: str) -> FederatedAlgorithm:
    """The workload's algorithm, of the package's own parts."""
    settings = problem.settings
    if settings.workload == "W4":
        return _sequential(problem)
    if settings.workload == "W3":
        model = ncf(problem.num_items, settings.dim)
    else:
        model = matrix_factorization(problem.num_items, settings.dim)
    if variant == "autodiff":
        model = dataclasses.replace(model, score_vjp=None)
    sampler = Sampler(problem.num_items, settings.negatives, settings.epochs, settings.batch_size)
    loss = user_written_loss if variant == "autodiff" else binary_cross_entropy
    objective = sampled(sampler, loss)
    optimizer = by_role(
        shared=named_optimizer("sgd", settings.item_rate),
        private=named_optimizer("sgd", settings.user_rate),
    )
    client_update = local_training(model, objective, optimizer)
    aggregate = mean(settings.mean_by)
    if "private" in variant:
        public = mean("client", divisor=float(settings.clients))
        aggregate = chain(clip_by_norm(1.0), public, gaussian_noise(1.0))
    return fedjax_rec.fedavg(model, objective, client_update, aggregate)


def _sequential(problem: Problem) -> FederatedAlgorithm:
    """SASRec with the softmax of the whole catalogue, each client's change clipped."""
    settings = problem.settings
    model = sasrec(problem.num_items, settings.dim, num_heads=2)
    objective = next_item(problem.num_items, local_epochs=settings.epochs)
    client_update = local_training(model, objective, named_optimizer("sgd", settings.item_rate))
    aggregate = chain(clip_by_norm(settings.clip), mean("client"))
    return fedjax_rec.fedavg(model, objective, client_update, aggregate)


class Ours:
    """The loop of `simulate`, from the common initial state."""

    def __init__(self, problem: Problem) -> None:
        """Builds the engine and puts data and state on the device."""
        settings = problem.settings
        variant = sys.argv[2] if len(sys.argv) > 2 else ""
        if variant == "autodiff" and settings.workload in ("W3", "W4"):
            raise CannotError("the same as ours: this model has no analytic gradient")
        options = {"executor": "general"} if "general" in variant else {}
        asked = fedjax_rec.Execution(num_devices=1 if variant == "one-device" else 0)
        placement = Placement.of(asked, problem.num_clients)
        execution = fedjax_rec.Execution(num_devices=placement.num_devices, **options)
        algorithm = algorithm_of(problem, variant)
        engine = fedjax_rec.build(algorithm, execution)
        self.execution, self.programs = execution, Shared(algorithm)
        self.key = jax.random.key(settings.seed)
        init = jax.jit(engine.init, static_argnums=1)
        state, clients, frozen = init(self.key, problem.num_clients)
        dense = dense_of(problem, jnp.asarray)
        shared = Part({"item": jnp.asarray(problem.items_start)}, dense)
        self.placement = placement
        self.state = placement.everywhere(state._replace(shared=shared))
        if settings.workload != "W4":
            private = Private({}, jnp.asarray(problem.users_start))
            clients = clients._replace(private=private)
        self.clients = placement.spread(clients)
        self.workload = settings.workload
        self.fixed = placement.spread_fixed(Fixed(frozen, client_data(_split(problem))))
        if settings.clients == problem.num_clients:
            self.sampler = fedjax_rec.AllClients(problem.num_clients)
        else:
            self.sampler = fedjax_rec.Uniform(problem.num_clients, settings.clients)

    def compile(self, num_rounds: int) -> None:
        """The program of a stretch."""
        self._program(self._cohorts(0, num_rounds))

    def run(self, first_round: int, num_rounds: int) -> None:
        """One stretch between evaluations."""
        cohorts = self._cohorts(first_round, num_rounds)
        program = self._program(cohorts)
        self.state, self.clients, info = program(self.state, self.clients, cohorts, self.fixed)
        jax.device_get(info)
        jax.block_until_ready((self.state.shared, self.clients))
        pin_threads()

    def _program(self, cohorts: fedjax_rec.base.Cohort) -> Any:
        return self.programs.rounds(self.execution, self.state, self.clients, cohorts, self.fixed)

    def _cohorts(self, first_round: int, num_rounds: int) -> fedjax_rec.base.Cohort:
        end = first_round + num_rounds
        everyone = np.arange(self.sampler.event.num_clients, dtype=np.int32)
        cohorts = draw_cohorts(self.sampler, host_seed(self.key), first_round, end, everyone)
        return self.placement.everywhere(cohorts)

    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """All of the model, under the names of the problem."""
        shared = jax.device_get(self.state.shared)
        found = {"items": shared.rows["item"], **named_dense(self.workload, shared.dense)}
        if self.workload != "W4":
            found["users"] = np.asarray(self.placement.collect(self.clients).private.dense)
        return found


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
    fedjax_rec.configure_cpu()
    serve(Ours, "jax", "numpy")
