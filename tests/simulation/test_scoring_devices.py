"""Evaluation over the devices of one host equals that of one device.

They are in a child process: XLA is told their number before it starts.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from fedjax_rec import simulation
from fedjax_rec.algorithms import fedmf
from fedjax_rec.base import ClientUpdate, Fixed, Private
from fedjax_rec.baselines import popularity
from fedjax_rec.data import load
from fedjax_rec.models import sasrec
from fedjax_rec.simulation import EvaluationPlan, Execution
from fedjax_rec.simulation.devices import Placement
from fedjax_rec.simulation.programs import Shared
from fedjax_rec.simulation.scoring import Scorer

NUM_CLIENTS, DEVICES = 26, (1, 2, 8)  # 4 on each of 8: the seventh holds 2, the last none
PLAN = EvaluationPlan(at_k=(70,))
MODELS = {"fedmf": "full", "sasrec": "uni99"}  # with private rows; with a history
LONGER = "sasrec, longer histories"


def print_evaluations():
    """In the child: every case on every number of devices, and a run on all of them."""
    facts = {"num_users": NUM_CLIENTS, "num_items": 150, "mean_events": 8, "seed": 5}
    data = load("synthetic", validation="none", **facts)
    factors = fedmf(data.num_items, dim=4)
    transformer = sasrec(data.num_items, 4, max_length=6, num_blocks=1, init_stddev=1.0)
    algorithms = {"fedmf": factors, "sasrec": replace(factors, model=transformer)}
    found = {}
    for name, candidates in MODELS.items():
        parts = drawn(algorithms[name], data.num_clients)
        plan = replace(PLAN, candidates=candidates)
        for num_devices in DEVICES:
            found[f"{name} {num_devices}"] = evaluated(
                algorithms[name], data, plan, num_devices, *parts
            )
    validated = load("synthetic", **facts)
    plan = replace(PLAN, history="train_and_valid")
    parts = drawn(algorithms["sasrec"], NUM_CLIENTS)
    for num_devices in DEVICES:
        found[f"{LONGER} {num_devices}"] = evaluated(
            algorithms["sasrec"], validated, plan, num_devices, *parts
        )
    found[f"{LONGER}, not read"] = evaluated(algorithms["sasrec"], validated, PLAN, 1, *parts)
    algorithm = personal_popularity(data.num_items)
    result = simulation.simulate(
        algorithm,
        data,
        key=jax.random.key(1),
        rounds=1,
        evaluation=PLAN,
        execution=Execution(num_devices=8),
        notice=lambda line: None,
    )
    after = simulation.evaluate(algorithm, data, result, PLAN)
    found["run"] = result.summary["metrics"]
    found["after the run"] = {f"test/{k}": value for k, value in after["test"].metrics.items()}
    found["run, per client"] = result.per_client["mrr@70"].tolist()
    found["after the run, per client"] = after["test"].per_client["mrr@70"].tolist()
    sys.stdout.write(json.dumps(found))


def personal_popularity(num_items):
    """Popularity that every client turns into its own order, by what it alone has counted."""
    plain = popularity(num_items)

    def score(view, inputs):
        return (view.shared.rows["item"] + jnp.arange(num_items) * view.private.dense) % 151

    def run(key, view, task):
        output = plain.client_update.run(key, view, task)
        return output._replace(private=Private({}, output.weight))

    def init_private(key):
        return Private({}, jnp.float32(0))

    return replace(
        plain,
        model=replace(plain.model, score=score, init_private=init_private),
        client_update=ClientUpdate(run),
    )


def drawn(algorithm, num_clients):
    """State, store and frozen parts; the private parameters are drawn, not trained."""
    init = jax.jit(simulation.build(algorithm).init, static_argnums=1)
    state, clients, frozen = init(jax.random.key(0), num_clients)
    keys = iter(jax.random.split(jax.random.key(1), 8))
    clients = jax.tree.map(lambda leaf: jax.random.normal(next(keys), leaf.shape), clients)
    return state, clients, frozen


def evaluated(algorithm, data, plan, num_devices, state, clients, frozen):
    """What the devices find on the test items."""
    placement = Placement(num_devices, data.num_clients)
    scorer = Scorer(Shared(algorithm), data, plan, lambda line: None, placement)
    found = scorer.evaluations(
        placement.everywhere(state),
        placement.spread(clients),
        placement.spread_fixed(Fixed(frozen, data.clients)),
    )["test"]
    return {
        "ranks": found.ranks.tolist(),
        "lists": found.lists.tolist(),
        "metrics": found.metrics,
        "per_client": {key: values.tolist() for key, values in found.per_client.items()},
        "counts": [found.num_clients, found.num_non_finite],
    }


@pytest.fixture(scope="module")
def found():
    flags = "--xla_force_host_platform_device_count=8"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    child = subprocess.run(
        [sys.executable, __file__], env=environment, capture_output=True, text=True
    )
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_more_devices_find_the_same(found, name):
    one = found[f"{name} 1"]
    assert len(one["ranks"]) == NUM_CLIENTS == one["counts"][0]
    assert len({rank for [rank] in one["ranks"]}) > 10
    assert len({tuple(items) for items in one["lists"]}) == NUM_CLIENTS
    for num_devices in DEVICES[1:]:
        assert found[f"{name} {num_devices}"] == one


@pytest.mark.slow
def test_more_devices_read_the_same_longer_histories(found):
    one = found[f"{LONGER} 1"]
    assert one["ranks"] != found[f"{LONGER}, not read"]["ranks"]
    for num_devices in DEVICES[1:]:
        assert found[f"{LONGER} {num_devices}"] == one


def test_a_run_on_all_devices_reports_what_one_device_finds_afterwards(found):
    assert found["run"] == found["after the run"]
    assert found["run, per client"] == found["after the run, per client"]
    assert len(found["run, per client"]) == NUM_CLIENTS
    assert len(set(found["run, per client"])) > 10


if __name__ == "__main__":
    print_evaluations()
