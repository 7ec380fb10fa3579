"""Which people are evaluated, where a plan asks for some of them."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from fedjax_rec.base import Array
from fedjax_rec.data import FederatedData
from fedjax_rec.data.hashing import hash_users
from fedjax_rec.evaluation import HeldOutSet
from fedjax_rec.simulation.plans import EvaluationPlan

Ids = npt.NDArray[np.int64]


def settled(plan: EvaluationPlan, data: FederatedData) -> EvaluationPlan:
    """The plan with 0 in place of a number of people that is no fewer than there are.

    A plan that leaves nobody out is then equal to one that never spoke of numbers, in protocols
    too.
    """
    everybody = int(_have_items(data, plan).sum())
    clients = plan.clients if plan.clients < everybody else 0
    training = plan.training_clients if plan.training_clients < (clients or everybody) else 0
    seed = plan.clients_seed if clients or training else 0
    return replace(plan, clients=clients, training_clients=training, clients_seed=seed)


def asked_people(data: FederatedData, plan: EvaluationPlan) -> tuple[Ids, Ids]:
    """Ids of the people of the final evaluation, and of those of evaluations in training.

    They are the first by a hash of their raw id and the plan's seed, of those who hold out an
    item: whatever the order of the data, the same people, and fewer are some of more.
    """
    plan = settled(plan, data)
    holders = np.flatnonzero(_have_items(data, plan))
    order = holders[np.argsort(hash_users(data.split.train, plan.clients_seed)[holders])]
    final = order[: plan.clients or None]
    return final, final[: plan.training_clients or None]


def only(held_out: HeldOutSet, people: Ids, num_items: int) -> HeldOutSet:
    """What is asked of some people. Who has no held-out item is not scored at all."""
    num_clients = held_out.targets.shape[0]
    is_asked = jnp.zeros(num_clients, bool).at[jnp.asarray(people)].set(True)
    targets: Array = jnp.where(is_asked[:, None], held_out.targets, num_items)
    listed = held_out.is_listed
    return held_out._replace(
        targets=targets, is_listed=None if listed is None else jnp.asarray(listed) & is_asked
    )


def _have_items(data: FederatedData, plan: EvaluationPlan) -> npt.NDArray[np.bool_]:
    split = data.unseen[0] if plan.seen_items == "removed" else data.split
    items = np.concatenate([split.valid.items, split.test.items], axis=1)
    return np.asarray((items < data.num_items).any(axis=1))
