"""Clients over several devices: the same rounds, and runs that go on elsewhere.

The devices are virtual ones of a CPU (see `tests/conftest.py`).
"""

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_rec import simulation
from fedjax_rec.algorithms import fedmf
from fedjax_rec.base import ClientData, Clients, FederatedAlgorithm, Fixed, ServerState
from fedjax_rec.data import FederatedData, load
from fedjax_rec.errors import UserError
from fedjax_rec.sampling import Uniform
from fedjax_rec.simulation import CheckpointPlan, EvaluationPlan, Execution, build, pad_cohort
from fedjax_rec.simulation.context import Round
from fedjax_rec.simulation.devices import Placement, make_mesh, own
from fedjax_rec.simulation.streaming import buffer_for
from fedjax_rec.testing import assert_same_movement
from fedjax_rec.transforms import mean

pytestmark = pytest.mark.skipif(jax.device_count() < 8, reason="needs eight devices")

NUM_CLIENTS = 26  # 4 on each of 8 devices: the seventh holds 2, the last none
COHORT = np.random.default_rng(0).permutation(NUM_CLIENTS)[:17]
Trained = tuple[ServerState, Clients, dict[str, Any]]


@cache
def data(name: str = "") -> FederatedData:
    num_items = 30_000 if name == "listed" else 90
    facts = {"num_users": NUM_CLIENTS, "mean_events": 12, "size_sigma": 0.5, "seed": 8}
    return load("synthetic", num_items=num_items, **facts)


ALGORITHMS: dict[str, Callable[[int], FederatedAlgorithm]] = {
    "streaming": lambda n: fedmf(n, dim=3, batch_size=32, aggregate=mean("row")),
    "listed": lambda n: fedmf(n, dim=3, batch_size=32, aggregate=mean("client")),
    "general": lambda n: fedmf(n, dim=3, batch_size=32, aggregate=mean("example")),
    "adam": lambda n: fedmf(
        n,
        dim=3,
        batch_size=32,
        local_optimizer="adam",
        item_learning_rate=0.05,
        user_learning_rate=0.05,
        server_optimizer=optax.adam(0.1),
    ),
}
EXECUTORS: dict[str, Any] = {
    "streaming": "streaming",
    "listed": "streaming",
    "general": "general",
    "adam": "auto",
}


@cache
def start(name: str) -> tuple[FederatedAlgorithm, ServerState, Clients, Fixed]:
    algorithm = ALGORITHMS[name](data(name).num_items)
    init = jax.jit(build(algorithm).init, static_argnums=1)
    state, clients, frozen = init(jax.random.key(3), NUM_CLIENTS)
    return algorithm, state, clients, Fixed(frozen, data(name).clients)


@cache
def program(name: str, num_devices: int) -> Callable[..., Trained]:
    execution = Execution(EXECUTORS[name], chunk_size=3, num_devices=num_devices)
    step: Callable[..., Trained] = jax.jit(build(start(name)[0], execution).step)
    return step


def one_round(name: str, num_devices: int, cohort: Any = COHORT) -> Trained:
    """A round on some devices, brought back to the first."""
    _, state, clients, fixed = start(name)
    placement = Placement(num_devices, NUM_CLIENTS)
    entries = placement.everywhere(pad_cohort(cohort, NUM_CLIENTS))
    state, clients, info = program(name, num_devices)(
        placement.everywhere(state),
        placement.spread(clients),
        entries,
        placement.spread_fixed(fixed),
    )
    return placement.on_one(state), placement.collect(clients), placement.on_one(info)


def assert_same(name: str, one: Trained, other: Trained) -> None:
    assert_same_movement(start(name)[1:3], one[:2], other[:2], f"{name}: the devices matter")
    for stat in one[2].keys() - {"padding"}:
        np.testing.assert_allclose(one[2][stat], other[2][stat], rtol=1e-5, err_msg=stat)


# ---------------------------------------------------------------------------- rounds


@pytest.mark.parametrize("num_devices", [2, 8])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_number_of_devices_does_not_matter(name: str, num_devices: int) -> None:
    assert_same(name, one_round(name, 1), one_round(name, num_devices))


@pytest.mark.parametrize(
    "cohort",
    [[0, 8, 16, 24], [7, 15, 23], [1, 25], [25], []],
    ids=["the first device", "the last", "the second", "one client", "nobody"],
)
@pytest.mark.parametrize("name", ["streaming", "listed", "adam"])
def test_a_cohort_may_live_on_one_device(name: str, cohort: Any) -> None:
    one, spread = (one_round(name, num_devices, np.array(cohort, int)) for num_devices in (1, 8))
    assert_same(name, one, spread)
    assert float(spread[2]["clients"].total) == len(cohort)


def test_changes_are_listed_on_every_device() -> None:
    algorithm, state, clients, fixed = start("listed")
    this = Round(algorithm, Execution(num_devices=8), state, fixed)
    buffer = buffer_for(this, clients, NUM_CLIENTS)
    assert buffer is not None
    assert buffer.ids.size % 8 == 0


# ------------------------------------------------------------------------- placement


