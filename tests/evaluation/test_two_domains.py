"""With two domains, items of the target are ranked among each other and no others."""

import jax
import numpy as np

from fedjax_rec.algorithms import fedcmf
from fedjax_rec.base import Fixed
from fedjax_rec.data import FederatedData
from fedjax_rec.data.toys import toy_domains
from fedjax_rec.evaluation import top_k
from fedjax_rec.simulation import EvaluationPlan, Execution, Result, evaluate, simulate


def trained(data: FederatedData) -> tuple[object, Result]:
    clients = data.clients
    algorithm = fedcmf(clients.num_items, num_other=clients.num_other, dim=4, bridge="linear")
    plan, execution = EvaluationPlan(at_k=(10,)), Execution(num_devices=1)
    return algorithm, simulate(
        algorithm, data, key=jax.random.key(0), rounds=1, evaluation=plan, execution=execution
    )


def test_ranks_are_those_among_the_targets_catalogue() -> None:
    data = toy_domains()
    algorithm, result = trained(data)
    num_target, split = data.num_items, data.split
    assert data.clients.num_items > num_target == result.summary["num_items"]
    scores = np.asarray(result.clients.private.dense @ result.state.shared.rows["item"].T)
    found = evaluate(algorithm, data, result, EvaluationPlan(at_k=(10,)))["test"]  # type: ignore[arg-type]
    for client in range(data.num_clients):
        target, valid = split.test.items[client, 0], split.valid.items[client, 0]
        own = split.train.items[split.train.users == client]
        rivals = np.setdiff1d(np.arange(num_target), [*own, valid, target])
        ahead = int((scores[client, rivals] >= scores[client, target]).sum())
        assert found.ranks[client, 0] == 1 + ahead

    fixed = Fixed(result.frozen, data.clients)
    items, _ = top_k(algorithm, result.state, result.clients, fixed, 3, k=num_target + 5)  # type: ignore[arg-type]
    assert sorted(items.tolist()) == list(range(num_target))


def test_sampled_candidates_come_from_the_targets_catalogue() -> None:
    data = toy_domains()
    algorithm, result = trained(data)
    plan = EvaluationPlan(at_k=(10,), candidates="uni99")
    found = evaluate(algorithm, data, result, plan)["test"]  # type: ignore[arg-type]
    assert found.num_clients == data.num_clients
    assert (found.ranks <= 100).all()