@pytest.mark.parametrize(
    ("num_devices", "num_clients"), [(1, 5), (2, 5), (8, 8), (8, 9), (8, 26), (3, 26)]
)
def test_a_store_that_is_spread_and_collected_is_as_it_was(
    num_devices: int, num_clients: int
) -> None:
    numbers = jnp.arange(3.0 * num_clients).reshape(num_clients, 3)
    clients: Any = Clients({"a": numbers}, (), jnp.arange(num_clients))  # type: ignore[arg-type]
    placement = Placement(num_devices, num_clients)
    spread = placement.spread(clients)
    per_device = -(-num_clients // num_devices)
    shards = spread.private["a"].addressable_shards  # type: ignore[call-overload]
    assert [shard.data.shape for shard in shards] == [(per_device, 3)] * num_devices
    collected = placement.collect(spread)
    assert jax.tree.structure(collected) == jax.tree.structure(clients)
    for old, new in zip(*map(jax.tree.leaves, (clients, collected)), strict=True):
        np.testing.assert_array_equal(old, new)
        assert new.devices() == {jax.devices()[0]}


@pytest.mark.parametrize("num_devices", [2, 8])
def test_every_client_has_its_own_data_on_its_device_and_no_other(num_devices: int) -> None:
    whole: ClientData = data().clients
    placement = Placement(num_devices, NUM_CLIENTS)
    spread = placement.spread_fixed(Fixed(start("general")[3].frozen, whole)).data
    seen: list[int] = []
    for device in range(num_devices):
        here = own(jax.tree.map(lambda leaf, device=device: leaf[device : device + 1], spread))
        assert here.num_clients == placement.num_local
        clients = [client for client in range(NUM_CLIENTS) if here.is_here(client)]
        assert here.place(np.array(clients)).tolist() == list(range(len(clients)))
        seen += clients
        for client in clients:
            rank = int(whole.rank[client])
            assert int(here.rank[here.place(client)]) == rank
            assert bool(here.is_distinct[here.place(client)]) == bool(whole.is_distinct[client])
            length = next(c for c in whole.classes if c.start <= rank < c.stop)
            for one, other in zip(
                here.history(client, length), whole.history(client, length), strict=True
            ):
                np.testing.assert_array_equal(one, other)
    assert sorted(seen) == list(range(NUM_CLIENTS))


def test_there_are_never_more_devices_than_clients() -> None:
    assert Placement.of(Execution(num_devices=0), 26).num_devices == jax.device_count()
    assert Placement.of(Execution(num_devices=3), 26).num_devices == 3
    assert Placement.of(Execution(num_devices=0), 5).num_devices == 5
    assert Placement.of(Execution(num_devices=8), 5).num_devices == 5


def test_debugging_takes_one_device() -> None:
    """Over several devices a client update would be traced, and could not print."""
    assert Placement.of(Execution(num_devices=0, is_debug=True), 26).num_devices == 1


def test_more_devices_than_there_are_is_refused_with_the_way_out() -> None:
    there = jax.device_count()
    with pytest.raises(UserError, match=rf"^{there + 1} devices .* {there} are there: lower exec"):
        make_mesh(there + 1)


# ------------------------------------------------------------------------------- runs

ROUNDS, STOPPED = 6, 4
PLAN = EvaluationPlan(every=2, at_k=(10,))
ALGORITHM = fedmf(data().num_items, dim=3, batch_size=32)


def run(num_devices: int, rounds: int = ROUNDS, output: Path | None = None) -> Any:
    return simulation.simulate(
        ALGORITHM,
        data(),
        key=jax.random.key(4),
        rounds=rounds,
        sampler=Uniform(NUM_CLIENTS, 11),
        evaluation=PLAN,
        checkpoint=CheckpointPlan(every=2),
        output=output,
        execution=Execution(num_devices=num_devices),
        notice=lambda line: None,
    )


@pytest.fixture(scope="module")
def on_eight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was stopped on eight devices."""
    folder = tmp_path_factory.mktemp("eight")
    run(8, STOPPED, folder)
    return folder


@pytest.fixture(scope="module")
def on_one() -> Any:
    return run(1)


@pytest.fixture(scope="module")
def through() -> Any:
    """On eight devices, never stopped."""
    return run(8)


def trained(result: Any) -> Any:
    return result.state._replace(key=jnp.zeros(())), result.clients


@pytest.mark.parametrize("num_devices", [1, 4])
def test_a_run_of_eight_devices_goes_on_with_fewer(
    on_eight: Path, on_one: Any, tmp_path: Path, num_devices: int
) -> None:
    folder = shutil.copytree(on_eight, tmp_path / "run")
    resumed = run(num_devices, ROUNDS, folder)
    assert resumed.first_round == STOPPED
    assert len(resumed.metrics) == len(on_one.metrics) == ROUNDS
    for line, expected in zip(resumed.metrics, on_one.metrics, strict=True):
        for key in expected.keys() - {"seconds", "train/padding"}:
            assert line[key] == pytest.approx(expected[key], rel=1e-5, abs=1e-5), key
    before = jax.tree.map(jnp.zeros_like, trained(on_one))
    assert_same_movement(before, trained(on_one), trained(resumed), "resumed on fewer devices")


def test_a_run_goes_on_to_the_bit_on_as_many_devices(
    on_eight: Path, through: Any, tmp_path: Path
) -> None:
    resumed = run(8, ROUNDS, shutil.copytree(on_eight, tmp_path / "run"))
    assert resumed.first_round == STOPPED
    for one, other in zip(resumed.metrics, through.metrics, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    for one, other in zip(*map(jax.tree.leaves, map(trained, (resumed, through))), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_a_run_leaves_is_on_the_first_device(through: Any) -> None:
    for leaf in jax.tree.leaves((through.state, through.clients)):
        assert leaf.devices() == {jax.devices()[0]}
    assert through.clients.private.dense.shape == (NUM_CLIENTS, 3)
